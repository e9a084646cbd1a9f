"""Who guesses, beside who may: what the owner of a cache and a marketplace notice.

Run as a program: `guesses.py logins PORT USER` or `guesses.py calls PORT`. It guesses on fifty connections until it is killed.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import effects
import tables
from home import Home
from login import SMALL_MIB
from proofs import basic_request, text_login
from textclient import TextClient

TITLE = "guesses: who guesses, beside who may"
ONCE = True
ALONE = True

GUESSERS, LOGINS, CALLS = 50, 2000, 500


def run(bench):
    where = Home(bench.work, plans={"small": SMALL_MIB})
    with bench.larder.start(mem=64, where=where, core=bench.server_core) as server:
        heroku = where.marketplace(server)
        cache = heroku.provision("small")
        login = f"{cache['USERNAME']}:{cache['PASSWORD']}"
        measures = {
            "the owner's login": (
                lambda: TextClient(server.login_port, login).close(), LOGINS,
                ["logins", str(server.login_port), cache["USERNAME"]]),
            "a change of plan": (
                lambda: heroku.change_plan(cache["uuid"], "small"), CALLS, ["calls", str(server.http_port)]),
        }
        rows = [measured(bench, name, *measure) for name, measure in measures.items() if bench.wanted(name)]
    return tables.table(["what", "alone, p50 and p99 ms", f"beside {GUESSERS} who guess"], rows)


def measured(bench, name, deed, count, guesser):
    alone = timed(deed, bench.few(count, 20))
    with guessing(guesser):
        time.sleep(1)
        beside = timed(deed, bench.few(count, 20))
    bench.results.add(cell=name, alone=alone, beside=beside)
    told = [f"{p50:.2f}, {p99:.2f}" for p50, p99 in (alone, beside)]
    print(f"{name}: {told[0]} alone, {told[1]} beside", flush=True)
    return [name, *told]


def timed(deed, count):
    times = []
    for _ in range(count):
        began = time.perf_counter()
        deed()
        times.append(time.perf_counter() - began)
    return effects.percentiles(times)


@contextlib.contextmanager
def guessing(arguments):
    """A process that yields to the one that measures, which shares its core."""
    process = subprocess.Popen(["nice", "-n", "19", sys.executable, "-B", os.path.abspath(__file__), *arguments])
    try:
        yield
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def guess(address, port, requests):
    """Sends wrong proofs for ever, on as many connections as the server asks for."""
    while True:
        with contextlib.suppress(OSError), \
                socket.create_connection(("127.0.0.1", port), 30, source_address=(address, 0)) as stream:
            while True:
                stream.sendall(requests)
                if not stream.recv(65536):
                    break


def main(kind, port, user=None):
    if kind == "logins":
        requests = text_login(user, "F" * 32)
    else:
        requests = basic_request("nobody", "F" * 32)
    threads = [threading.Thread(target=guess, args=(f"127.17.0.{number + 1}", int(port), requests), daemon=True)
               for number in range(GUESSERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main(*sys.argv[1:])
