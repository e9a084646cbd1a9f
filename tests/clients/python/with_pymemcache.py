"""pymemcache: text protocol, login by a set on every new connection."""

import pymemcache
from pymemcache.exceptions import MemcacheClientError, MemcacheError

import checks


class LoginClient(pymemcache.Client):
    """The library closes and reopens its connection on some answers, so the login belongs to connecting."""

    def __init__(self, server, username, password):
        self.login = (username, password)
        super().__init__(
            server,
            connect_timeout=5,
            timeout=10,
            default_noreply=False,
            serde=pymemcache.serde.pickle_serde,
        )

    def _connect(self):
        super()._connect()
        self.set(*self.login, noreply=False)


class Pymemcache(checks.Adapter):
    # incr of a refused key reads the answer as a number and fails at that.
    refusals = (MemcacheError, ValueError)

    def __init__(self, server, username, password):
        self.client = LoginClient(server, username, password)
        self.get = self.client.get
        self.get_many = self.client.get_many
        self.add = self.client.add
        self.replace = self.client.replace
        self.append = self.client.append
        self.prepend = self.client.prepend
        self.incr = self.client.incr
        self.decr = self.client.decr
        self.gets = self.client.gets
        self.cas = self.client.cas
        self.touch = self.client.touch
        self.delete = self.client.delete
        self.flush = self.client.flush_all

    def auth_failed(self, exception):
        return isinstance(exception, MemcacheClientError) and "authentication failure" in str(exception)

    def set(self, key, value, ttl=0):
        return self.client.set(key, value, expire=ttl)

    def set_many(self, items):
        return not self.client.set_many(items)


checks.run(Pymemcache)
