TITLE='login'
def run(bench): return ''
