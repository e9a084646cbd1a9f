TITLE='tenants'
def run(bench): return ''
