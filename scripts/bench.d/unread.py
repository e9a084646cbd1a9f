"""Clients that ask without end and read nothing: what the process holds for them, when they are no longer read, when
they are closed, and what the clients of other caches wait beside them.

Run as a program: `unread.py PORT CLIENTS SECONDS [USER:PASSWORD]`. It asks on so many connections until all are closed
or the time is over.
"""

import contextlib
import json
import selectors
import socket
import sys
import threading
import time

import beside
import load
import machine
import noisy
import tables
from home import Home
from login import SMALL_MIB
from machine import BenchError
from textclient import TextClient

TITLE = "unread: clients that read no replies"

CLIENTS = 1000
# A cache that has room for all that its connections may hold, so that the bound of each connection shows.
PLAN_MIB = 1100
# Replies refer to large values and copy small ones. In a cache of this size 30,000 bytes are small.
VALUES = {"64 KiB": 64 << 10, "30,000 B": 30_000}
# LARDER_MEMCACHED_UNREAD_SECS and memcached's idle_timeout.
UNREAD_SECS = 30
# What a connection may hold: replies up to LARDER_MEMCACHED_UNREAD_BYTES and the one that passes it, what one read may
# leave, and the step in which it is charged.
UNREAD_KIB, READ_KIB, STEP_KIB = 256, 64, 16
REQUESTS = 8000


def run(bench):
    homes = {column.name: prepare(bench, column) for column in bench.columns}
    cells = [(column, name) for name in VALUES for column in bench.columns if bench.wanted(f"{column.name}, {name}")]
    found = {(column.name, name): [] for column, name in cells}
    for repeat in range(bench.repeats):
        for column, name in cells:
            row = measure(bench, column, *homes[column.name], VALUES[name])
            bench.results.add(cell=name, server=column.name, repeat=repeat, result=row)
            found[column.name, name].append(row)
            print(f"{column.name:10} {name:10} {row}", flush=True)
    clients = bench.few(CLIENTS, 20)
    memory = [memory_row(*cell, rows) for cell, rows in found.items()]
    others = [others_row(*cell, rows) for cell, rows in found.items()]
    return "\n\n".join([
        tables.table([f"server, {clients:,} clients", "RSS MiB before", "at most", "after they are gone",
                      "KiB for each, at most", "its bound", "last read after s", "closed", "after s"], memory),
        tables.table([f"{noisy.LIGHT} light tenants beside them", "p50 us alone", "p99 us alone",
                      "p99 us, they at another server", "p50 us beside", "p99 us beside", "p99 to p99 alone",
                      "to p99, they at another server"], others)])


def prepare(bench, column):
    """Settings of the start, the logins of the light clients and of the silent ones where there are any."""
    unread_secs = bench.few(UNREAD_SECS, 2)
    if column is not bench.larder:
        return {"mem": PLAN_MIB, "more": ("-o", f"idle_timeout={unread_secs}")}, None, None
    where = Home(bench.work, plans={"small": SMALL_MIB, "large": PLAN_MIB})
    with column.start(mem=64, where=where, core=None) as server:
        light = where.provision(server, noisy.LIGHT, "small", "light")
        with open(where.provision(server, 1, "large", "silent")) as file:
            silent = file.read().strip()
    deadline = ("env", f"LARDER_MEMCACHED_UNREAD_SECS={unread_secs}")
    return {"mem": 64, "where": where, "wrapper": deadline}, light, silent


def measure(bench, column, settings, light, silent, value_bytes):
    clients, seconds = bench.few(CLIENTS, 20), bench.few(15, 2)
    with column.start(core=bench.server_core, **settings) as server, beside.on_core(bench.load_core):
        fill(server, silent, clients, value_bytes)
        server.settle()
        with watched(server.pid):
            alone = light_ones(bench, server, light, seconds, preload=True)
        elsewhere = light_ones_beside_another(bench, server, light, value_bytes)
        patience = bench.few(UNREAD_SECS, 2) + 15
        arguments = [server.login_port if silent else server.port, clients, patience, *([silent] if silent else [])]
        with beside.program(bench, __file__, *arguments) as program:
            program.wait_until_ready()
            before = machine.rss_bytes(server.pid)
            with watched(server.pid) as most:
                with_them = light_ones_and_onset(bench, server, light, program)
                told = program.result()
        after = at_rest(bench, server.pid)
    closed = [life for life in told["closed"] if life is not None]
    return {"before": before, "most": most[0], "after": after, "each": (most[0] - before) / clients,
            "bound": (UNREAD_KIB + READ_KIB + STEP_KIB << 10) + value_bytes, "taken": tables.median(told["taken"]),
            "paused": max(told["paused"]), "closed": len(closed), "first": min(closed, default=None),
            "last": max(closed, default=None), "alone": alone, "elsewhere": elsewhere, "beside": with_them}


def light_ones_beside_another(bench, server, light, value_bytes):
    """What the silent clients cost the light ones by what they take of the load's core, whatever server is measured: they
    ask another server there."""
    clients = bench.few(CLIENTS, 20)
    with bench.bystander.start(mem=PLAN_MIB, core=bench.load_core, wrapper=("chrt", "--idle", "0")) as other:
        fill(other, None, clients, value_bytes)
        with beside.program(bench, __file__, other.port, clients, bench.few(15, 2) + 2) as program:
            program.wait_until_ready()
            with watched(server.pid):
                return light_ones_and_onset(bench, server, light, program)


def light_ones_and_onset(bench, server, light, program):
    """The silent clients begin in the midst of the measurement, so that their onset is in it."""
    timer = threading.Timer(1, program.begin)
    timer.start()
    found = light_ones(bench, server, light, bench.few(15, 2), preload=False)
    timer.join()
    return found


def fill(server, login, clients, value_bytes):
    """A value for each client."""
    client = TextClient(server.login_port if login else server.port, login)
    for number in range(clients):
        client.stream.sendall(b"set %s 0 0 %d\r\n%s\r\n" % (key(number), value_bytes, b"v" * value_bytes))
        client._expect(b"STORED")
    client.close()


def key(number):
    return b"large-%d" % number


def light_ones(bench, server, logins, seconds, preload):
    row = load.bench(bench, server, logins=logins, preload=preload, requests=noisy.RATE * seconds, rate=noisy.RATE,
                     conns=noisy.LIGHT, keys=1000, size="32")
    if row["errors"]:
        raise BenchError(f"{row['errors']} errors of light clients")
    return row["latency"]["p50_us"], row["latency"]["p99_us"]


@contextlib.contextmanager
def watched(pid):
    """The most resident memory during the block, in a list of one."""
    most, ended = [machine.rss_bytes(pid)], threading.Event()

    def watch():
        while not ended.wait(0.05):
            most[0] = max(most[0], machine.rss_bytes(pid))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield most
    finally:
        ended.set()
        thread.join()


def at_rest(bench, pid):
    """Resident memory when it falls no more: what is freed goes back to the system within some seconds."""
    least, since = machine.rss_bytes(pid), time.monotonic()
    while time.monotonic() - since < bench.few(5, 1):
        time.sleep(0.2)
        now = machine.rss_bytes(pid)
        if now < least - (256 << 10):
            least, since = now, time.monotonic()
    return least


def memory_row(server, name, rows):
    of = lambda key, unit, digits=0: tables.spread([row[key] / unit for row in rows if row[key] is not None], digits)
    bound = f"{rows[0]['bound'] / 1024:,.0f}" if server == "larder" else "-"
    closed = f"{min(row['closed'] for row in rows):,}"
    after = "-" if rows[0]["first"] is None else f"{of('first', 1, 1)} to {of('last', 1, 1)}"
    return [f"{server}, values of {name}", of("before", 1 << 20), of("most", 1 << 20), of("after", 1 << 20),
            of("each", 1024), bound, of("paused", 1, 1), closed, after]


def others_row(server, name, rows):
    of = lambda way, at: [row[way][at] for row in rows]
    columns = [of("alone", 0), of("alone", 1), of("elsewhere", 1), of("beside", 0), of("beside", 1)]
    return [f"{server}, values of {name}", *[tables.spread(column, 0) for column in columns],
            tables.ratio(columns[4], columns[1]), tables.ratio(columns[4], columns[2])]


class Silent:
    """One client of the program."""

    def __init__(self, port, number, login):
        self.stream = socket.socket()
        self.stream.settimeout(30)
        # The kernel is to keep little for either side, so that it is the server that has to hold or to stop.
        self.stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.stream.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        self.stream.connect(("127.0.0.1", port))
        if login:
            data = login.replace(":", " ", 1).encode()
            self.stream.sendall(b"set auth 0 0 %d\r\n%s\r\n" % (len(data), data))
            if self.stream.recv(64) != b"STORED\r\n":
                raise OSError("the login was refused")
        self.stream.setblocking(False)
        self.requests = b"get %s\r\n" % key(number) * REQUESTS
        self.taken = 0
        self.paused = self.closed = None

    def ask(self, began):
        """False when the server has closed the connection."""
        try:
            # What is left of a request is sent first.
            self.taken += self.stream.send(self.requests[self.taken % len(self.requests):])
            self.paused = time.monotonic() - began
        except BlockingIOError:
            pass
        except OSError:
            self.closed = time.monotonic() - began
            return False
        return True


def main(port, clients, seconds, login=None):
    selector = selectors.DefaultSelector()
    silent = [Silent(int(port), number, login) for number in range(int(clients))]
    beside.ready()
    began = time.monotonic()
    for client in silent:
        selector.register(client.stream, selectors.EVENT_WRITE, client)
    while selector.get_map() and (left := began + float(seconds) - time.monotonic()) > 0:
        for key_, _ in selector.select(left):
            if not key_.data.ask(began):
                selector.unregister(key_.fileobj)
    print(json.dumps({name: [getattr(client, name) for client in silent] for name in ("taken", "paused", "closed")}),
          flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
