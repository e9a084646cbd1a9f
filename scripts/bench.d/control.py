"""The control plane: provisions, and how soon their effects are on the wire."""

import contextlib
import time

import effects
import httpload
import tables
from home import Home
from login import SMALL_MIB
from machine import BenchError
from postgres import Postgres
from provider import Provider

TITLE = "control: provisions, promotions, flushes, deliveries"
ALONE = True

DATABASES = ("SQLite", "PostgreSQL")


def run(bench):
    if bench.larder is None:
        raise BenchError("only larder has a control plane; it is not among the columns")
    provisions, waits, deliveries = [], [], []
    for name in DATABASES:
        if bench.wanted(f"provisions, {name}"):
            provisions += measure_provisions(bench, name)
        if bench.wanted(f"effects, {name}"):
            with bed(bench, name, apps=20) as (where, server, provider):
                waits += effects.promotions_and_flushes(bench, name, where, server, provider)
        if bench.wanted(f"deliveries, {name}"):
            for dead in (0, 1):
                with bed(bench, name, apps=100) as (where, server, provider):
                    deliveries.append(effects.deliveries(bench, name, where, server, provider, dead))
    parts = [
        tables.table(["database", "clients", "provisions/s", "p50 ms", "p99 ms"], provisions),
        tables.table(["database", "from", "to", "count", "p50 ms", "p99 ms"], waits),
        tables.table(["database", "destinations", "deliveries/s in a burst", "p50 ms, paced", "p99 ms, paced"],
                     deliveries),
    ]
    return "\n\n".join(parts)


@contextlib.contextmanager
def bed(bench, name, apps):
    """A fresh larder on a fresh database, and a marketplace that answers. Nothing is pinned: both cores serve."""
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(Postgres(bench.work)).url if name == "PostgreSQL" else None
        provider = stack.enter_context(Provider(apps))
        where = Home(bench.work, plans={"small": SMALL_MIB}, database=url)
        server = stack.enter_context(bench.larder.start(mem=64, where=where, engine_mib=400_000, provider=provider))
        yield where, server, provider


def measure_provisions(bench, name):
    """At full speed with 8 and 64 clients, and at 100 a second."""
    rows = []
    for clients, rate in ((8, None), (64, None), (16, 100)):
        speeds, p50, p99 = [], [], []
        for repeat in range(bench.repeats):
            with bed(bench, name, apps=1) as (where, server, provider):
                load = httpload.Clients(where, server, provider, clients)
                load.closed(bench.few(200, 20))  # connections, statements and pages are warm after these
                total = bench.few(2000, 100)
                seconds, times = load.paced(total, rate) if rate else load.closed(total)
            low, high = effects.percentiles(times)
            speeds.append(total / seconds)
            p50.append(low)
            p99.append(high)
            bench.results.add(database=name, clients=clients, rate=rate, repeat=repeat, seconds=seconds, times=times)
            print(f"{name:10} {clients:3} clients  {total / seconds:7.0f} provisions/s  p99 {high:.1f} ms", flush=True)
            time.sleep(0.1)
        label = f"{clients}, paced at {rate}/s" if rate else str(clients)
        rows.append([name, label, tables.spread(speeds, 0), tables.spread(p50, 1), tables.spread(p99, 1)])
    return rows
