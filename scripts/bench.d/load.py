"""Calls of the load generator. Each prints one JSON object, which is the answer."""

import json
import subprocess

from machine import BenchError


def _call(bench, arguments, timeout, core, stdin=None):
    command = [bench.loadgen, *map(str, arguments)]
    if core is not None:
        command = ["taskset", "-c", str(core), *command]
    try:
        done = subprocess.run(command, capture_output=True, timeout=timeout, input=stdin)
    except subprocess.TimeoutExpired:
        raise BenchError(f"loadgen {arguments[0]} did not end within {timeout} s") from None
    if done.returncode != 0:
        raise BenchError(f"loadgen {arguments[0]}: {done.stderr.decode().strip()[-300:]}")
    return json.loads(done.stdout)


def _target(server, protocol, logins):
    """`logins` is a file with a USER:PASSWORD a line, or None for the listener without login."""
    port = server.login_port if logins else server.port
    arguments = ["--addr", f"127.0.0.1:{port}", "--pid", server.pid, "--protocol", protocol]
    return arguments + (["--auth-file", logins] if logins else [])


def bench(bench, server, protocol="text", logins=None, preload=True, timeout=300, extra=(), **settings):
    arguments = ["bench", *_target(server, protocol, logins), "--cores", bench.load_core]
    for name, value in settings.items():
        arguments += [f"--{name.replace('_', '-')}", value]
    arguments += ["--preload"] if preload else []
    return _call(bench, [*arguments, *extra], timeout, bench.load_core)


def idle(bench, server, conns, protocol="text", logins=None, timeout=300):
    arguments = ["idle", *_target(server, protocol, logins), "--conns", conns, "--touch"]
    return _call(bench, arguments, timeout, bench.load_core)


def fill(bench, server, items, size, timeout=600):
    arguments = ["fill", *_target(server, "text", None), "--items", items, "--size", size, "--stats"]
    return _call(bench, arguments, timeout, bench.load_core)


def replay(bench, server, arguments, stdin=None, timeout=600):
    return _call(bench, ["replay", *_target(server, "text", None), *arguments], timeout, bench.load_core, stdin)
