"""A private PostgreSQL, gone at the end."""

import glob
import os
import shutil
import subprocess

from machine import BenchError, free_port


class Postgres:
    def __init__(self, work):
        found = sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda path: int(path.split("/")[4]))
        if not found:
            raise BenchError("PostgreSQL is not installed (Debian package postgresql)")
        self.bin, self.port = found[-1], free_port()
        self.data = os.path.join(work, f"postgres-{self.port}")
        os.mkdir(self.data)
        # It refuses to run as root, so root borrows the package's own user, who must be able to get there.
        self.prefix = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        if self.prefix:
            os.chmod(work, 0o711)
            shutil.chown(self.data, "postgres")
        self._run("initdb", "-D", self.data, "-U", "larder", "-A", "trust", "-E", "UTF8")
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self.data}"
        self._run("pg_ctl", "-D", self.data, "-s", "-w", "-l", f"{self.data}/server.log", "-o", options, "start")
        self.url = f"postgres://larder@127.0.0.1:{self.port}/postgres"

    def _run(self, program, *arguments):
        command = [*self.prefix, os.path.join(self.bin, program), *arguments]
        # Output to a pipe would be held open by the server that pg_ctl leaves behind.
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=120, cwd="/")
        if done.returncode != 0:
            raise BenchError(f"{program} failed")

    def stop(self):
        self._run("pg_ctl", "-D", self.data, "-m", "immediate", "-s", "stop")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
