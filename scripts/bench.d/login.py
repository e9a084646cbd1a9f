"""Server CPU per request with logins: one tenant, and 1,000 tenants over 1,000 connections."""

import os

import load
import tables
from cells import keep
from home import Home
from machine import BenchError

TITLE = "login: CPU per request over many tenants"

CONNECTIONS = 1000
KEYS = 100_000
ROWS = [("text", 1, 200_000), ("text", 16, 1_500_000), ("binary", 1, 200_000), ("binary", 16, 1_500_000)]
SMALL_MIB = 27.5  # the engine's limit of a 25 MiB plan


def run(bench):
    if bench.larder is None:
        raise BenchError("only larder has tenants; it is not among the columns")
    tenants = bench.few(1000, 20)
    where = Home(bench.work, plans={"small": SMALL_MIB})
    with bench.larder.start(mem=64, core=None, where=where, engine_mib=65536) as server:
        many = where.provision(server, tenants, "small")
    one = os.path.join(where.path, "one")
    with open(many) as all_of_them, open(one, "w") as out:
        out.write(all_of_them.readline())
    rows = []
    for protocol, depth, requests in ROWS:
        name = f"{protocol} 32 B, depth {depth}"
        if bench.wanted(name):
            ways = {"no login": (None, KEYS), "one tenant": (one, KEYS), "many tenants": (many, KEYS // tenants)}
            rows.append([name, *measure(bench, name, where, ways, protocol, depth, bench.few(requests, 20_000))])
    others = [column.name for column in bench.columns if column is not bench.larder]
    head = ["cell, 1,000 connections", *[f"{name} us, no login" for name in others], "larder us, no login",
            "one tenant", f"{tenants:,} tenants", "many/one", "goal"]
    return tables.table(head, rows)


def measure(bench, name, where, ways, protocol, depth, requests):
    """The other servers without login, larder in each way, one after the other."""
    others = [column for column in bench.columns if column is not bench.larder]
    cpu = {label: [] for label in [*[column.name for column in others], *ways]}
    settings = dict(protocol=protocol, depth=depth, size="32", sets=0.05, conns=CONNECTIONS, requests=requests,
                    warmup=max(requests // 10, CONNECTIONS))
    for repeat in range(bench.repeats):
        for column in others:
            with column.start(mem=1024, core=bench.server_core) as server:
                row = load.bench(bench, server, keys=KEYS, seed=repeat + 1, **settings)
            keep(bench, name, column.name, repeat, row, cpu)
        for label, (logins, keys) in ways.items():
            with bench.larder.start(mem=64, core=bench.server_core, where=where, engine_mib=65536) as server:
                server.settle()
                row = load.bench(bench, server, logins=logins, keys=keys, seed=repeat + 1, **settings)
            keep(bench, name, label, repeat, row, cpu)
    return [*[tables.spread(values) for values in cpu.values()],
            tables.ratio(cpu["many tenants"], cpu["one tenant"]), "1.10"]
