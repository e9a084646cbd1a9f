"""Medians, spreads and Markdown."""

import os
import re
import statistics

import build
from machine import BenchError

README = os.path.join(build.ROOT, "benches", "README.md")


def median(values):
    return statistics.median(values) if values else None


def number(value, digits=None):
    """Three significant digits unless told otherwise."""
    if value is None:
        return "-"
    if digits is None:
        size = abs(value)
        digits = 0 if size >= 100 else 1 if size >= 10 else 2
    return f"{value:,.{digits}f}"


def spread(values, digits=None):
    """`median (smallest-largest)`, or the value alone if there is only one."""
    if not values:
        return "-"
    middle = number(median(values), digits)
    return middle if len(values) == 1 else f"{middle} ({number(min(values), digits)}-{number(max(values), digits)})"


def ratio(values, base):
    """Median over median."""
    above, below = median(values), median(base)
    return "-" if above is None or not below else f"{above / below:.2f}"


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def write_section(name, text):
    """Puts text between the markers of a group in benches/README.md."""
    with open(README) as file:
        page = file.read()
    begin, end = f"<!-- bench:{name} -->", f"<!-- /bench:{name} -->"
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    if not pattern.search(page):
        raise BenchError(f"{README} has no place for {name}: {begin} ... {end}")
    with open(README, "w") as file:
        file.write(pattern.sub(lambda _: f"{begin}\n\n{text}\n\n{end}", page))
