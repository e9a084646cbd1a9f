"""A few memcached text commands, for what the load generator does not do."""

import socket

from machine import BenchError


class TextClient:
    """A logged-in connection; `login` is USER:PASSWORD."""

    def __init__(self, port, login=None):
        self.stream = socket.create_connection(("127.0.0.1", port), 30)
        self.replies = self.stream.makefile("rb")
        if login:
            data = login.strip().replace(":", " ", 1).encode()
            self.stream.sendall(b"set auth 0 0 %d\r\n%s\r\n" % (len(data), data))
            self._expect(b"STORED")

    def _expect(self, wanted):
        line = self.replies.readline().strip()
        if line != wanted:
            raise BenchError(f"the server answered {line!r} instead of {wanted!r}")

    def set(self, key):
        self.stream.sendall(f"set {key} 0 0 1\r\nx\r\n".encode())
        self._expect(b"STORED")

    def flush(self):
        self.stream.sendall(b"flush_all\r\n")
        self._expect(b"OK")

    def stats(self):
        """The counters that are numbers."""
        self.stream.sendall(b"stats\r\n")
        found = {}
        while (line := self.replies.readline().strip()) != b"END":
            if not line.startswith(b"STAT "):
                raise BenchError(f"stats answered {line!r}")
            name, value = line[5:].decode().split(" ", 1)
            if value.isdigit():
                found[name] = int(value)
        return found

    def close(self):
        self.stream.close()
