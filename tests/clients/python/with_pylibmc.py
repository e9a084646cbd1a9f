"""pylibmc (libmemcached): binary protocol, SASL."""

import pylibmc

import checks
import libmemcached


class Binary(libmemcached.Pylibmc):
    def __init__(self, server, username, password):
        self.bind(
            pylibmc.Client(
                [server],
                binary=True,
                username=username,
                password=password,
                behaviors=libmemcached.BEHAVIORS,
            )
        )

    def auth_failed(self, exception):
        return isinstance(exception, pylibmc.Error) and "AUTHENTICATION" in str(exception)


checks.run(Binary)
