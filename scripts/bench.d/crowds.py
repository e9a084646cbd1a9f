"""Many clients at once that do little, each kind in a process of its own which gives way to the measuring generator."""

import contextlib
import multiprocessing
import os
import selectors
import signal
import socket
import struct
import time

from machine import BenchError

TCP_REPAIR = 19
VALUE_BYTES = 500_000


@contextlib.contextmanager
def crowd(bench, server, login, what, *numbers):
    """Runs `what` until the end of the block, from when it says that all are there. Gives two counts: what it has
    done, and what failed."""
    counts = multiprocessing.Array("q", 2)
    ready = multiprocessing.Event()
    arguments = (what, bench.load_core, server.login_port, login, ready, counts, *numbers)
    process = multiprocessing.Process(target=_run, args=arguments, daemon=True)
    process.start()
    try:
        if not ready.wait(120):
            raise BenchError(f"{what.__name__}: the crowd did not come together")
        yield counts
        if process.exitcode is not None:
            raise BenchError(f"{what.__name__}: the crowd ended by itself")
    finally:
        process.kill()
        process.join()


def _run(what, core, port, login, ready, counts, *numbers):
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.sched_setaffinity(0, {core})
    os.nice(10)
    what(lambda: enter(port, login), ready, counts, *numbers)


def enter(port, login):
    """A logged-in socket."""
    stream = socket.socket()
    stream.settimeout(10)
    stream.connect(("127.0.0.1", port))
    data = login.strip().replace(":", " ", 1).encode()
    stream.sendall(b"set auth 0 0 %d\r\n%s\r\n" % (len(data), data))
    if stream.recv(64) != b"STORED\r\n":
        raise OSError("the login was refused")
    return stream


def idle(enter_one, ready, counts, number):
    """Logged in and silent."""
    held = [enter_one() for _ in range(number)]
    counts[0] = len(held)
    ready.set()
    signal.pause()


def connecting(enter_one, ready, counts, per_second):
    """So many connects a second, each with a login, and gone again."""
    # A reset leaves no port behind in TIME_WAIT, of which a minute would need too many.
    reset = struct.pack("ii", 1, 0)
    began = time.monotonic()
    ready.set()
    while True:
        late = (counts[0] + counts[1]) / per_second - (time.monotonic() - began)
        if late > 0:
            time.sleep(late)
        try:
            with enter_one() as stream:
                stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
            counts[0] += 1
        except OSError:
            counts[1] += 1


def reading_slowly(enter_one, ready, counts, number):
    """Each asks for much more than it takes: a kibibyte a second."""
    first = enter_one()
    first.sendall(b"set big 0 0 %d\r\n%s\r\n" % (VALUE_BYTES, b"b" * VALUE_BYTES))
    first.recv(64)
    selector = selectors.DefaultSelector()
    for _ in range(number):
        stream = enter_one()
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stream.setblocking(False)
        selector.register(stream, selectors.EVENT_READ | selectors.EVENT_WRITE)
    ready.set()
    while True:
        for key, events in selector.select(0):
            with contextlib.suppress(BlockingIOError):
                if events & selectors.EVENT_WRITE:
                    key.fileobj.send(b"get big\r\n" * 100)
                if events & selectors.EVENT_READ:
                    counts[0] += len(key.fileobj.recv(1024))
        time.sleep(1)


def vanished(enter_one, ready, counts, number):
    """Gone in the middle of a request, silently: in repair mode a socket closes without telling its peer. Where
    that is not allowed they stay and are mute, which samples the same from the other side."""
    mute = []
    for _ in range(number):
        stream = enter_one()
        stream.sendall(b"set cut 0 0 %d\r\nbegin" % VALUE_BYTES)
        try:
            stream.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
            stream.close()
            counts[0] += 1
        except PermissionError:
            mute.append(stream)
    ready.set()
    signal.pause()
