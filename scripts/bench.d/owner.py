"""A cache owner's browser, as far as promoting a credential needs one."""

import hashlib
import http.client
import re
import time
import urllib.parse

from machine import BenchError


class Owner:
    """Signed on to the dashboard of one cache by Heroku's form."""

    def __init__(self, port, cache, salt):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        stamp = str(int(time.time()))
        token = hashlib.sha1(f"{cache}:{salt}:{stamp}".encode()).hexdigest()
        form = {"resource_id": cache, "resource_token": token, "timestamp": stamp, "email": "bench@example.com",
                "user_id": "00000000-0000-4000-8000-000000000000", "app": "bench"}
        self.cookies = {}
        status, headers, _ = self._call("POST", "/heroku/sso", form)
        if status not in (302, 303):
            raise BenchError(f"POST /heroku/sso answered {status}")
        self.path = urllib.parse.urlsplit(headers["Location"]).path
        self.csrf = None

    def _call(self, method, path, form=None):
        headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}
        body = None
        if form is not None:
            body = urllib.parse.urlencode(form)
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        self.connection.request(method, path, body, headers)
        reply = self.connection.getresponse()
        for cookie in reply.headers.get_all("Set-Cookie") or []:
            name, _, value = cookie.split(";", 1)[0].partition("=")
            self.cookies[name] = value
        return reply.status, reply.headers, reply.read().decode(errors="replace")

    def _page(self):
        status, _, page = self._call("GET", self.path)
        token = re.search(r'name="csrf"[^>]*value="([^"]+)"', page)
        if status != 200 or not token:
            raise BenchError(f"the dashboard answered {status} without a form")
        self.csrf = token.group(1)
        return page

    def add_credential(self):
        """Adds a secondary and returns its username."""
        self._page()
        status, _, _ = self._call("POST", f"{self.path}/credentials", {"csrf": self.csrf})
        if status >= 400:
            raise BenchError(f"adding a credential answered {status}")
        found = re.findall(r"/credentials/([0-9A-Za-z]+)/promote", self._page())
        if not found:
            raise BenchError("the dashboard shows no credential to promote")
        return found[0]

    def promote(self, username):
        """Returns when the promotion was asked for, by the monotonic clock."""
        asked = time.monotonic()
        status, _, _ = self._call("POST", f"{self.path}/credentials/{username}/promote", {"csrf": self.csrf})
        if status >= 400:
            raise BenchError(f"promoting answered {status}")
        return asked

    def rotate_address(self):
        """Gives the dashboard another long-lived address, and returns its path. The one before has ended."""
        self._page()
        status, headers, _ = self._call("POST", f"{self.path}/sso-secret/rotate", {"csrf": self.csrf})
        if status >= 400:
            raise BenchError(f"rotating the address answered {status}")
        # The new address opens the session that the rotation has ended.
        self._call("GET", headers["Location"])
        return headers["Location"]
