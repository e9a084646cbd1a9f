TITLE='noisy'
def run(bench): return ''
