"""The servers under test: how each is started, and that each is stopped."""

import os
import shlex
import shutil
import socket
import subprocess
import time

import build
import home
from machine import BenchError, cpu_ticks, free_port

_running = []


class Running:
    """A server that answers. `port` needs no login; `login_port` does, where there is one."""

    def __init__(self, command, port, patience, log, login_port=None, env=None, cwd=None, http_port=None):
        self.port, self.login_port, self.http_port = port, login_port or port, http_port
        self.log, self.patience = log, patience
        self.environment = {**os.environ, **(env or {})}
        with open(log, "ab") as out:
            self.process = subprocess.Popen(command, env=self.environment, cwd=cwd, stdout=out, stderr=out)
        _running.append(self)
        self.pid = self.process.pid
        self._wait_until_ready()

    def _wait_until_ready(self):
        until = time.monotonic() + self.patience
        while time.monotonic() < until and self.process.poll() is None:
            if all(self._answers(port) for port in {self.port, self.login_port, self.http_port} - {None}):
                return
            time.sleep(0.02)
        self.stop()
        with open(self.log, errors="replace") as log:
            raise BenchError(f"{self.process.args[0]} did not start: {log.read()[-600:].strip()}")

    def settle(self):
        """Waits until the server does nothing any more. A start of larder on another port pushes the variables of
        every cache anew, which is no part of what clients cost."""
        until = time.monotonic() + self.patience
        before = cpu_ticks(self.pid)
        while time.monotonic() < until:
            time.sleep(0.5)
            now = cpu_ticks(self.pid)
            if now - before <= 1:
                return
            before = now
        raise BenchError(f"{self.process.args[0]} does not come to rest")

    @staticmethod
    def _answers(port):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return True
        except OSError:
            return False

    def stop(self):
        if self in _running:
            _running.remove(self)
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(self.patience)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def stop_all():
    for server in list(_running):
        server.stop()


def _pinned(command, core):
    # taskset becomes the command, so the process id stays the server's.
    return command if core is None else ["taskset", "-c", str(core), *command]


class Command:
    """A server that is one command: memcached, or whatever --server names. `version` is known of memcached only."""

    protocols = ("text", "meta", "binary")

    def __init__(self, name, template, work, version=None):
        self.name, self.template, self.work, self.version = name, template, work, version

    def describe(self):
        return f"{self.name} = {self.version or self.template[0]}"

    def start(self, mem, core=None, wrapper=(), patience=10, more=(), conns=12000):
        """`mem` is the item memory in MiB; `wrapper` goes before the command, for valgrind, `more` after it."""
        port = free_port()
        values = dict(port=port, mem=mem, threads=1, conns=conns)
        command = [*wrapper, *[word.format(**values) for word in self.template], *more]
        return Running(_pinned(command, core), port, patience, os.path.join(self.work, f"{self.name}.log"))


class Larder:
    """Our own server, whole: the engine is measured inside the program that users run."""

    name = "larder"
    protocols = ("text", "meta", "binary")

    def __init__(self, binary, work):
        self.binary, self.work = os.path.abspath(binary or build.larder()), work
        self.told = "a binary built before" if binary else "this tree, release build"

    def describe(self):
        return f"larder = {self.told}"

    def start(self, mem, core=None, wrapper=(), patience=30, where=None, conns=None, **settings):
        """`where` is a home with provisioned caches; without it an empty one is made."""
        where = where or home.Home(self.work)
        where.write_plans(mem)
        ports = {name: free_port() for name in ("open", "login", "http", "metrics", "node")}
        command = _pinned([*wrapper, self.binary, "serve"], core)
        return Running(command, ports["open"], patience, where.log, login_port=ports["login"], cwd=where.path,
                       env=where.environment(ports, **settings), http_port=ports["http"])


def _memcached(name, program, work):
    version = subprocess.run([program, "-V"], capture_output=True, text=True).stdout.split()[-1]
    arguments = [program, "-l", "127.0.0.1", "-p", "{port}", "-U", "0", "-t", "{threads}", "-m", "{mem}", "-c", "{conns}"]
    # memcached refuses to run as root unless told so by name.
    arguments += ["-u", "root"] if os.geteuid() == 0 else []
    return Command(name, arguments, work, version=f"memcached {version}")


def bystander(work):
    """A server that is not measured: it takes load which would else be the measured one's."""
    if not shutil.which("memcached"):
        raise BenchError("memcached is not on the PATH (Debian package memcached)")
    return _memcached("bystander", "memcached", work)


def columns(options, work):
    """The servers to compare, the baseline first."""
    found = {}
    for name, program in (("stock", "memcached"), ("newest", "memcached-new")):
        if shutil.which(program):
            found[name] = _memcached(name, program, work)
    for text in options.server:
        name, _, command = text.partition("=")
        found[name] = Command(name, shlex.split(command), work)
    names = options.columns.split(",") if options.columns else [*found, "larder"]
    unknown = set(names) - {*found, "larder"}
    if unknown:
        raise BenchError(f"no such server: {', '.join(sorted(unknown))}")
    if "stock" not in found and not options.columns:
        raise BenchError("memcached is not on the PATH (Debian package memcached)")
    if "larder" in names:
        found["larder"] = Larder(options.binary, work)
    return [found[name] for name in names]
