"""A customer's app: sets and reads in a loop with a real client library, and counts what fails.

Takes its credential from the config vars in its environment. Prints `ready user=…` after the first good
round trip and `stopped user=… operations=… failed=…` at its end. Ends on SIGTERM or when standard input
says `stop`; `flush` on standard input empties the cache and prints `flushed user=…`.
"""

import os
import signal
import sys
import threading

import bmemcached

servers = os.environ["MEMCACHIER_SERVERS"].split(",")
user = os.environ["MEMCACHIER_USERNAME"]
password = os.environ["MEMCACHIER_PASSWORD"]

stopping = threading.Event()
flush_wanted = threading.Event()


def say(text):
    print(text, flush=True)


def listen():
    for line in sys.stdin:
        if line.strip() == "flush":
            flush_wanted.set()
        elif line.strip() == "stop":
            stopping.set()


def main():
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    if "--listen" in sys.argv:
        threading.Thread(target=listen, daemon=True).start()
    client = bmemcached.Client(servers, user, password)
    operations = failed = 0
    while not stopping.is_set():
        if flush_wanted.is_set():
            flush_wanted.clear()
            client.flush_all()
            say(f"flushed user={user}")
        # Another process may run on the same credential: keys are its own.
        key, value = f"loop-{user}-{os.getpid()}-{operations % 100}", f"value-{operations}"
        try:
            stored = client.set(key, value, time=60)
            good = stored and client.get(key) == value
        except Exception as error:  # whatever the library raises is a failed operation
            say(f"error user={user} what={error!r}")
            good = False
        operations += 1
        if not good:
            failed += 1
        elif operations == 1:
            say(f"ready user={user}")
        stopping.wait(0.002)
    say(f"stopped user={user} operations={operations} failed={failed}")


main()
