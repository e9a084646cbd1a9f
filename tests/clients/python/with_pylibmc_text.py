"""pylibmc (libmemcached): text protocol, login by an ordinary set.

The library has no login of its own in the text protocol and no hook on connecting, so this works as long as its
one connection lasts.
"""

import pylibmc

import checks
import libmemcached


class LoginRefused(Exception):
    pass


class Text(libmemcached.Pylibmc):
    def __init__(self, server, username, password):
        self.bind(pylibmc.Client([server], behaviors=libmemcached.BEHAVIORS))
        try:
            stored = self.client.set(username, password)
        except pylibmc.Error as answer:
            raise LoginRefused(str(answer)) from answer
        if not stored:
            raise LoginRefused

    def auth_failed(self, exception):
        return isinstance(exception, LoginRefused)


checks.run(Text)
