"""What a connection costs: CPU to open it and log in, memory while it does nothing."""

import os

import load
import servers
import tables
from home import Home
from login import SMALL_MIB

TITLE = "idle: cost of a connection and of a login"


def run(bench):
    conns = bench.few(10_000, 500)
    ways = list(each_way(bench))
    found = {way[0]: [] for way in ways}
    for repeat in range(bench.repeats):
        for name, column, protocol, logins, settings in ways:
            if not bench.wanted(name):
                continue
            with column.start(core=bench.server_core, **settings) as server:
                server.settle()
                row = load.idle(bench, server, conns, protocol, logins)
            bench.results.add(cell=name, server=column.name, repeat=repeat, result=row)
            cost = row["connect_cpu_s_per_million"]["server"], row["rss_bytes_per_conn"]
            found[name].append(cost)
            print(f"{name:36} {cost[0]:7.1f} us  {cost[1]:8.0f} B", flush=True)
    rows = []
    for name, column, protocol, logins, _ in ways:
        costs = found[name]
        if costs:
            bare = found[f"{column.name}, no login"]
            login = [cost[0] - tables.median([b[0] for b in bare]) for cost in costs] if logins and bare else []
            rows.append([name, tables.spread([cost[0] for cost in costs], 1), tables.spread(login, 1),
                         tables.spread([cost[1] for cost in costs], 0)])
    head = [f"server, {conns:,} connections", "CPU us to connect, log in and ask once", "of it the login",
            "RSS bytes per idle connection"]
    return tables.table(head, rows)


def each_way(bench):
    """Name, server, protocol, file of logins, settings of the start."""
    for column in bench.columns:
        yield f"{column.name}, no login", column, "text", None, {"mem": 64}
        if column is bench.larder:
            yield from with_tenants(bench, column)
        elif isinstance(column, servers.Command) and column.version:
            # memcached's own text login; its SASL needs a user database of the whole machine.
            path = os.path.join(bench.work, "memcached-logins")
            with open(path, "w") as out:
                out.write("bench:bench-password\n")
            yield f"{column.name}, text login", column, "text", path, {"mem": 64, "more": ("-Y", path)}


def with_tenants(bench, column):
    tenants = bench.few(1000, 10)
    where = Home(bench.work, plans={"small": SMALL_MIB})
    with column.start(mem=64, where=where, core=None, engine_mib=65536) as server:
        logins = where.provision(server, tenants, "small")
    settings = {"mem": 64, "where": where, "engine_mib": 65536}
    for protocol, kind in (("text", "text"), ("binary", "SASL")):
        yield f"larder, {kind} login, {tenants:,} tenants", column, protocol, logins, settings
