"""From a cause in a cache to its effect at the marketplace."""

import time

import tables
from machine import BenchError
from owner import Owner
from provider import DEAD_ADDRESS, app_address
from textclient import TextClient


def percentiles(seconds):
    """p50 and p99 in milliseconds."""
    ordered = sorted(seconds)
    if not ordered:
        raise BenchError("nothing arrived")
    return tuple(1000 * ordered[min(int(len(ordered) * part), len(ordered) - 1)] for part in (0.5, 0.99))


class App:
    """One provisioned cache, logged in to."""

    def __init__(self, heroku, server, provider, address):
        cache = heroku.provision("small", provider.url, lambda uuid: provider.log_url(uuid, address))
        self.uuid = cache["uuid"]
        self.client = TextClient(server.login_port, f"{cache['USERNAME']}:{cache['PASSWORD']}")
        self.username = cache["USERNAME"]
        self.dead = address == DEAD_ADDRESS

    def flush(self):
        """Flushes a cache that is not empty; returns when that was asked for, by the monotonic clock."""
        self.client.set("something")
        asked = time.monotonic()
        self.client.flush()
        return asked


def promotions_and_flushes(bench, name, where, server, provider):
    """One cause every 50 ms, over all caches, round robin."""
    heroku = where.marketplace(server)
    apps = [App(heroku, server, provider, app_address(number)) for number in range(bench.few(20, 3))]
    rounds, gap = bench.few(20, 2), 0.05
    # The grants are exchanged and the first pushes are over.
    time.sleep(3)
    provider.seen()
    for app in apps:
        app.owner = Owner(server.http_port, app.uuid, where.sso_salt)
        app.other = app.owner.add_credential()
    promoted = []
    for _ in range(rounds):
        for app in apps:
            promoted.append((app.uuid, app.other, app.owner.promote(app.other)))
            app.username, app.other = app.other, app.username
            time.sleep(gap)
    pushes = wait_for(provider, "config", len(promoted), 20)
    flushed = []
    for _ in range(rounds):
        for app in apps:
            flushed.append((app.uuid, None, app.flush()))
            time.sleep(gap)
    lines = wait_for(provider, "log", len(flushed), 20)
    rows = []
    for cause, effect, causes, calls in (("promote", "PATCH", promoted, pushes), ("flush", "log POST", flushed, lines)):
        waits = match(causes, calls)
        bench.results.add(database=name, cause=cause, waits=waits, causes=len(causes))
        p50, p99 = percentiles(waits)
        print(f"{name:10} {cause} -> {effect}: {len(waits)} of {len(causes)}, p50 {p50:.1f} ms, p99 {p99:.1f} ms",
              flush=True)
        rows.append([name, cause, effect, f"{len(waits)} of {len(causes)}", f"{p50:.1f}", f"{p99:.1f}"])
    return rows


def wait_for(provider, kind, count, patience):
    """Calls of a kind until there are enough, or no more come."""
    found, until = [], time.monotonic() + patience
    while time.monotonic() < until:
        found += [entry for entry in provider.seen() if entry["kind"] == kind]
        if sum(entry.get("flushes", 1) for entry in found) >= count:
            break
        time.sleep(0.2)
    return found


def match(causes, effects):
    """Seconds from each cause to the first fitting effect after it. One call may carry several lines; a push that
    overtook a promotion stands for one only, so a cause without an effect of its own does not count."""
    waits, room = [], [effect.get("flushes", 1) for effect in effects]
    for uuid, username, at in causes:
        for number, effect in enumerate(effects):
            fits = effect["cache"] == uuid and effect["at"] >= at and room[number] > 0
            if fits and (username is None or effect["username"] == username):
                room[number] -= 1
                waits.append(effect["at"] - at)
                break
    return waits


def deliveries(bench, name, where, server, provider, dead):
    """A hundred apps, each a destination of its own, `dead` of which never answer."""
    heroku, count = where.marketplace(server), bench.few(100, 10)
    addresses = [DEAD_ADDRESS if number < dead else app_address(number) for number in range(count)]
    apps = [App(heroku, server, provider, address) for address in addresses]
    alive = [app for app in apps if not app.dead]
    time.sleep(2)
    provider.seen()
    # Paced: one flush a second and cache.
    causes, rounds = [], bench.few(15, 2)
    began = time.monotonic()
    for number in range(rounds * count):
        time.sleep(max(began + number / count - time.monotonic(), 0))
        app = apps[number % count]
        asked = app.flush()
        if not app.dead:
            causes.append((app.uuid, None, asked))
    waits = match(causes, wait_for(provider, "log", len(causes), 30))
    if len(waits) < len(causes):
        raise BenchError(f"only {len(waits)} of {len(causes)} lines arrived at destinations that answer")
    # Burst: nine flushes of each at once, below the ten a second from where lines are folded into one.
    began, each = time.monotonic(), 9
    for _ in range(each):
        for app in apps:
            app.flush()
    arrived = wait_for(provider, "log", each * len(alive), 60)
    lines = sum(entry["flushes"] for entry in arrived)
    speed = lines / (max(entry["at"] for entry in arrived) - began) if arrived else 0
    p50, p99 = percentiles(waits)
    bench.results.add(database=name, dead=dead, waits=waits, burst_lines=lines, deliveries_per_s=speed)
    print(f"{name:10} {dead} dead of {count}: {speed:.0f} deliveries/s ({lines} of {each * len(alive)} lines), p99 "
          f"{p99:.1f} ms", flush=True)
    return [name, f"{count}, {dead} dead", tables.number(speed, 0), f"{p50:.1f}", f"{p99:.1f}"]
