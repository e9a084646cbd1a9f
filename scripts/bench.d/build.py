"""Builds what is measured and what measures."""

import os
import shutil
import subprocess

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TARGET = os.path.abspath(os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target")))
SHARED = os.environ.get("LARDER_BENCH_SHARED", os.path.join(os.path.dirname(ROOT), "shared"))


def _cargo(*arguments, **options):
    from machine import BenchError
    done = subprocess.run(["cargo", *arguments], **options)
    if done.returncode != 0:
        raise BenchError(f"cargo {' '.join(arguments)} failed")


def larder():
    """The release binary, as users get it."""
    _cargo("build", "--release", "--quiet", "--bin", "larder", cwd=ROOT)
    return os.path.join(TARGET, "release", "larder")


def loadgen():
    """The load generator, from a copy: a build beside its sources would write into them."""
    from machine import BenchError
    source, copy = os.path.join(SHARED, "loadgen"), os.path.join(TARGET, "loadgen")
    if not os.path.isdir(source):
        raise BenchError(f"no load generator at {source}; LARDER_BENCH_SHARED names the folder of loadgen and traces")
    os.makedirs(copy, exist_ok=True)
    shutil.copy2(os.path.join(source, "Cargo.toml"), copy)
    shutil.copytree(os.path.join(source, "src"), os.path.join(copy, "src"), dirs_exist_ok=True)
    # Cargo's warnings there are not ours to fix.
    _cargo("build", "--release", "--quiet", "--bin", "loadgen", "--target-dir", os.path.join(copy, "target"), cwd=copy,
           stderr=subprocess.DEVNULL)
    return os.path.join(copy, "target", "release", "loadgen")


def trace(name):
    return os.path.join(SHARED, "traces", f"{name}.trace.xz")
