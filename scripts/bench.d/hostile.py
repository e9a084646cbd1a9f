"""Clients that mean harm: what they cost, and whether others still get in."""

import contextlib
import os
import socket
import time

import servers
import tables
from home import Home
from machine import BenchError, cpu_ticks, free_port, rss_bytes
from textclient import TextClient

TITLE = "hostile: what clients that mean harm cost"
ONCE = True
ALONE = True

CACHES, CONNECTIONS, PLAN_MIB, CEILING_MIB = 4, 50, 27, 64
MANY_KEYS = 500_000
ENDLESS = b"get " + b"k " * 1_045_000
SILENT, DESCRIPTORS = 1224, 1024
HELLOS, HELLO_BYTES, RECORD_BYTES = 4000, 60_000, 15_000


def run(bench):
    columns = [bench.larder]
    if bench.options.before:
        columns.insert(0, servers.Larder(bench.options.before, bench.work))
    rows = [[name, *(measured(bench, column, name, measure) for column in columns)]
            for name, measure in MEASURES.items() if bench.wanted(name)]
    return tables.table(["input", *(["before"] if len(columns) > 1 else []), "now"], rows)


def measured(bench, column, name, measure):
    told = measure(bench, column)
    bench.results.add(cell=name, server=column.told, result=told)
    print(f"{name:70} {column.told}: {told}", flush=True)
    return told


@contextlib.contextmanager
def started(bench, column, wrapper=(), **settings):
    """A server with a few small caches, and their logins."""
    where = Home(bench.work, plans={"small": PLAN_MIB})
    with column.start(mem=PLAN_MIB, where=where, core=bench.server_core, engine_mib=CEILING_MIB,
                      wrapper=wrapper, **settings) as server:
        with open(where.provision(server, CACHES, "small")) as file:
            logins = file.read().split()
        server.settle()
        yield server, logins


def many_keys(bench, column):
    """CPU of one line of very many keys, after a short one."""
    keys = bench.few(MANY_KEYS, 5000)
    with started(bench, column) as (server, logins):
        client = TextClient(server.login_port, logins[0])
        before = cpu_ticks(server.pid)
        client.stream.sendall(b"get" + b" k" * keys + b"\r\n")
        client.stream.settimeout(120)
        client._expect(b"END")
        ticks = cpu_ticks(server.pid) - before
        return f"{ticks / os.sysconf('SC_CLK_TCK'):.2f} s of CPU"


def without_end(bench, column):
    return memory(bench, column, lambda client: client.stream.sendall(ENDLESS))


def unread(bench, column):
    """Replies of values that are copied into the output, which nobody reads."""
    def ask(client):
        client.stream.sendall(b"set k 0 0 3000\r\n" + b"v" * 3000 + b"\r\n")
        client._expect(b"STORED")
        client.stream.sendall(b"get k\r\n" * 5000)
    return memory(bench, column, ask)


def memory(bench, column, harm):
    """What the process holds at most, and of it beyond what it held before."""
    with started(bench, column) as (server, logins):
        before = rss_bytes(server.pid)
        clients, refused, most = [], 0, before
        for login in logins:
            for _ in range(bench.few(CONNECTIONS, 2)):
                client = TextClient(server.login_port, login)
                client.stream.settimeout(5)
                try:
                    harm(client)
                except OSError:
                    refused += 1
                clients.append(client)
                most = max(most, rss_bytes(server.pid))
        for _ in range(10):
            time.sleep(0.1)
            most = max(most, rss_bytes(server.pid))
        for client in clients:
            client.close()
        return f"{(most - before) / (1 << 20):.0f} MiB more, with a ceiling of {CEILING_MIB}"


def hellos(bench, column):
    """Hellos of TLS that lack their last bytes, from many addresses. Nobody has logged in."""
    port = free_port()
    with started(bench, column, tls=port) as (server, _):
        before, held, most = rss_bytes(server.pid), [], 0
        for number in range(bench.few(HELLOS, 20)):
            held.append(half_hello(port, number))
            if number % 100 == 0:
                most = max(most, rss_bytes(server.pid))
        for _ in range(10):
            time.sleep(0.1)
            most = max(most, rss_bytes(server.pid))
        for stream in held:
            stream.close()
        return f"{(most - before) / (1 << 20):.0f} MiB more, with a ceiling of {CEILING_MIB}"


def half_hello(port, number):
    stream = socket.create_connection(("127.0.0.1", port), 30, (f"127.0.0.{2 + number % 100}", 0))
    begin = b"\x01" + HELLO_BYTES.to_bytes(3, "big") + b"\x03\x03"
    with contextlib.suppress(OSError):  # the server may close before all is sent
        for _ in range(HELLO_BYTES // RECORD_BYTES):
            part = begin.ljust(RECORD_BYTES, b"U")
            stream.sendall(b"\x16\x03\x01" + RECORD_BYTES.to_bytes(2, "big") + part)
            begin = b""
    return stream


def silent(port_of):
    """Whether a login and a health check get through beside connections that say nothing."""
    def measure(bench, column):
        wrapper = ("prlimit", f"--nofile={DESCRIPTORS}:")
        with started(bench, column, wrapper) as (server, logins):
            held = [connect(port_of(server)) for _ in range(bench.few(SILENT, 20))]
            time.sleep(0.5)
            told = f"login {answers(lambda: TextClient(server.login_port, logins[0]).close())}, " \
                   f"/healthz {answers(lambda: healthy(server.http_port))}"
            for stream in held:
                stream.close()
            return told
    return measure


def connect(port):
    return socket.create_connection(("127.0.0.1", port), 30)


def healthy(port):
    with socket.create_connection(("127.0.0.1", port), 2) as stream:
        stream.settimeout(2)
        stream.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        if b" 200 " not in stream.recv(100):
            raise BenchError("not healthy")


def answers(ask):
    """How long an answer takes. Deadlines of silent connections end after five seconds, so two are long."""
    begin = time.monotonic()
    default = socket.getdefaulttimeout()
    try:
        ask()
    except (OSError, BenchError):
        return "refused"
    finally:
        socket.setdefaulttimeout(default)
    return f"after {1000 * (time.monotonic() - begin):.0f} ms"


MEASURES = {
    f"one `get` with {MANY_KEYS:,} keys": many_keys,
    f"{CACHES} caches of {CONNECTIONS} connections, each a line of 2 MB without end": without_end,
    f"{CACHES} caches of {CONNECTIONS} connections that read no replies": unread,
    f"{HELLOS:,} TLS handshakes of {HELLO_BYTES:,} bytes that do not end": hellos,
    f"{SILENT:,} silent memcached connections, {DESCRIPTORS:,} descriptors": silent(lambda server: server.login_port),
    f"{SILENT:,} silent HTTP connections, {DESCRIPTORS:,} descriptors": silent(lambda server: server.http_port),
}
