"""What the runners on top of pylibmc have in common."""

import pylibmc

import checks

# libmemcached counts the time to connect in milliseconds and the others in microseconds.
BEHAVIORS = {
    "tcp_nodelay": True,
    "connect_timeout": 5_000,
    "send_timeout": 10_000_000,
    "receive_timeout": 10_000_000,
    "cas": True,
}


class Pylibmc(checks.Adapter):
    """The calls of a pylibmc client, whichever protocol it was made for."""

    refusals = (pylibmc.Error,)

    def bind(self, client):
        self.client = client
        self.get = client.get
        self.get_many = client.get_multi
        self.add = client.add
        self.append = client.append
        self.prepend = client.prepend
        self.incr = client.incr
        self.decr = client.decr
        self.gets = client.gets
        self.cas = client.cas
        self.delete = client.delete
        self.flush = client.flush_all

    def set(self, key, value, ttl=0):
        return self.client.set(key, value, time=ttl)

    def set_many(self, items):
        return not self.client.set_multi(items)

    def replace(self, key, value):
        try:
            return self.client.replace(key, value)
        except pylibmc.NotFound:
            return False

    def touch(self, key, ttl):
        try:
            return self.client.touch(key, ttl)
        except pylibmc.NotFound:
            return False
