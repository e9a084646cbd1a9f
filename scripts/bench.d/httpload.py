"""Many clients that provision at once, with little work of their own."""

import asyncio
import base64
import json
import time
import uuid

from machine import BenchError


class Clients:
    """`count` kept-alive connections to POST /heroku/resources."""

    def __init__(self, where, server, provider, count):
        self.port, self.provider, self.count = server.http_port, provider, count
        login = base64.b64encode(f"{where.addon}:{where.password}".encode()).decode()
        self.head = (f"POST /heroku/resources HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Basic {login}\r\n"
                     "Accept: application/vnd.heroku-addons+json; version=3\r\nContent-Type: application/json\r\n")

    def closed(self, total):
        """As fast as answers come: seconds in all, and of each request."""
        return asyncio.run(self._run(total, None))

    def paced(self, total, rate):
        """One request falls due every 1/rate s, whatever the server does; its time counts from then."""
        return asyncio.run(self._run(total, rate))

    async def _run(self, total, rate):
        numbers, times = iter(range(total)), []
        began = time.monotonic()

        async def client():
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            for number in numbers:
                since = time.monotonic()
                if rate:
                    since = began + number / rate
                    await asyncio.sleep(max(since - time.monotonic(), 0))
                writer.write(self._request())
                await self._reply(reader)
                times.append(time.monotonic() - since)
            writer.close()

        await asyncio.gather(*[client() for _ in range(self.count)])
        return time.monotonic() - began, times

    def _request(self):
        cache = str(uuid.uuid4())
        body = json.dumps({
            "callback_url": f"{self.provider.url}/addons/{cache}", "name": f"bench-{cache[:8]}", "options": {},
            "plan": "small", "region": "amazon-web-services::us-east-1", "uuid": cache,
            "oauth_grant": {"code": cache, "type": "authorization_code", "expires_at": "2099-01-01T00:00:00-0000"},
        })
        return f"{self.head}Content-Length: {len(body)}\r\n\r\n{body}".encode()

    @staticmethod
    async def _reply(reader):
        head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)).decode("latin-1").lower()
        length = int(head.split("content-length:", 1)[1].split("\r\n", 1)[0])
        body = await reader.readexactly(length)
        if head.split(" ", 2)[1] not in ("200", "201"):
            raise BenchError(f"provisioning answered {head.splitlines()[0]}: {body[:200]!r}")
