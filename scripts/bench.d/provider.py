"""A played marketplace in a process of its own: tokens, config vars and log inputs, each call noted with its time.

Run as a program: `provider.py PORT APPS`. Log inputs have one address each, 127.0.1.1 and up, so that each is a
destination of its own; 127.0.2.1 takes connections and never answers. `GET /_seen` returns what was noted and
forgets it.
"""

import asyncio
import base64
import json
import os
import subprocess
import sys
import time
import urllib.request
import uuid

from machine import BenchError, free_port

HOME_ADDRESS, DEAD_ADDRESS = "127.0.0.1", "127.0.2.1"


def app_address(number):
    return f"127.0.1.{number + 1}"


class Provider:
    """Starts and stops the process, and reads its notes. Times are of the machine's monotonic clock."""

    def __init__(self, apps):
        self.port = free_port()
        self.url = f"http://{HOME_ADDRESS}:{self.port}"
        self.addresses = [app_address(number) for number in range(apps)] + [DEAD_ADDRESS]
        arguments = [sys.executable, "-B", os.path.abspath(__file__), str(self.port), str(apps)]
        self.process = subprocess.Popen(arguments)
        for _ in range(250):
            try:
                self.seen()
                return
            except OSError:
                time.sleep(0.02)
        self.stop()
        raise BenchError("the played marketplace did not start")

    def log_url(self, cache, address):
        """The log input of the one app that has the cache; from now on it is in the list of attachments."""
        url = f"http://token:t.{cache}@{address}:{self.port}/logs"
        with urllib.request.urlopen(f"{self.url}/_attached/{cache}", data=url.encode(), timeout=30):
            return url

    def seen(self):
        with urllib.request.urlopen(f"{self.url}/_seen", timeout=30) as reply:
            return json.load(reply)

    def stop(self):
        self.process.kill()
        self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


seen = []
attached = {}


def answer(method, path, headers, body):
    """Status and JSON of one call; what matters is noted."""
    now = time.monotonic()
    if path == "/oauth/token":
        return 200, {"access_token": str(uuid.uuid4()), "refresh_token": str(uuid.uuid4()), "expires_in": 28_799,
                     "token_type": "Bearer", "user_id": str(uuid.uuid4()), "session_nonce": None}
    if method == "PATCH" and path.endswith("/config"):
        config = json.loads(body)["config"]
        values = {entry["name"].rsplit("_", 1)[1]: entry["value"] for entry in config}
        seen.append({"kind": "config", "cache": path.split("/")[2], "username": values.get("USERNAME"),
                     "password": values.get("PASSWORD"), "at": now})
        return 200, config
    if method == "POST" and path == "/logs":
        token = base64.b64decode(headers["authorization"].split()[1]).decode()
        flushes = body.count(b"event=flush ")
        seen.append({"kind": "log", "cache": token.split(":t.")[1], "flushes": flushes, "at": now})
        return 204, None
    if path.startswith("/_attached/"):
        attached[path.split("/")[2]] = body.decode()
        return 200, {}
    if method == "GET" and path.endswith("/addon-attachments"):
        cache = path.split("/")[2]
        app = {"id": f"app-of-{cache}"}
        return 200, [{"app": app, "addon": {"app": app}, "log_input_url": attached[cache]}] if cache in attached else []
    if path == "/_seen":
        taken, seen[:] = list(seen), []
        return 200, taken
    return 200, [] if method == "GET" else {}


async def serve(reader, writer):
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            method, path, _ = head[0].split(" ", 2)
            headers = {}
            for line in head[1:]:
                name, _, value = line.partition(":")
                headers[name.strip().lower()] = value.strip()
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            status, value = answer(method, path, headers, body)
            data = b"" if value is None else json.dumps(value).encode()
            length = b"" if status == 204 else b"Content-Length: %d\r\n" % len(data)
            writer.write(b"HTTP/1.1 %d x\r\nContent-Type: application/json\r\n%s\r\n%s" % (status, length, data))
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def never(reader, writer):
    try:
        while await reader.read(65536):
            pass
    finally:
        writer.close()


async def main(port, apps):
    alive = [HOME_ADDRESS, *[app_address(number) for number in range(apps)]]
    servers = [await asyncio.start_server(serve, alive, port), await asyncio.start_server(never, DEAD_ADDRESS, port)]
    await asyncio.gather(*[server.serve_forever() for server in servers])


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
