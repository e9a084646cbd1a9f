"""Flask-Caching's SASL backend, configured as an application would."""

import pylibmc
from flask import Flask
from flask_caching import Cache

import checks


class FlaskCaching(checks.Adapter):
    refusals = (pylibmc.Error,)

    def __init__(self, server, username, password):
        app = Flask("checks")
        app.config.update(
            CACHE_TYPE="SASLMemcachedCache",
            CACHE_MEMCACHED_SERVERS=[server],
            CACHE_MEMCACHED_USERNAME=username,
            CACHE_MEMCACHED_PASSWORD=password,
            CACHE_KEY_PREFIX="app:",
            CACHE_DEFAULT_TIMEOUT=0,
            CACHE_OPTIONS={"behaviors": {"tcp_nodelay": True, "receive_timeout": 10_000_000}},
        )
        self.cache = Cache(app)
        self.app = app

    def auth_failed(self, exception):
        return isinstance(exception, pylibmc.Error) and "AUTHENTICATION" in str(exception)

    def call(self, name, *arguments, **named):
        with self.app.app_context():
            return getattr(self.cache, name)(*arguments, **named)

    def set(self, key, value, ttl=0):
        return self.call("set", key, value, timeout=ttl)

    def get(self, key):
        return self.call("get", key)

    def set_many(self, items):
        return len(self.call("set_many", items)) == len(items)

    def get_many(self, keys):
        return {key: value for key, value in self.call("get_dict", *keys).items() if value is not None}

    def add(self, key, value):
        return self.call("add", key, value)

    def delete(self, key):
        return self.call("delete", key)

    def flush(self):
        return self.call("clear")


checks.run(FlaskCaching)
