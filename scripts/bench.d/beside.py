"""A program of ours that runs beside a measurement: on the load's core, and giving way to what measures there."""

import contextlib
import json
import os
import subprocess
import sys

from machine import BenchError


class Program:
    """Says one line when it is ready, is told to begin by a line, and says at the end what came of it, as JSON."""

    def __init__(self, process):
        self.process = process

    def wait_until_ready(self):
        self._line("it did not get ready")

    def begin(self):
        self.process.stdin.write("begin\n")
        self.process.stdin.flush()

    def result(self):
        return json.loads(self._line("it ended without a result"))

    def _line(self, fault):
        line = self.process.stdout.readline()
        if not line:
            raise BenchError(f"{self.process.args[-1]}: {fault}")
        return line


@contextlib.contextmanager
def program(bench, path, *arguments):
    # taskset and nice become the program, so the process id stays the same.
    command = ["taskset", "-c", str(bench.load_core), "nice", "-n", "19", sys.executable, "-B", os.path.abspath(path)]
    command += map(str, arguments)
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield Program(process)
    finally:
        process.kill()
        process.wait()


def ready():
    """In the program: says that it is ready, and returns when it is told to begin."""
    print("ready", flush=True)
    sys.stdin.readline()


@contextlib.contextmanager
def on_core(core):
    """Keeps this thread on the load's core, as what runs beside it is."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
