"""aiomcache: text protocol on asyncio, login by a set on every new connection of its pool."""

import asyncio

import aiomcache
from aiomcache.exceptions import ClientException
from aiomcache.pool import MemcachePool

import checks

LOOP = asyncio.new_event_loop()


class LoginRefused(Exception):
    pass


class LoginPool(MemcachePool):
    """The library drops a connection after an error and opens another, so the login belongs to connecting."""

    def __init__(self, host, port, username, password):
        super().__init__(host, port, minsize=1, maxsize=1)
        self.command = f"set {username} 0 0 {len(password)}\r\n{password}\r\n".encode()

    async def _create_new_conn(self):
        connection = await super()._create_new_conn()
        if connection is not None:
            connection.writer.write(self.command)
            answer = await connection.reader.readline()
            if answer != b"STORED\r\n":
                self._do_close(connection)
                raise LoginRefused(answer)
        return connection


class Aiomcache(checks.Adapter):
    refusals = (ClientException,)

    def __init__(self, server, username, password):
        host, port = server.rsplit(":", 1)
        self.client = aiomcache.Client(host, int(port), pool_size=1)
        self.client._pool = LoginPool(host, int(port), username, password)

    def auth_failed(self, exception):
        return isinstance(exception, LoginRefused) and b"authentication failure" in exception.args[0]

    def call(self, name, key, *values):
        arguments = [value.encode() if isinstance(value, str) else value for value in (key, *values)]
        return LOOP.run_until_complete(asyncio.wait_for(getattr(self.client, name)(*arguments), 10))

    def set(self, key, value, ttl=0):
        return self.call("set", key, value, ttl)

    def get(self, key):
        value = self.call("get", key)
        # The library carries bytes alone; text is the application's to encode.
        return value.decode() if key == "unicode" and value is not None else value

    def get_many(self, keys):
        values = self.call("multi_get", *keys)
        return {key: value for key, value in zip(keys, values) if value is not None}

    def add(self, key, value):
        return self.call("add", key, value)

    def replace(self, key, value):
        return self.call("replace", key, value)

    def append(self, key, value):
        return self.call("append", key, value)

    def prepend(self, key, value):
        return self.call("prepend", key, value)

    def incr(self, key, delta):
        return self.call("incr", key, delta)

    def decr(self, key, delta):
        return self.call("decr", key, delta)

    def gets(self, key):
        return self.call("gets", key)

    def cas(self, key, value, cas_value):
        return self.call("cas", key, value, cas_value)

    def touch(self, key, ttl):
        return self.call("touch", key, ttl)

    def delete(self, key):
        return self.call("delete", key)

    def flush(self):
        LOOP.run_until_complete(asyncio.wait_for(self.client.flush_all(), 10))
        return True


checks.run(Aiomcache)
