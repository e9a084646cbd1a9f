"""Large changes to a live cache: what a flush does to its neighbours, and how fast a smaller plan takes effect."""

import threading
import time

import load
import machine
import tables
from home import Home
from login import SMALL_MIB
from machine import BenchError
from textclient import TextClient

TITLE = "live: flushing and shrinking a cache of 1 GiB"
ALONE = True

FULL_MIB, SMALLER_MIB = 1024, 100
ITEMS, SIZE = 1_100_000, "1k"
RATE = 2000


def run(bench):
    if bench.larder is None:
        raise BenchError("only larder has tenants; it is not among the columns")
    items = bench.few(ITEMS, 20_000)
    where = Home(bench.work, plans={"small": SMALL_MIB, "full": FULL_MIB, "smaller": SMALLER_MIB})
    with bench.larder.start(mem=64, where=where) as server:
        light = where.provision(server, 1, "small", "light")
        big = where.provision(server, 1, "full", "big")
    cache = where.caches[0]["uuid"]
    flushes = [flush(bench, where, light, big, items) for _ in range(bench.repeats)]
    shrinks = [shrink(bench, where, big, cache, items) for _ in range(bench.repeats)]
    rows = []
    for way in ("alone", "with the flush"):
        p999, most = ([row[way][i] for row in flushes] for i in range(2))
        rows.append([way, tables.spread(p999, 0), tables.spread(most, 0)])
    neighbours = tables.table([f"a neighbour at {RATE:,} requests/s", "p99.9 us", "max us"], rows)
    took, refused, before, after = ([row[i] for row in shrinks] for i in range(4))
    shrunk = tables.table(
        [f"{FULL_MIB} MiB to {SMALLER_MIB} MiB, under sets at full speed", ""],
        [["s until the new limit holds", tables.spread(took)], ["sets refused meanwhile", f"{sum(refused):,}"],
         ["RSS MiB before", tables.spread(before, 0)], ["RSS MiB 2 s after", tables.spread(after, 0)]])
    return f"{neighbours}\n\n{shrunk}"


def fill(bench, server, logins, items):
    load.bench(bench, server, logins=logins, requests=1, conns=1, keys=items, size=SIZE)


def flush(bench, where, light, big, items):
    """p99.9 and maximum of a paced neighbour, without and with a flush in the middle."""
    seconds = bench.few(10, 2)
    paced = dict(logins=light, requests=RATE * seconds, rate=RATE, conns=10, keys=1000, size="32")
    with bench.larder.start(mem=64, core=bench.server_core, where=where) as server, open(big) as login:
        fill(bench, server, big, items)
        client = TextClient(server.login_port, login.readline())
        held = client.stats().get("curr_items", 0)
        alone = load.bench(bench, server, **paced)
        timer = threading.Timer(seconds / 2, client.flush)
        timer.start()
        beside = load.bench(bench, server, **paced)
        timer.join()
        if client.stats().get("curr_items", 0) != 0:
            raise BenchError("the flush had no effect")
        client.close()
    found = {way: (row["latency"]["p99_9_us"], row["latency"]["max_us"])
             for way, row in (("alone", alone), ("with the flush", beside))}
    bench.results.add(held=held, **found)
    print(f"flush of {held:,} items: p99.9 alone {found['alone'][0]:.0f} us, with it "
          f"{found['with the flush'][0]:.0f} us", flush=True)
    return found


def shrink(bench, where, big, cache, items):
    """Seconds until a smaller plan holds, sets refused on the way, RSS before and after."""
    smaller = SMALLER_MIB << 20
    with bench.larder.start(mem=64, core=bench.server_core, where=where) as server, open(big) as login:
        heroku = where.marketplace(server)
        heroku.change_plan(cache, "full")
        fill(bench, server, big, items)
        before = machine.rss_bytes(server.pid) / (1 << 20)
        answers = []
        sets = threading.Thread(target=lambda: answers.append(load.bench(
            bench, server, logins=big, preload=False, requests=bench.few(6_000_000, 100_000), sets=1.0, depth=16,
            keys=items, size=SIZE)))
        sets.start()
        client = TextClient(server.login_port, login.readline())
        time.sleep(0.5)
        began = time.monotonic()
        heroku.change_plan(cache, "smaller")
        while not small_enough(client.stats(), smaller):
            if time.monotonic() - began > 60:
                raise BenchError("the new limit did not take hold within 60 s")
            time.sleep(0.01)
        took = time.monotonic() - began
        sets.join()
        client.close()
        time.sleep(2)
        after = machine.rss_bytes(server.pid) / (1 << 20)
    if not answers:
        raise BenchError("the sets during the change failed")
    refused = answers[0]["not_stored"] + answers[0]["errors"]
    bench.results.add(shrink=took, refused=refused, rss_before=before, rss_after=after)
    print(f"shrink: {took:.2f} s, {refused} sets refused, RSS {before:.0f} -> {after:.0f} MiB", flush=True)
    return took, refused, before, after


def small_enough(stats, limit):
    """A plan is whole MiB plus a tenth, hence the hundredth of room."""
    allowed = limit * 1.01
    return stats.get("limit_maxbytes", allowed + 1) <= allowed and stats.get("bytes", 0) <= allowed
