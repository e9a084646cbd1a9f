"""Half an hour of everything that takes memory and gives it back: is it all given back?"""

import contextlib
import math
import os
import subprocess
import time

import background
import machine
import tables
from home import Home
from login import SMALL_MIB
from machine import BenchError
from textclient import TextClient

TITLE = "soak: memory under churn, changed plans, flushes and short lives"
ALONE = True
ONCE = True

TENANTS = 20
LARGER_MIB = 110
MIB = 1 << 20
# Seconds between two exchanges of plans, two flushes, two samples at the memory.
RESIZE_EVERY, FLUSH_EVERY, LOOK_EVERY = 7, 11, 0.5
# The caches fill up first, and then each of them is flushed and exchanged once before anything is sampled: until then
# the process holds what no later moment needs.
FULL_WITHIN, SETTLING = 20 * 60, TENANTS * FLUSH_EVERY
# What the caches need follows the exchanges and flushes, and these come again in the same order after this many
# seconds. So what is compared lies as far apart, or else, in a shorter run, is its first and its last fifth.
PERIOD = math.lcm(TENANTS * RESIZE_EVERY, TENANTS * FLUSH_EVERY)
LOADS = [
    ("lives", ["--sets", "0.5", "--size", "16:3,1k:2,8k:1", "--keys", "200000", "--ttl", "5"]),
    ("mixed", ["--sets", "0.3", "--size", "32:300,500:200,4k:100,100k:2", "--keys", "400000"]),
]


def run(bench):
    if bench.larder is None:
        raise BenchError("only larder has tenants; it is not among the columns")
    seconds = bench.options.minutes * 60 if bench.options.minutes else bench.few(30 * 60, 20)
    where = Home(bench.work, plans={"small": SMALL_MIB, "larger": LARGER_MIB})
    with bench.larder.start(mem=64, core=bench.server_core, where=where) as server:
        logins = where.provision(server, TENANTS, "small")
        with contextlib.ExitStack() as beside:
            for name, arguments in LOADS:
                beside.enter_context(loaded(bench, server, logins, name, arguments))
            beside.enter_context(background.churning(bench, server, logins))
            samples, done = watch(bench, server, where, logins, seconds)
    bench.results.add(seconds=seconds, samples=samples, **done)
    share = (seconds - PERIOD) / seconds if seconds > PERIOD else 0.2
    rows = [*compared("RSS", [rss for rss, _ in samples], share), *compared("items", [items for _, items in samples], share),
            *[[what, f"{count:,}"] for what, count in done.items()]]
    return tables.table([f"{seconds / 60:g} minutes, {TENANTS} tenants", ""], rows)


def compared(what, samples, share):
    """Rows: the first and the last `share` of the samples, in MiB, and the change between their medians."""
    window = max(1, int(len(samples) * share))
    first, last = [[look / MIB for look in part] for part in (samples[:window], samples[-window:])]
    change = 100 * (tables.median(last) / tables.median(first) - 1)
    return [[f"{what} MiB at first", tables.spread(first, 1)],
            [f"{what} MiB at last", tables.spread(last, 1)],
            ["change of the median, %", f"{change:+.2f}"]]


@contextlib.contextmanager
def loaded(bench, server, logins, name, arguments):
    """The load generator over all tenants, until the end of the block."""
    command = [bench.loadgen, "bench", "--addr", f"127.0.0.1:{server.login_port}", "--auth-file", logins, "--conns",
               "40", "--depth", "4", "--key-prefix", name, "--requests", str(10**12), *arguments]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                               preexec_fn=lambda: os.sched_setaffinity(0, {bench.load_core}))
    try:
        yield
        if process.poll() is not None:
            raise BenchError(f"the load {name} ended by itself")
    finally:
        process.kill()
        process.wait()


def until_full(owners):
    """Waits until each cache has had to evict."""
    began = time.monotonic()
    while not all(owner.stats().get("evictions", 0) for owner in owners):
        if time.monotonic() - began > FULL_WITHIN:
            raise BenchError("the caches do not fill up")
        time.sleep(1)
    print(f"full after {time.monotonic() - began:.0f} s", flush=True)


def watch(bench, server, where, logins, seconds):
    """Changes plans and flushes alternately and samples: RSS and bytes of items each time, and what was done in all."""
    heroku = where.marketplace(server)
    with open(logins) as file:
        owners = [TextClient(server.login_port, line) for line in file]
    samples, done = [], {"changes of plan": 0, "flushes": 0}
    # Every other one begins large. Neighbours change places, the large one first, so that the sum of the limits stays:
    # were it to rise for some seconds, its peak and not what was lost would show in the end.
    plans = ["small", "larger"] * (TENANTS // 2)
    for cache, plan in zip(where.caches, plans):
        heroku.change_plan(cache["uuid"], plan)
    if not bench.quick:
        until_full(owners)
    began = time.monotonic()
    settled = 0 if bench.quick else SETTLING
    told = 0
    while (passed := time.monotonic() - began) < settled + seconds:
        if passed >= RESIZE_EVERY * (done["changes of plan"] // 2 + 1):
            pair = done["changes of plan"] % TENANTS
            for number in sorted((pair, pair + 1), key=lambda number: plans[number] != "larger"):
                plans[number] = "small" if plans[number] == "larger" else "larger"
                heroku.change_plan(where.caches[number]["uuid"], plans[number])
                done["changes of plan"] += 1
        if passed >= FLUSH_EVERY * (done["flushes"] + 1):
            owners[done["flushes"] % TENANTS].flush()
            done["flushes"] += 1
        # What the caches hold beside what the process does: the one should not grow without the other.
        items = sum(owner.stats().get("bytes", 0) for owner in owners)
        rss = machine.rss_bytes(server.pid)
        if passed >= settled:
            samples.append((rss, items))
        if passed >= 60 * (told + 1):
            told += 1
            print(f"{told} min: RSS {rss / MIB:.1f} MiB, items {items / MIB:.1f} MiB", flush=True)
        time.sleep(LOOK_EVERY)
    counts = [owner.stats() for owner in owners]
    for name in ("cmd_set", "cmd_get", "evictions", "total_connections"):
        done[name] = sum(count.get(name, 0) for count in counts)
    return samples, done
