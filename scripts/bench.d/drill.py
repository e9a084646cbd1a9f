"""The day after a leak, at size: everything that can be rotated is, and no app is left without a password that works."""

import contextlib
import random
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import tables
from control import DATABASES
from home import Home
from login import SMALL_MIB
from machine import BenchError
from postgres import Postgres
from provider import Provider
from textclient import TextClient

TITLE = "drill: rotating everything"
ONCE = True
ALONE = True

CACHES = 10_000
# The most that the command takes: caches per minute.
RATE, TOKEN_RATE = 6_000, 60_000
PATIENCE = 120


def run(bench):
    rows = []
    for name in DATABASES:
        if bench.wanted(name):
            rows += measure(bench, name, bench.few(CACHES, 50))
    return tables.table(["database", "command", "s", "what it said", "logins meanwhile, refused"], rows)


def measure(bench, name, count):
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(Postgres(bench.work)).url if name == "PostgreSQL" else None
        provider = stack.enter_context(Provider(1))
        where = Home(bench.work, plans={"small": SMALL_MIB}, database=url)
        server = stack.enter_context(bench.larder.start(mem=64, where=where, engine_mib=400_000, provider=provider))
        where.provision(server, count, "small", outside=provider.url)
        admin = Admin(bench, where, server)
        provider.seen()
        rows = []
        with logging_in(server.login_port, where.caches) as tried:
            for verb in (f"rotate --all --rate {RATE}", f"renew-tokens --all --rate {TOKEN_RATE}",
                         "sign-out --all --addresses", "rekey"):
                before = tuple(tried)
                seconds, said = admin.run(verb)
                logins, refused = (after - earlier for after, earlier in zip(tried, before))
                bench.results.add(database=name, verb=verb, caches=count, seconds=seconds, logins=logins, refused=refused)
                print(f"{name:10} {verb}: {seconds:.1f} s, {logins} logins, {refused} refused. {said}", flush=True)
                rows.append([name, f"`{verb}`", f"{seconds:.1f}", said, f"{logins:,}, {refused}"])
        rows.append([name, "afterwards", "", *everybody_logs_in(provider, server.login_port, where.caches)])
        return rows


class Admin:
    """`larder admin` with the settings of the running service."""

    def __init__(self, bench, where, server):
        self.binary, self.folder, self.environment = bench.larder.binary, where.path, server.environment

    def run(self, verb):
        """Seconds, and the first thing that it said."""
        began = time.monotonic()
        done = subprocess.run([self.binary, "admin", *verb.split()], cwd=self.folder, env=self.environment,
                              capture_output=True, text=True)
        seconds = time.monotonic() - began
        if done.returncode != 0:
            raise BenchError(f"admin {verb} failed: {done.stderr[-500:]}")
        return seconds, done.stdout.splitlines()[0]


@contextlib.contextmanager
def logging_in(port, caches):
    """Somebody logs in all the while, with the credentials that each cache had in the beginning."""
    tried, over = [0, 0], threading.Event()

    def work():
        while not over.is_set():
            cache = random.choice(caches)
            tried[0] += 1
            if not logs_in(port, cache["USERNAME"], cache["PASSWORD"]):
                tried[1] += 1
            time.sleep(0.005)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield tried
    finally:
        over.set()
        thread.join()


def logs_in(port, username, password):
    try:
        TextClient(port, f"{username}:{password}").close()
    except (BenchError, OSError):
        return False
    return True


def everybody_logs_in(provider, port, caches):
    """Waits until the marketplace has a new primary of every cache, and logs in with it and with the former one."""
    held, until = {}, time.monotonic() + PATIENCE
    while len(held) < len(caches) and time.monotonic() < until:
        held |= {entry["cache"]: entry for entry in provider.seen() if entry["kind"] == "config"}
        time.sleep(0.2)
    former = {cache["uuid"]: cache["USERNAME"] for cache in caches}
    renewed = sum(entry["username"] != former[cache] for cache, entry in held.items())
    logins = [(entry["username"], entry["password"]) for entry in held.values()]
    logins += [(cache["USERNAME"], cache["PASSWORD"]) for cache in caches]
    with ThreadPoolExecutor(8) as pool:
        good = sum(pool.map(lambda login: logs_in(port, *login), logins))
    if renewed < len(caches) or good < len(logins):
        raise BenchError(f"{renewed} of {len(caches)} caches are renewed; {good} of {len(logins)} credentials log in")
    return f"{renewed:,} caches renewed at their marketplace", f"{len(logins):,}, {len(logins) - good}"
