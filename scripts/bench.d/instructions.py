"""User instructions per request by callgrind: two request counts, and the difference."""

import glob
import os
import shutil
import subprocess
import tempfile

import load
import tables
from machine import BenchError

TITLE = "instructions: user instructions per request"
ONCE = True

# name, settings, goal
ROWS = [
    ("text get, depth 1", {"depth": 1}, "1,200"),
    ("text get, depth 16", {"depth": 16}, "700"),
    ("text get, depth 64", {"depth": 64}, "-"),
    ("meta get, depth 16", {"depth": 16, "protocol": "meta"}, "-"),
    ("binary get, depth 16", {"depth": 16, "protocol": "binary"}, "-"),
    ("text set, depth 16", {"depth": 16, "sets": 1.0}, "-"),
]

# memcached insists on setting its limit of open files, and valgrind, which keeps 12 for itself, refuses any change.
FILES = 4096


def run(bench):
    if not shutil.which("valgrind"):
        raise BenchError("valgrind is not on the PATH (Debian package valgrind)")
    few, many = (bench.few(10_000, 2_000), bench.few(50_000, 6_000))
    rows = []
    for name, settings, goal in ROWS:
        if bench.wanted(name):
            counts = [per_request(bench, name, column, settings, few, many) for column in bench.columns]
            rows.append([name, *[f"{count:,.0f}" for count in counts], goal])
    return tables.table(["request, 32 B, 50 connections", *[column.name for column in bench.columns], "goal"], rows)


def per_request(bench, name, column, settings, few, many):
    difference = total(bench, column, settings, many) - total(bench, column, settings, few)
    count = difference / (many - few)
    bench.results.add(cell=name, server=column.name, instructions=count)
    print(f"{name:24} {column.name:10} {count:8.0f}", flush=True)
    return count


def total(bench, column, settings, requests):
    """Instructions of the busiest thread over one run of the server: the thread that serves."""
    with tempfile.TemporaryDirectory(dir=bench.work) as out:
        wrapper = ["prlimit", f"--nofile={FILES}", "valgrind", "--tool=callgrind", "--separate-threads=yes",
                   f"--callgrind-out-file={out}/count"]
        with column.start(mem=256, core=bench.server_core, wrapper=wrapper, conns=FILES - 12,
                          patience=120) as server:
            asked = {"protocol": "text", "sets": 0.0, "conns": 50, "keys": 1000, "size": "32", **settings}
            load.bench(bench, server, requests=1000, **asked)
            # Forgets the start, which in some thread is more work than all requests.
            subprocess.run(["callgrind_control", "--zero", str(server.pid)], check=True, timeout=60, capture_output=True)
            load.bench(bench, server, requests=requests, preload=False, **asked)
        threads = [read_total(path) for path in glob.glob(os.path.join(out, "count*"))]
    if not any(threads):
        raise BenchError(f"callgrind wrote no counts for {column.name}")
    return max(threads)


def read_total(path):
    with open(path, errors="replace") as file:
        for line in file:
            if line.startswith("totals:"):
                return int(line.split()[1])
    return 0
