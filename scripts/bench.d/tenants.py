"""Many caches in one process: what each costs, and how long a start takes."""

import time

import load
import machine
import tables
from home import Home
from login import SMALL_MIB
from machine import BenchError

TITLE = "tenants: cost of many caches in one process"
ALONE = True
ONCE = True

# 10,000 limits of 27.5 MiB; only what they hold is real.
ENGINE_MIB = 400_000
ITEMS = 10


def run(bench):
    if bench.larder is None:
        raise BenchError("only larder has tenants; it is not among the columns")
    few, many = 10, bench.few(10_000, 100)
    rows = [measure(bench, count, few) for count in (few, many)]
    extra = rows[1]["count"] - few
    per = {name: (rows[1][name] - rows[0][name]) / extra for name in ("empty", "used")}
    shown = [[f"{row['count']:,}", f"{row['provision']:.0f}", f"{row['start']:.2f}", f"{row['empty'] / (1 << 20):.1f}",
              f"{row['used'] / (1 << 20):.1f}"] for row in rows]
    shown.append(["each further cache", "", "", f"{per['empty']:,.0f} B", f"{per['used']:,.0f} B"])
    head = ["caches", "provisions/s", "start-up s", "RSS MiB after the start",
            f"RSS MiB with {ITEMS} items of 100 B in each"]
    return tables.table(head, shown)


def measure(bench, count, few):
    where = Home(bench.work, plans={"small": SMALL_MIB})
    settings = dict(mem=64, core=bench.server_core, where=where, engine_mib=ENGINE_MIB, patience=120)
    with bench.larder.start(**settings) as server:
        began = time.monotonic()
        logins = where.provision(server, count, "small")
        provisioned = time.monotonic() - began
    began = time.monotonic()
    with bench.larder.start(**settings) as server:
        started = time.monotonic() - began
        time.sleep(2)
        empty = machine.rss_bytes(server.pid)
        load.bench(bench, server, logins=logins, requests=count, conns=few, keys=ITEMS, size="100", timeout=600)
        used = machine.rss_bytes(server.pid)
    row = dict(count=count, provision=count / provisioned, start=started, empty=empty, used=used)
    bench.results.add(**row)
    print(f"{count:,} caches: start-up {started:.2f} s, RSS {empty >> 20} MiB, with data {used >> 20} MiB", flush=True)
    return row
