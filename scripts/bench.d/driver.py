"""The command line: which groups to run, on which servers, how often."""

import argparse
import os
import resource
import signal
import sys
import tempfile

import build
import cells
import control
import crowd
import drill
import fill
import guesses
import hostile
import idle
import instructions
import live
import login
import machine
import noisy
import proofs
import refused
import replay
import servers
import slow
import soak
import tables
import tenants
import unread
from machine import BenchError, Results

# Group name -> module with TITLE and run(bench), which returns Markdown.
GROUPS = {
    "cells": cells,
    "login": login,
    "idle": idle,
    "fill": fill,
    "replay": replay,
    "refused": refused,
    "noisy": noisy,
    "crowd": crowd,
    "tenants": tenants,
    "live": live,
    "soak": soak,
    "instructions": instructions,
    "hostile": hostile,
    "proofs": proofs,
    "guesses": guesses,
    "slow": slow,
    "unread": unread,
    "drill": drill,
    "control": control,
}


class Bench:
    """What every group needs: the options, the tools and the servers."""

    def __init__(self, options, work):
        self.options = options
        self.quick = options.quick
        self.repeats = options.repeats
        self.work = work
        self.server_core, self.load_core = options.cores
        self.loadgen = build.loadgen()
        self.columns = servers.columns(options, work)
        self.results = None

    def wanted(self, name):
        return not self.options.only or self.options.only.lower() in name.lower()

    def few(self, full, quick):
        """A count: the full one, or the small one of a --quick run."""
        return quick if self.quick else full

    @property
    def bystander(self):
        return servers.bystander(self.work)

    @property
    def larder(self):
        return next((column for column in self.columns if isinstance(column, servers.Larder)), None)


def two_cores(text):
    server, load = map(int, text.split(","))
    return server, load


def parse(argv):
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("group", choices=[*GROUPS, "all"], nargs="*", default=[],
                        help="what to measure (default: cells; all is all but soak)")
    parser.add_argument("--repeats", type=int, help="interleaved repeats (default 5, 1 with --quick)")
    parser.add_argument("--quick", action="store_true",
                        help="tiny counts: shows that everything runs, measures nothing")
    parser.add_argument("--minutes", type=float, help="length of a soak (default 30)")
    parser.add_argument("--only", metavar="PATTERN", help="rows whose name contains this")
    parser.add_argument("--write", action="store_true", help="put the tables into benches/README.md")
    parser.add_argument("--columns", metavar="NAME,...",
                        help="servers to measure (default: stock, newest if there, larder)")
    parser.add_argument("--server", metavar="NAME=COMMAND", action="append", default=[],
                        help="a further server; {port}, {mem} (MiB), {threads} and {conns} are filled in")
    parser.add_argument("--binary", metavar="PATH", help="a larder already built")
    parser.add_argument("--before", metavar="PATH", help="hostile: an older larder, measured beside this one")
    parser.add_argument("--cores", metavar="SERVER,LOAD", default="0,1", type=two_cores,
                        help="core of the server and of the load (default 0,1)")
    options = parser.parse_args(argv)
    options.repeats = options.repeats or (1 if options.quick else 5)
    if options.write and options.quick:
        parser.error("--quick measures nothing worth writing down")
    if options.write and options.only:
        parser.error("--write needs whole tables, so it does not go with --only")
    return options


def main(argv=None):
    options = parse(sys.argv[1:] if argv is None else argv)
    groups = options.group or ["cells"]
    names = [name for name in GROUPS if name != "soak"] if "all" in groups else groups
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    # Servers inherit it: 10,000 connections need as many descriptors.
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    failed = False
    with tempfile.TemporaryDirectory(prefix="larder-bench.") as work:
        try:
            bench = Bench(options, work)
            for name in names:
                failed |= not measure(bench, name)
        except BenchError as error:
            print(f"bench: {error}", file=sys.stderr)
            return 1
        finally:
            servers.stop_all()
    return 1 if failed else 0


def measure(bench, name):
    """Runs one group; one that cannot run is told and does not keep the others from running."""
    module = GROUPS[name]
    print(f"== {module.TITLE}", flush=True)
    bench.results = Results(os.path.join(build.TARGET, "bench", f"{name}.jsonl"))
    try:
        table = module.run(bench)
    except BenchError as error:
        print(f"bench: {name}: {error}", file=sys.stderr)
        return False
    finally:
        servers.stop_all()
    text = f"{machine.describe(bench, module)}\n\n{table}"
    print(f"\n{text}\n", flush=True)
    if bench.options.write:
        tables.write_section(name, text)
    return True
