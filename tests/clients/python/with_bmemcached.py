"""python-binary-memcached: binary protocol, SASL."""

import bmemcached
from bmemcached.exceptions import MemcachedException

import checks


class Bmemcached(checks.Adapter):
    refusals = (MemcachedException,)

    def __init__(self, server, username, password):
        self.client = bmemcached.Client([server], username, password, socket_timeout=10)
        self.get = self.client.get
        self.get_many = self.client.get_multi
        self.incr = self.client.incr
        self.decr = self.client.decr
        self.add = self.client.add
        self.replace = self.client.replace
        self.gets = self.client.gets
        self.cas = self.client.cas
        self.flush = self.client.flush_all

    def auth_failed(self, exception):
        return isinstance(exception, MemcachedException) and exception.code == 0x20

    def set(self, key, value, ttl=0):
        return self.client.set(key, value, time=ttl)

    def set_many(self, items):
        return not self.client.set_multi(items)

    def delete(self, key):
        return self.client.delete(key)


checks.run(Bmemcached)
