TITLE='instructions'
def run(bench): return ''
