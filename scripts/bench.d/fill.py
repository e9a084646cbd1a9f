"""How many items a limit holds, and what that costs in resident memory."""

import load
import tables

TITLE = "fill: items retained in a limit"
ONCE = True

# (value bytes, items sent per MiB of limit): well above what any server here retains.
SIZES = [(16, 30_000), (100, 12_000), (500, 3_500), (1024, 1_900)]
LIMITS = [25, 256]
GOALS = {16: 1.5, 100: 1.15, 500: 1.0, 1024: 1.0}
MIB = 1 << 20


def run(bench):
    names = [column.name for column in bench.columns]
    head = ["limit, value", *[f"{name} items" for name in names],
            *[f"{names[-1]}/{other}" for other in names[:-1]], "goal",
            *[f"{name} RSS MiB" for name in names], "refused"]
    rows = []
    for limit in LIMITS:
        for size, per_mib in SIZES:
            name = f"{limit} MiB, {size} B"
            if bench.wanted(name):
                rows.append(measure(bench, name, limit, size, bench.few(per_mib * limit, 20_000)))
    return tables.table(head, rows)


def measure(bench, name, limit, size, items):
    """One fill of each server. Counts repeat to a fraction of a per cent, so once is enough."""
    kept, density, resident, refused = [], [], [], 0
    for column in bench.columns:
        with column.start(mem=limit, core=bench.server_core) as server:
            row = load.fill(bench, server, items, size)
        bench.results.add(cell=name, server=column.name, result=row)
        true_limit = (row["stats"] or {}).get("limit_maxbytes") or limit * MIB
        kept.append(row["readable"])
        density.append(row["readable"] / true_limit)
        resident.append((row["rss_empty"], row["rss_full"], true_limit))
        refused += row["refused"]
        print(f"{name:20} {column.name:10} {row['readable']:10,} items of {items:,}, RSS "
              f"{row['rss_full'] / MIB:.1f} MiB, limit {true_limit / MIB:.1f} MiB", flush=True)
    # Plans are whole MiB, so limits differ by a little; items are compared per byte of limit.
    ratios = [f"{density[-1] / other:.2f}" for other in density[:-1]]
    memory = [f"{full / MIB:.0f} (empty {empty / MIB:.0f})" for empty, full, _ in resident]
    return [name, *[f"{count:,}" for count in kept], *ratios, f"{GOALS[size]:.2f}", *memory, str(refused)]
