"""Noisy neighbours: what light tenants wait while another goes at full speed."""

import contextlib
import functools
import os
import time

import background
import load
import tables
from home import Home
from login import SMALL_MIB

TITLE = "noisy: light tenants beside a loud one"

LIGHT = 20
# Slow enough that the measuring generator sleeps most of the time and leaves its core to the loud one.
RATE = 200


def run(bench):
    seconds = bench.few(15, 2)
    ways = {
        "alone": lambda *_: contextlib.nullcontext(),
        "beside one pipelining": background.pipelining,
        # More than one pass of the event loop handles waits on each of these.
        "beside one pipelining on 200": heavy,
        "load of the 200 at another server": heavy_elsewhere,
        "beside one churning connections": background.churning,
    }
    found = {(column.name, way): [] for column in bench.columns for way in ways}
    homes = {column.name: prepare(bench, column) for column in bench.columns}
    for repeat in range(bench.repeats):
        for column in bench.columns:
            settings, light, loud = homes[column.name]
            for way, beside in ways.items():
                if not bench.wanted(f"{column.name}, {way}"):
                    continue
                with column.start(core=bench.server_core, **settings) as server, beside(bench, server, loud):
                    time.sleep(0.5)
                    row = load.bench(bench, server, logins=light, requests=RATE * seconds, rate=RATE, conns=LIGHT,
                                     keys=1000, size="32")
                bench.results.add(cell=way, server=column.name, repeat=repeat, result=row)
                busy = row["cpu_s_per_million"]["server"] * row["requests"] / 1e6 / row["seconds"]
                found[column.name, way].append((row["latency"]["p50_us"], row["latency"]["p99_us"], 100 * busy))
                print(f"{column.name:10} {way:34} p50 {row['latency']['p50_us']:8.0f} us, p99 "
                      f"{row['latency']['p99_us']:8.0f} us, server {100 * busy:.0f} % busy", flush=True)
    rows = []
    for (name, way), costs in found.items():
        if costs:
            p50, p99, busy = ([cost[i] for cost in costs] for i in range(3))
            alone = [cost[1] for cost in found[name, "alone"]]
            rows.append([name, way, tables.spread(p50, 0), tables.spread(p99, 0), tables.ratio(p99, alone),
                         tables.spread(busy, 0)])
    return tables.table(["server", f"{LIGHT} light tenants, {RATE} requests/s in all", "p50 us", "p99 us",
                         "p99 to p99 alone", "server busy %"], rows)


heavy = functools.partial(background.pipelining, conns=200, depth=1024)


def heavy_elsewhere(bench, *_):
    return background.elsewhere(bench, heavy)


def prepare(bench, column):
    """Settings of the start, and the logins of the light ones and of the loud one where there are any."""
    if column is not bench.larder:
        return {"mem": 256}, None, None
    where = Home(bench.work, plans={"small": SMALL_MIB})
    with column.start(mem=64, where=where, core=None) as server:
        logins = where.provision(server, LIGHT + 1, "small")
    with open(logins) as file:
        lines = file.readlines()
    light, loud = os.path.join(where.path, "light"), os.path.join(where.path, "loud")
    for path, part in ((light, lines[:LIGHT]), (loud, lines[LIGHT:])):
        with open(path, "w") as out:
            out.writelines(part)
    return {"mem": 64, "where": where}, light, loud
