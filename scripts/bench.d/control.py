TITLE='control'
def run(bench): return ''
