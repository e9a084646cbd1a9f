"""Django's cache backend over pylibmc, with the login in its OPTIONS."""

import pylibmc
from django.conf import settings
from django.core.cache.backends.memcached import PyLibMCCache

import checks
import libmemcached

settings.configure()


class Django(checks.Adapter):
    refusals = (pylibmc.Error, ValueError)

    def __init__(self, server, username, password):
        options = {
            "binary": True,
            "username": username,
            "password": password,
            "behaviors": libmemcached.BEHAVIORS,
        }
        self.cache = PyLibMCCache(server, {"OPTIONS": options, "TIMEOUT": None})
        self.get = self.cache.get
        self.get_many = self.cache.get_many
        self.add = self.cache.add
        self.incr = self.cache.incr
        self.decr = self.cache.decr
        self.delete = self.cache.delete
        self.flush = self.cache.clear

    def auth_failed(self, exception):
        return isinstance(exception, pylibmc.Error) and "AUTHENTICATION" in str(exception)

    def set(self, key, value, ttl=None):
        """The framework's own set says nothing about its outcome, so it is read back."""
        self.cache.set(key, value, timeout=ttl)
        return ttl is not None or self.cache.get(key) == value

    def set_many(self, items):
        return not self.cache.set_many(items)

    def touch(self, key, ttl):
        try:
            return self.cache.touch(key, timeout=ttl)
        except pylibmc.NotFound:
            return False


checks.run(Django)
