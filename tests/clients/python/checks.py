"""The common list (../checks.md) for Python: one adapter per library, the same checks for all."""

import os
import sys
import time
import traceback

MIB = 1024 * 1024
BINARY = bytes(range(256)) + b"\r\nEND\r\n\x00VALUE x 0 1\r\n"
TEXT = "Grüße, 缓存, κρυφή μνήμη, 🧺"

CREDENTIALS = {
    "full": ("MEMCACHIER_USERNAME", "MEMCACHIER_PASSWORD"),
    "read-only": ("READONLY_USERNAME", "READONLY_PASSWORD"),
    "no-flush": ("NOFLUSH_USERNAME", "NOFLUSH_PASSWORD"),
    "promoted": ("PROMOTED_USERNAME", "PROMOTED_PASSWORD"),
}


class Cannot(Exception):
    """The library has no call for this."""


class Adapter:
    """One library, in one vocabulary: keys are str; values go in as bytes or str and come back as they went in.

    Calls that store, change or remove answer whether it happened. A call that is left out stays a skip.
    """

    # What a refused command may raise; anything else that is raised fails the check.
    refusals = ()

    def __init__(self, server, username, password):
        raise NotImplementedError

    def auth_failed(self, exception):
        """Whether this is how the library says that the login was refused."""
        raise NotImplementedError

    def set(self, key, value, ttl=0):
        raise Cannot("no set")

    def get(self, key):
        raise Cannot("no get")

    def set_many(self, items):
        return all([self.set(key, value) for key, value in items.items()])

    def get_many(self, keys):
        raise Cannot("no call to get several keys")

    def add(self, key, value):
        raise Cannot("no add")

    def replace(self, key, value):
        raise Cannot("no replace")

    def append(self, key, value):
        raise Cannot("no append")

    def prepend(self, key, value):
        raise Cannot("no prepend")

    def incr(self, key, delta):
        raise Cannot("no incr")

    def decr(self, key, delta):
        raise Cannot("no decr")

    def gets(self, key):
        raise Cannot("no cas")

    def cas(self, key, value, cas_value):
        raise Cannot("no cas")

    def touch(self, key, ttl):
        raise Cannot("no touch")

    def delete(self, key):
        raise Cannot("no delete")

    def flush(self):
        raise Cannot("no flush")


def run(adapter):
    """Runs the list and prints one line per check."""
    server = os.environ["MEMCACHIER_SERVERS"].split(",")[0]

    def connect(credential, password=None):
        username, real = (os.environ[name] for name in CREDENTIALS[credential])
        return adapter(server, username, password or real)

    main = connect("full")
    for name, check in CHECKS:
        report(name, check, main, connect)


def report(name, check, main, connect):
    try:
        check(main, connect)
    except Cannot as reason:
        say(f"skip {name} - {reason}")
    except Exception as fault:
        traceback.print_exc(file=sys.stderr)
        say(f"not ok {name} - {type(fault).__name__}: {fault}".replace("\n", " "))
    else:
        say(f"ok {name}")


def say(line):
    print(line, flush=True)


def wait_for_the_test(what):
    say(f"waiting {what}")
    if not sys.stdin.readline():
        raise EOFError("the test went away")


def same(seen, wanted):
    if seen != wanted:
        raise AssertionError(f"expected {short(wanted)}, got {short(seen)}")


def short(value):
    text = repr(value)
    return text if len(text) < 80 else f"{text[:60]}... ({len(value)} long)"


def until_gone(client, key):
    deadline = time.monotonic() + 15
    while client.get(key) is not None:
        if time.monotonic() > deadline:
            raise AssertionError(f"{key} did not expire")
        time.sleep(0.05)


def usable(client):
    """A round trip through the same client, so that what went before has not broken it or put it out of step."""
    same(bool(client.set("usable", b"yes")), True)
    same(client.get("usable"), b"yes")


def set_get(main, _):
    same(main.get("set-get"), None)
    same(bool(main.set("set-get", b"first")), True)
    same(main.get("set-get"), b"first")
    same(bool(main.set("set-get", b"")), True)
    same(main.get("set-get"), b"")


def multi_set_get(main, _):
    items = {f"multi-{number}": b"value %d" % number for number in range(100)}
    same(bool(main.set_many(items)), True)
    same(main.get_many([*items, "multi-none"]), items)


def add(main, _):
    same(bool(main.add("add", b"first")), True)
    same(bool(main.add("add", b"second")), False)
    same(main.get("add"), b"first")


def replace(main, _):
    same(bool(main.replace("replace", b"none")), False)
    main.set("replace", b"old")
    same(bool(main.replace("replace", b"new")), True)
    same(main.get("replace"), b"new")


def append(main, _):
    same(bool(main.append("append-none", b"x")), False)
    main.set("append", b"head")
    same(bool(main.append("append", b"-tail")), True)
    same(main.get("append"), b"head-tail")


def prepend(main, _):
    same(bool(main.prepend("prepend-none", b"x")), False)
    main.set("prepend", b"tail")
    same(bool(main.prepend("prepend", b"head-")), True)
    same(main.get("prepend"), b"head-tail")


def incr(main, _):
    main.set("incr", b"10")
    same(main.incr("incr", 5), 15)
    same(main.get("incr"), b"15")


def decr(main, _):
    main.set("decr", b"15")
    same(main.decr("decr", 6), 9)
    same(main.decr("decr", 100), 0)
    same(main.get("decr").strip(), b"0")


def cas(main, _):
    main.set("cas", b"old")
    value, cas_value = main.gets("cas")
    same(value, b"old")
    same(bool(main.cas("cas", b"new", cas_value)), True)
    same(bool(main.cas("cas", b"late", cas_value)), False)
    same(main.get("cas"), b"new")


def touch(main, _):
    main.set("touch", b"kept", ttl=1)
    main.set("touch-control", b"goes", ttl=1)
    same(bool(main.touch("touch", 100)), True)
    until_gone(main, "touch-control")
    same(main.get("touch"), b"kept")
    same(bool(main.touch("touch-none", 100)), False)


def delete(main, _):
    main.set("delete", b"x")
    same(bool(main.delete("delete")), True)
    same(main.get("delete"), None)


def flush(main, _):
    main.set("flush", b"x")
    main.flush()
    same(main.get("flush"), None)
    usable(main)


def expiry(main, _):
    main.set("expiry-long", b"stays", ttl=100)
    main.set("expiry", b"goes", ttl=1)
    until_gone(main, "expiry")
    same(main.get("expiry-long"), b"stays")


def large_value(main, _):
    value = os.urandom(MIB - 1024)
    same(bool(main.set("large", value)), True)
    same(main.get("large") == value, True)


def too_large(main, _):
    main.set("too-large", b"old")
    same(refused(main, lambda: main.set("too-large", os.urandom(MIB + 1))), True)
    usable(main)
    same(main.get("too-large"), None)


def binary_values(main, _):
    same(bool(main.set("binary", BINARY)), True)
    same(main.get("binary"), BINARY)


def unicode_values(main, _):
    same(bool(main.set("unicode", TEXT)), True)
    same(main.get("unicode"), TEXT)


def read_only(main, connect):
    main.set("ro", b"7")
    main.set("ro-life", b"kept")
    reader = connect("read-only")
    same(reader.get("ro"), b"7")
    for name, write in WRITES:
        try:
            same((name, refused(reader, lambda: write(reader))), (name, True))
        except Cannot:
            continue
        same((name, reader.get("ro")), (name, b"7"))
    same(main.get("ro"), b"7")
    same(main.get("ro-new"), None)
    # Some libraries take any answer to touch for success; what counts is that the life did not change.
    try:
        refused(reader, lambda: reader.touch("ro-life", 1))
    except Cannot:
        return
    main.set("ro-control", b"goes", ttl=1)
    until_gone(main, "ro-control")
    same(reader.get("ro-life"), b"kept")


def with_the_cas_value(reader):
    _, cas_value = reader.gets("ro")
    return reader.cas("ro", b"9", cas_value)


WRITES = [
    ("set", lambda reader: reader.set("ro", b"9")),
    ("set many", lambda reader: reader.set_many({"ro": b"9", "ro-new": b"9"})),
    ("add", lambda reader: reader.add("ro-new", b"9")),
    ("replace", lambda reader: reader.replace("ro", b"9")),
    ("append", lambda reader: reader.append("ro", b"9")),
    ("prepend", lambda reader: reader.prepend("ro", b"9")),
    ("incr", lambda reader: reader.incr("ro", 1)),
    ("decr", lambda reader: reader.decr("ro", 1)),
    ("cas", with_the_cas_value),
    ("delete", lambda reader: reader.delete("ro")),
]


def refused(client, call):
    """Whether the call was refused in the library's own way."""
    try:
        return not call()
    except client.refusals:
        return True


def no_flush(main, connect):
    main.set("no-flush", b"stays")
    writer = connect("no-flush")
    same(writer.get("no-flush"), b"stays")
    # Some libraries report success whatever the answer; what counts is that nothing was flushed.
    refused(writer, writer.flush)
    usable(writer)
    same(writer.get("no-flush"), b"stays")
    same(main.get("no-flush"), b"stays")


def promotion(main, _):
    main.set("promotion", b"before")
    same(main.get("promotion"), b"before")
    wait_for_the_test("promotion")
    same(main.get("promotion"), b"before")
    usable(main)


def promoted_login(main, connect):
    wait_for_the_test("promoted-login")
    fresh = connect("promoted")
    same(fresh.get("promotion"), b"before")
    same(bool(fresh.set("promotion", b"after")), True)
    same(main.get("promotion"), b"after")


def wrong_password(_, connect):
    try:
        anonymous = connect("full", password="not-the-password")
        seen = anonymous.get("set-get")
    except Exception as fault:
        # Each adapter knows its library's own words.
        if not connect("full").auth_failed(fault):
            raise
    else:
        raise AssertionError(f"no error, and the answer {short(seen)}")


CHECKS = [
    ("set-get", set_get),
    ("multi-set-get", multi_set_get),
    ("add", add),
    ("replace", replace),
    ("append", append),
    ("prepend", prepend),
    ("incr", incr),
    ("decr", decr),
    ("cas", cas),
    ("touch", touch),
    ("delete", delete),
    ("expiry", expiry),
    ("large-value", large_value),
    ("too-large", too_large),
    ("binary-values", binary_values),
    ("unicode-values", unicode_values),
    ("read-only", read_only),
    ("no-flush", no_flush),
    ("promotion", promotion),
    ("promoted-login", promoted_login),
    ("flush", flush),
    ("wrong-password", wrong_password),
]
