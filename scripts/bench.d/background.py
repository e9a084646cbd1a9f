"""Load that runs beside a measurement, on the load's core but yielding to the measuring generator."""

import contextlib
import multiprocessing
import os
import signal
import socket
import struct
import subprocess

from machine import BenchError


def _yielding(core):
    os.sched_setaffinity(0, {core})
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


@contextlib.contextmanager
def pipelining(bench, server, logins, conns=8, depth=64):
    """One tenant that pipelines as fast as it is answered, until the end of the block."""
    port = server.login_port if logins else server.port
    arguments = [bench.loadgen, "bench", "--addr", f"127.0.0.1:{port}", "--conns", str(conns), "--depth", str(depth),
             "--size", "32", "--keys", "10000", "--key-prefix", "loud", "--requests", str(10**12), "--preload"]
    arguments += ["--auth-file", logins] if logins else []
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                               preexec_fn=lambda: _yielding(bench.load_core))
    try:
        yield process
        if process.poll() is not None:
            raise BenchError("the pipelining neighbour ended by itself")
    finally:
        process.kill()
        process.wait()


def _churn(core, port, login):
    """Connects, logs in, asks once and hangs up, for ever."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _yielding(core)
    enter = b""
    if login:
        data = login.replace(":", " ", 1).encode()
        enter = b"set auth 0 0 %d\r\n%s\r\n" % (len(data), data)
    # A reset leaves no port behind in TIME_WAIT, of which a minute of churning would need too many.
    reset = struct.pack("ii", 1, 0)
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5) as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
            s.sendall(enter + b"get nothing\r\n")
            reply = b""
            while not reply.endswith(b"END\r\n"):
                more = s.recv(4096)
                if not more:
                    break
                reply += more


@contextlib.contextmanager
def elsewhere(bench, beside):
    """The same load on a server of its own, both on the load's core: what it costs the measuring generator there,
    whatever server is measured."""
    with bench.bystander.start(mem=256, core=bench.load_core, wrapper=("chrt", "--idle", "0")) as other:
        with beside(bench, other, None):
            yield


@contextlib.contextmanager
def churning(bench, server, logins):
    """One tenant that opens and closes connections as fast as it can."""
    login = None
    if logins:
        with open(logins) as file:
            login = file.readline().strip()
    port = server.login_port if logins else server.port
    process = multiprocessing.Process(target=_churn, args=(bench.load_core, port, login), daemon=True)
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join()
