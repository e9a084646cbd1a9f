"""Small things about the machine and its processes."""

import datetime
import json
import os
import platform
import socket
import subprocess

import build


class BenchError(Exception):
    """Something that keeps a measurement from being made."""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def rss_bytes(pid):
    """Resident set and swap of a process."""
    kib = 0
    with open(f"/proc/{pid}/status") as status:
        for line in status:
            if line.startswith(("VmRSS:", "VmSwap:")):
                kib += int(line.split()[1])
    return kib * 1024


def open_sockets(pid):
    """How many of a process's descriptors are sockets."""
    folder, count = f"/proc/{pid}/fd", 0
    for name in os.listdir(folder):
        try:
            count += os.readlink(f"{folder}/{name}").startswith("socket:")
        except FileNotFoundError:
            pass  # closed meanwhile
    return count


def cpu_ticks(pid):
    """What a process has used so far, in the kernel's ticks of most often 10 ms."""
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def _first_line(command):
    try:
        found = subprocess.run(command, capture_output=True, text=True, cwd=build.ROOT, timeout=10)
        return found.stdout.strip().splitlines()[0]
    except (OSError, IndexError, subprocess.TimeoutExpired):
        return "unknown"


def describe(bench, module):
    """One line under which conditions a table was made."""
    model = "unknown processor"
    with open("/proc/cpuinfo") as info:
        for line in info:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    commit = _first_line(["git", "describe", "--always", "--dirty"])
    compared = [bench.larder] if getattr(module, "ALONE", False) else bench.columns
    versions = ", ".join(column.describe() for column in compared)
    times = "one run of each" if getattr(module, "ONCE", False) else f"{bench.repeats} interleaved repeats"
    kind = "a --quick run, which measures nothing" if bench.quick else times
    today = datetime.date.today().isoformat()
    return (f"*{today}, {model} x {os.cpu_count()}, Linux {platform.release()}, larder at {commit}; {kind}; "
            f"servers: {versions}.*")


class Results:
    """Every single result as a line of JSON, for whoever wants more than the table."""

    def __init__(self, path):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        self.path = path
        open(path, "w").close()

    def add(self, **row):
        with open(self.path, "a") as out:
            out.write(json.dumps(row) + "\n")
