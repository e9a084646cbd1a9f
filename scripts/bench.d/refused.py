"""Sets of mixed sizes under full eviction: none may be refused."""

import load
import tables

TITLE = "refused: sets of mixed sizes under full eviction"
ONCE = True

SIZES = "16:30,100:30,500:20,1k:10,4k:6,16k:3,100k:1"
# (limit MiB, sets)
RUNS = [(22, 50_000_000), (253, 50_000_000)]


def run(bench):
    rows = []
    for limit, sets in RUNS:
        for column in bench.columns:
            name = f"{limit} MiB, {column.name}"
            if bench.wanted(name):
                # The others are there to compare with: a tenth shows their rate.
                share = sets if column is bench.larder else sets // 10
                rows.append(measure(bench, name, column, limit, bench.few(share, 100_000)))
    return tables.table(["limit, server", "sets", "refused", "errors", "sets/s", "CPU us", "RSS MiB after"], rows)


def measure(bench, name, column, limit, sets):
    with column.start(mem=limit, core=bench.server_core) as server:
        row = load.bench(bench, server, preload=False, timeout=1800, requests=sets, sets=1.0, depth=64, conns=50,
                         size=SIZES, keys=4_000_000)
    bench.results.add(cell=name, server=column.name, result=row)
    print(f"{name:20} {row['not_stored']} refused, {row['errors']} errors of {sets:,}", flush=True)
    return [name, f"{sets:,}", f"{row['not_stored']:,}", f"{row['errors']:,}", f"{row['ops_per_s']:,.0f}",
            tables.number(row["cpu_s_per_million"]["server"]), f"{row['server_rss'] / (1 << 20):.0f}"]
