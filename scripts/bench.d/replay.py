"""Hit ratios of recorded and synthetic traces at equal memory."""

import lzma

import build
import load
import tables
from machine import BenchError

TITLE = "replay: hit ratio at equal memory"
ONCE = True

# Limits in MiB: multiples of 11, which a plan can meet exactly.
RECORDED = [
    ("web07", "16k", (22, 66, 165)),
    ("web12", "16k", (22, 66, 132)),
    ("orm-busy", "4k", (22, 66, 165)),
]
SYNTHETIC = [
    ("zipf 0.8", "zipf:alpha=0.8", (11, 33, 66)),
    ("zipf 1.0", "zipf:alpha=1.0", (11, 33, 66)),
    ("zipf 1.2", "zipf:alpha=1.2", (11, 22, 33)),
    ("scan", "scan:alpha=1.0", (22, 66, 132)),
    ("shift", "shift:alpha=1.0", (33, 66, 132)),
    ("onehit", "onehit:alpha=1.0", (22, 66, 132)),
    ("sized", "sized:alpha=1.0", (33, 66, 132)),
    ("ttl", "ttl:alpha=1.0", (11, 33, 66)),
    ("loop", "loop:alpha=1.0", (66, 165, 264)),
]
# Times to live are 5 s and 20 s, so that trace is paced to last longer.
TTL_RATE = 20_000


def run(bench):
    names = [column.name for column in bench.columns]
    rows, differences = [], {name: [] for name in names[:-1]}
    for name, arguments, stdin, limits in traces(bench):
        for limit in limits:
            label = f"{name}, {limit} MiB"
            if not bench.wanted(label):
                continue
            ratios = measure(bench, label, arguments, stdin, limit)
            gaps = [100 * (ratios[-1] - ratio) for ratio in ratios[:-1]]
            for other, gap in zip(differences, gaps):
                differences[other].append(gap)
            rows.append([label, *[f"{ratio:.4f}" for ratio in ratios], *[f"{gap:+.2f}" for gap in gaps]])
    head = ["trace, limit", *names, *[f"{names[-1]} - {other}, points" for other in names[:-1]]]
    lines = [tables.table(head, rows), ""]
    for other, gaps in differences.items():
        if gaps:
            lines.append(f"Against {other}: {sum(gaps) / len(gaps):+.2f} points in the mean, {min(gaps):+.2f} in the "
                         f"worst cell, {max(gaps):+.2f} in the best.\n")
    return "\n".join(lines).strip()


def traces(bench):
    """Name, arguments for the generator, what it reads, limits."""
    for name, size, limits in RECORDED:
        with lzma.open(build.trace(name)) as file:
            data = file.read()
        arguments = ["--trace", "-", "--format", "u32", "--size", size]
        yield name, arguments + (["--limit", "5000"] if bench.quick else []), data, limits
    for name, synth, limits in SYNTHETIC:
        text = f"{synth},keys=300000,requests={bench.few(600_000, 5000)},size=1000"
        yield name, ["--synth", text] + (["--rate", TTL_RATE] if name == "ttl" else []), None, limits


def measure(bench, label, arguments, stdin, limit):
    """One replay on each server: the requests are the same each time, so repeats differ by little."""
    ratios = []
    for column in bench.columns:
        with column.start(mem=limit, core=bench.server_core) as server:
            row = load.replay(bench, server, arguments, stdin)
        bench.results.add(cell=label, server=column.name, result=row)
        refused = row["sets_refused"]
        print(f"{label:22} {column.name:10} {row['hit_ratio']:.4f} (bytes {row['byte_hit_ratio']:.4f})"
              f"{f', {refused} sets refused' if refused else ''}", flush=True)
        if row["requests"] == 0:
            raise BenchError(f"{label}: the trace is empty")
        ratios.append(row["hit_ratio"])
    return ratios
