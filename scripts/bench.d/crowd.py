"""Crowds of clients that do little: what others wait beside them, and what an idle connection costs."""

import contextlib
import time

import crowds
import load
import machine
import noisy
import tables
from machine import BenchError

TITLE = "crowd: light tenants beside many idle, connecting, slow and vanished clients"
ALONE = True

CONNECTS_PER_SECOND = 1000
ROW = "{name:28} p50 {p50:6.0f} us, p99 {p99:6.0f} us, {errors} errors of others; crowd: {crowd}"


def run(bench):
    if bench.larder is None:
        raise BenchError("only larder has tenants; it is not among the columns")
    idle, few = bench.few(10_000, 500), bench.few(100, 10)
    ways = {
        "alone": None,
        f"{idle:,} idle": (crowds.idle, idle),
        f"{CONNECTS_PER_SECOND:,} connects/s with login": (crowds.connecting, CONNECTS_PER_SECOND),
        f"{few} slow readers": (crowds.reading_slowly, few),
        f"{few} half-open peers": (crowds.vanished, few),
    }
    settings, light, loud = noisy.prepare(bench, bench.larder)
    with open(loud) as file:
        login = file.readline()
    found = {name: [] for name in ways}
    for repeat in range(bench.repeats):
        for name, way in ways.items():
            if bench.wanted(name):
                row = measure(bench, settings, light, login, way)
                bench.results.add(cell=name, repeat=repeat, result=row)
                found[name].append(row)
                print(ROW.format(name=name, **row), flush=True)
    lines = [line(name, rows, found["alone"]) for name, rows in found.items() if rows]
    head = [f"{noisy.LIGHT} light tenants beside", "p50 us", "p99 us", "p99 to p99 alone", "errors of others",
            "the crowd", "RSS bytes for each of it"]
    return tables.table(head, lines)


def measure(bench, settings, light, login, way):
    """Latency and errors of light tenants while the crowd is there."""
    seconds = bench.few(15, 2)
    with bench.larder.start(core=bench.server_core, **settings) as server:
        before = machine.rss_bytes(server.pid)
        beside = crowds.crowd(bench, server, login, *way) if way else contextlib.nullcontext([0, 0])
        with beside as counts:
            time.sleep(0.5)
            rss = machine.rss_bytes(server.pid) - before
            began, done = time.monotonic(), counts[0]
            row = load.bench(bench, server, logins=light, requests=noisy.RATE * seconds, rate=noisy.RATE,
                             conns=noisy.LIGHT, keys=1000, size="32")
            took = time.monotonic() - began
            crowd = told(way, counts, (counts[0] - done) / took)
            if counts[1]:
                raise BenchError(f"{counts[1]} of the crowd were refused")
    return {"p50": row["latency"]["p50_us"], "p99": row["latency"]["p99_us"],
            "errors": row["errors"] + row["not_stored"], "crowd": crowd,
            "rss_each": rss / way[1] if way and way[0] is not crowds.connecting else None}


def told(way, counts, per_second):
    """What the crowd did, in short."""
    if way is None:
        return ""
    if way[0] is crowds.connecting:
        return f"{per_second:,.0f} logins/s, {counts[1]} failed"
    if way[0] is crowds.reading_slowly:
        return f"{per_second / way[1]:,.0f} bytes/s each"
    if way[0] is crowds.vanished:
        return f"{counts[0]} gone silently, {way[1] - counts[0]} mute"
    return f"{counts[0]:,} logged in"


def line(name, rows, alone):
    p50, p99 = ([row[key] for row in rows] for key in ("p50", "p99"))
    each = [row["rss_each"] for row in rows if row["rss_each"] is not None]
    ratio = tables.ratio(p99, [row["p99"] for row in alone]) if alone else ""
    return [name, tables.spread(p50, 0), tables.spread(p99, 0), ratio, f"{sum(row['errors'] for row in rows)}",
            rows[-1]["crowd"], tables.spread(each, 0) if each else ""]
