TITLE='idle'
def run(bench): return ''
