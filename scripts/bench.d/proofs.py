"""Refused proofs: whether the time of a refusal tells which part of the proof was wrong.

Each case compares two wrong proofs, one request of each in turn, and the first with itself as a control: what two series of
the same request differ by is what this machine cannot tell apart. Each request has a connection of its own, and they come from
250 addresses, so that the bounds on guessing, for each address, do not answer in place of the check.
"""

import base64
import hashlib
import itertools
import secrets
import socket
import statistics
import time
import urllib.parse
import uuid

import tables
from home import Home
from login import SMALL_MIB
from machine import BenchError
from owner import Owner

TITLE = "proofs: what the time of a refusal tells"
ONCE = True
ALONE = True

WRONG_PASSWORD = "F" * 32
ADDRESSES = itertools.cycle(f"127.16.0.{low}" for low in range(1, 251))


def run(bench):
    where = Home(bench.work, plans={"small": SMALL_MIB})
    with bench.larder.start(mem=64, where=where, core=bench.server_core) as server:
        rows = [measured(bench, name, *case) for name, case in cases(where, server).items() if bench.wanted(name)]
    return tables.table(["wrong proofs", "median us", "difference us", "control us", "two standard errors us"], rows)


def cases(where, server):
    """Name -> port, what ends a reply, how a reply must begin, and the two requests."""
    heroku = where.marketplace(server)
    known, ended = heroku.provision("small"), heroku.provision("small")
    heroku.deprovision(ended["uuid"])
    user, password = where.addon, where.password
    basic = lambda name, word: (server.http_port, b"\r\n\r\n", b"HTTP/1.1 401", basic_request(name, word))
    form = lambda cache, token: (server.http_port, b"\r\n\r\n", b"HTTP/1.1 403", sign_on(cache, token))
    text = lambda name, word: (server.login_port, b"\r\n", b"CLIENT_ERROR", text_login(name, word))
    address = lambda path: (server.http_port, b"\r\n\r\n", b"HTTP/1.1 404", visit(path))
    sasl = lambda name, word: (server.login_port, b"Auth failure", b"\x81\x21", sasl_login(name, word))
    salted = lambda cache: hashlib.sha1(f"{cache}:{where.sso_salt}:{now()}".encode()).hexdigest()
    wrong = "0" * 40
    owner = Owner(server.http_port, known["uuid"], where.sso_salt)
    former, _ = owner.rotate_address(), owner.rotate_address()
    unknown = {"user": "000000", "cache": str(uuid.uuid4())}
    return {
        "Basic: user, password": (basic(other(user, 0), password), basic(user, other(password, 0))),
        "Basic: first byte of the password, last byte": (basic(user, other(password, 0)), basic(user, other(password, -1))),
        "Basic: password of one byte, of the right length": (basic(user, "x"), basic(user, other(password, 0))),
        "sign-on: unknown cache, wrong token": (form(unknown["cache"], wrong), form(known["uuid"], wrong)),
        "sign-on: ended cache, wrong token": (form(ended["uuid"], wrong), form(known["uuid"], wrong)),
        "sign-on: first digit of the token, last digit": (
            form(known["uuid"], other(salted(known["uuid"]), 0)), form(known["uuid"], other(salted(known["uuid"]), -1))),
        "dashboard address: never one, rotated away": (
            address(f"/d/{secrets.token_urlsafe(32)}"), address(former)),
        "text login: unknown user, wrong password": (
            text(unknown["user"], WRONG_PASSWORD), text(known["USERNAME"], WRONG_PASSWORD)),
        "text login: first byte of the password, last byte": (
            text(known["USERNAME"], other(known["PASSWORD"], 0)), text(known["USERNAME"], other(known["PASSWORD"], -1))),
        "SASL: unknown user, wrong password": (
            sasl(unknown["user"], WRONG_PASSWORD), sasl(known["USERNAME"], WRONG_PASSWORD)),
    }


def measured(bench, name, one, other_one):
    times = {"one": [], "other": [], "again": []}
    requests = {"one": one, "other": other_one, "again": one}
    for number in range(bench.few(4000, 20)):
        # Each place in a round is each one's in turn.
        order = list(requests)
        for key in order[number % 3:] + order[:number % 3]:
            times[key].append(timed(next(ADDRESSES), *requests[key]))
    medians = {key: 1e6 * statistics.median(of) for key, of in times.items()}
    difference, control = medians["one"] - medians["other"], medians["one"] - medians["again"]
    error = 2 * (standard_error(times["one"]) ** 2 + standard_error(times["other"]) ** 2) ** 0.5
    bench.results.add(cell=name, medians=medians, difference=difference, control=control, error=error)
    print(f"{name:52} {medians['one']:7.1f} us  {difference:+6.1f}  control {control:+6.1f}  +-{error:.1f}", flush=True)
    return [name, f"{medians['one']:.1f}, {medians['other']:.1f}", f"{difference:+.1f}", f"{control:+.1f}", f"{error:.1f}"]


def standard_error(times):
    """Of the median, in us: from the middle half of the values."""
    quarters = statistics.quantiles(times, n=4)
    return 1e6 * 1.2533 * (quarters[2] - quarters[0]) / 1.349 / len(times) ** 0.5


def timed(address, port, end, begins, request):
    """Seconds from the request to its whole reply, on a connection that is there already."""
    with socket.create_connection(("127.0.0.1", port), 30, source_address=(address, 0)) as stream:
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        began = time.perf_counter()
        stream.sendall(request)
        reply = b""
        while end not in reply:
            piece = stream.recv(65536)
            if not piece:
                break
            reply += piece
        took = time.perf_counter() - began
    if not reply.startswith(begins):
        raise BenchError(f"a wrong proof was answered {reply[:100]!r}")
    return took


def other(text, at):
    """The text with another character there."""
    at %= len(text)
    return text[:at] + ("0" if text[at] != "0" else "1") + text[at + 1:]


def now():
    return str(int(time.time()))


def basic_request(user, password):
    login = base64.b64encode(f"{user}:{password}".encode()).decode()
    return (f"DELETE /heroku/resources/{uuid.UUID(int=1)} HTTP/1.1\r\nHost: larder\r\nAuthorization: Basic {login}\r\n"
            "Accept: application/vnd.heroku-addons+json; version=3\r\nContent-Length: 0\r\n\r\n").encode()


def sign_on(cache, token):
    body = urllib.parse.urlencode({"resource_id": cache, "resource_token": token, "timestamp": now(),
                                   "email": "bench@example.com", "user_id": secrets.token_hex(8), "app": "bench"})
    return (f"POST /heroku/sso HTTP/1.1\r\nHost: larder\r\nContent-Type: application/x-www-form-urlencoded\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}").encode()


def visit(path):
    return f"GET {path} HTTP/1.1\r\nHost: larder\r\n\r\n".encode()


def text_login(user, password):
    return f"set {user} 0 0 {len(password)}\r\n{password}\r\n".encode()


def sasl_login(user, password):
    data = b"PLAIN" + f"\0{user}\0{password}".encode()
    return b"\x80\x21\0\5" + bytes(4) + len(data).to_bytes(4, "big") + bytes(12) + data
