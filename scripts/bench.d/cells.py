"""Server CPU per request: the cells of the engine's design."""

import load
import tables
from machine import BenchError

TITLE = "cells: server CPU per request"

KEYS = 100_000


def cell(name, requests, good, **settings):
    """`good` is the goal relative to the newest memcached."""
    return name, requests, good, {"protocol": "text", "depth": 1, "size": "32", "sets": 0.05, "keys": KEYS, "conns": 50,
                                  **settings}


CELLS = [
    cell("text 32 B, depth 1", 150_000, 0.85),
    cell("text 32 B, depth 16", 1_500_000, 0.45, depth=16),
    cell("text 32 B, depth 64", 2_500_000, 0.35, depth=64),
    cell("text 1 KiB, depth 16", 800_000, 0.50, depth=16, size="1k"),
    cell("text 100 KiB, depth 1", 20_000, 0.80, size="100k", keys=1000),
    cell("binary 32 B, depth 16", 1_500_000, 0.50, protocol="binary", depth=16),
    cell("meta 32 B, depth 16", 1_500_000, 0.50, protocol="meta", depth=16),
    cell("text 32 B, depth 16, 50 % sets", 1_500_000, 0.60, depth=16, sets=0.5),
    cell("text 32 B, depth 64, 4 M keys", 2_500_000, 0.60, depth=64, keys=4_000_000),
    cell("text 32 B, depth 1, 10,000 connections", 200_000, 0.85, conns=10_000),
]


def run(bench):
    rows = []
    for name, requests, good, settings in CELLS:
        if bench.wanted(name):
            rows.append([name, *measure(bench, name, requests, good, settings)])
    names = [column.name for column in bench.columns]
    return tables.table(head(names) + ["goal"], rows)


def head(names):
    """CPU of each server, then every other server against the first."""
    return ["cell", *[f"{name} us" for name in names], *[f"{a}/{b}" for a, b in pairs(names)]]


def pairs(names):
    """Which ratios to show: the last server over each of the others."""
    return [(names[-1], other) for other in names[:-1]]


def measure(bench, name, requests, good, settings):
    """Repeats of one cell of the servers one after the other, each started afresh."""
    if bench.quick:
        requests = max(requests // 50, 4 * settings["conns"])
        settings = {**settings, "keys": min(settings["keys"], 5000)}
    cpu = {column.name: [] for column in bench.columns}
    for repeat in range(bench.repeats):
        for column in bench.columns:
            if settings["protocol"] not in column.protocols:
                continue
            with column.start(mem=1024, core=bench.server_core) as server:
                row = load.bench(bench, server, requests=requests, warmup=max(requests // 10, settings["conns"]),
                                 seed=repeat + 1, **settings)
            keep(bench, name, column.name, repeat, row, cpu)
    return summary(cpu) + [f"{good:.2f} of newest"]


def keep(bench, cell, server, repeat, row, cpu):
    """Notes one result. A run with misses or errors has not done the work, so it does not count."""
    used = row["cpu_s_per_million"]["server"]
    bench.results.add(cell=cell, server=server, repeat=repeat, result=row)
    sound = row["errors"] == 0 and row["not_stored"] == 0 and row["hit_ratio"] > 0.9999
    print(f"{cell:42} {server:10} {used:8.3f} us  {row['ops_per_s']:10,.0f}/s  generator "
          f"{row['cpu_s_per_million']['generator']:.3f} us{'' if sound else '  UNSOUND'}", flush=True)
    if not sound:
        raise BenchError(f"{cell} on {server}: {row['errors']} errors, {row['not_stored']} refused, "
                         f"hit ratio {row['hit_ratio']:.4f}")
    cpu[server].append(used)


def summary(cpu):
    """Median and spread of each server, then the ratios."""
    ratios = [tables.ratio(cpu[a], cpu[b]) for a, b in pairs(list(cpu))]
    return [tables.spread(values) for values in cpu.values()] + ratios
