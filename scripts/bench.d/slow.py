"""Who sends slowly over HTTP, beside who may: what a marketplace and an owner notice, and when the slow are cut.

Run as a program: `slow.py PORT PID EACH SECONDS`. It keeps so many connections of each kind open, a new one for each
that was cut; then it opens no more and waits until all are cut.
"""

import collections
import heapq
import json
import selectors
import socket
import sys
import time

import beside
import effects
import machine
import tables
from home import Home
from login import SMALL_MIB
from owner import Owner

TITLE = "slow: who sends slowly over HTTP, beside who may"
ONCE = True
ALONE = True

EACH, SECONDS = 500, 60
RATE = 20  # calls of each kind a second, as a marketplace and some owners make together
ADDRESSES = 250
# Longer than any request may take, so whoever is left then was not cut.
PATIENCE = 45
BEGINNINGS = {
    "head": b"GET / HTTP/1.1\r\nHost: larder\r\nX-Slow: ",
    "body": b"POST /heroku/sso HTTP/1.1\r\nHost: larder\r\nContent-Type: application/x-www-form-urlencoded\r\n"
            b"Content-Length: 60000\r\n\r\nresource_id=",
}


def run(bench):
    each, seconds = bench.few(EACH, 10), bench.few(SECONDS, 3)
    where = Home(bench.work, plans={"small": SMALL_MIB})
    with bench.larder.start(mem=64, where=where, core=bench.server_core, engine_mib=400_000) as server, \
            beside.on_core(bench.load_core):
        deeds = legitimate(where, server)
        timed(deeds, 1)  # connections and pages are warm after these
        before = machine.open_sockets(server.pid)
        alone = timed(deeds, seconds / 2)
        with beside.program(bench, __file__, server.http_port, server.pid, each, seconds) as senders:
            senders.wait_until_ready()
            senders.begin()
            with_them = timed(deeds, seconds)
            told = senders.result()
            after = machine.open_sockets(server.pid)
        # Once more, because a provision costs more the more caches there are.
        for name, times in timed(deeds, seconds / 2).items():
            alone[name] += times
    sockets = {"before": before, "most": told["sockets_most"], "after": after}
    bench.results.add(alone=alone, beside=with_them, told=told, sockets=sockets)
    parts = [callers(alone, with_them, 2 * each), cuts(told["kinds"], each, seconds),
             tables.table(["open sockets of the process before", "at most during", "after the last was cut"],
                          [[f"{count:,}" for count in sockets.values()]])]
    return "\n\n".join(parts)


def legitimate(where, server):
    """What is measured, by name."""
    heroku = where.marketplace(server)
    owner = Owner(server.http_port, heroku.provision("small")["uuid"], where.sso_salt)
    return {"a provision": lambda: heroku.provision("small"), "a dashboard page": owner._page}


def timed(deeds, seconds):
    """Seconds from when each deed was due."""
    found = {name: [] for name in deeds}
    began = time.perf_counter()
    for number in range(int(seconds * RATE)):
        for part, (name, deed) in enumerate(deeds.items()):
            due = began + (number + part / len(deeds)) / RATE
            time.sleep(max(due - time.perf_counter(), 0))
            deed()
            found[name].append(time.perf_counter() - due)
    return found


def callers(alone, with_them, senders):
    rows = []
    for name in alone:
        (low, high), (low_beside, high_beside) = (effects.percentiles(times[name]) for times in (alone, with_them))
        times = [f"{p50:.2f}, {p99:.2f}" for p50, p99 in ((low, high), (low_beside, high_beside))]
        rows.append([name, *times, f"{high_beside / high:.2f}"])
        print(f"{name}: {rows[-1][1]} alone, {rows[-1][2]} beside", flush=True)
    head = ["what", "alone, p50 and p99 ms", f"beside {senders:,} who send slowly", "p99 to p99 alone"]
    return tables.table(head, rows)


def cuts(kinds, each, seconds):
    rows = []
    for name, kind in kinds.items():
        lives = kind["lives"]
        answers = ", ".join(f"{count:,} x {status}" for status, count in kind["answers"].items()) or "none"
        rows.append([f"{each} whose {name} does not end", f"{len(lives):,}", tables.spread(lives, 1), answers,
                     f"{kind['left']} left, {kind['refused']} refused"])
        print(" | ".join(rows[-1]), flush=True)
    return tables.table(["connections, each replaced when it was cut", f"cut, of those begun in {seconds} s",
                         "s until it was cut", "answers before", "others"], rows)


class Senders:
    """All slow connections of the program."""

    def __init__(self, port, pid):
        self.port, self.pid, self.sockets_most = port, pid, 0
        self.selector = selectors.DefaultSelector()
        self.due = []  # when, number: its next byte
        self.open = {}  # number: kind, stream, since
        self.numbers = 0
        fresh = lambda: {"lives": [], "answers": collections.Counter(), "left": 0, "refused": 0}
        self.kinds = {name: fresh() for name in BEGINNINGS}

    def begin(self, kind):
        self.numbers += 1
        address = f"127.18.0.{1 + self.numbers % ADDRESSES}"
        try:
            stream = socket.create_connection(("127.0.0.1", self.port), 30, source_address=(address, 0))
            stream.sendall(BEGINNINGS[kind])
        except OSError:
            self.kinds[kind]["refused"] += 1
            return
        stream.setblocking(False)
        now = time.monotonic()
        self.open[self.numbers] = kind, stream, now
        self.selector.register(stream, selectors.EVENT_READ, self.numbers)
        heapq.heappush(self.due, (now + 1, self.numbers))

    def run(self, until, replaces):
        """Sends a byte a second on each, until all are cut or the time is over."""
        sample = time.monotonic()
        while self.open and (now := time.monotonic()) < until:
            if now >= sample:
                sample = now + 1
                self.sockets_most = max(self.sockets_most, machine.open_sockets(self.pid))
            while self.due and self.due[0][0] <= now:
                self.send(heapq.heappop(self.due)[1], replaces)
            pause = min(self.due[0][0] if self.due else until, until, sample) - time.monotonic()
            for key, _ in self.selector.select(max(pause, 0)):
                self.receive(key.data, replaces)

    def send(self, number, replaces):
        if number not in self.open:
            return
        try:
            self.open[number][1].send(b"x")
        except OSError:
            self.cut(number, replaces)
            return
        heapq.heappush(self.due, (time.monotonic() + 1, number))

    def receive(self, number, replaces):
        if number not in self.open:
            return
        kind, stream, _ = self.open[number]
        try:
            answer = stream.recv(65536)
        except OSError:
            answer = b""
        if not answer:
            self.cut(number, replaces)
        elif answer.startswith(b"HTTP/1.1 "):
            self.kinds[kind]["answers"][answer[9:12].decode()] += 1

    def cut(self, number, replaces):
        kind, stream, since = self.open.pop(number)
        self.selector.unregister(stream)
        stream.close()
        self.kinds[kind]["lives"].append(time.monotonic() - since)
        if replaces:
            self.begin(kind)


def main(port, pid, each, seconds):
    senders = Senders(int(port), int(pid))
    beside.ready()
    began = time.monotonic()
    for _ in range(int(each)):
        for kind in BEGINNINGS:
            senders.begin(kind)
    senders.run(began + float(seconds), replaces=True)
    senders.run(time.monotonic() + PATIENCE, replaces=False)
    for kind, _, _ in senders.open.values():
        senders.kinds[kind]["left"] += 1
    print(json.dumps({"kinds": senders.kinds, "sockets_most": senders.sockets_most}), flush=True)
    # Whoever is left stays until this process is ended, and counts as an open socket until then.
    sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
