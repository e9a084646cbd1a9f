"""Where a larder under test lives: its folder, its settings, its provisioned caches."""

import base64
import http.client
import json
import os
import secrets
import subprocess
import tempfile
import threading
import uuid

import build
from machine import BenchError

PLAN = """[[plans]]
slug = "{slug}"
memory_mib = {memory}
connections = 1000000
credentials = 10
sample_grain_secs = 60
history_days = 7
price_cents = 0

"""


def sold(limit_mib):
    """The plan size whose engine limit, a tenth above it, is nearest to this. Exact for multiples of 11."""
    return max(round(limit_mib / 1.1), 1)


class Home:
    """A data folder which outlives restarts of the server."""

    def __init__(self, work, plans=None, database=None):
        self.path = tempfile.mkdtemp(prefix="home.", dir=work)
        self.log = os.path.join(self.path, "larder.log")
        self.plans = plans or {}  # slug -> engine limit in MiB
        self.database = database or f"sqlite:{self.path}/larder.db"
        self.master_key = base64.b64encode(secrets.token_bytes(32)).decode()
        self.password, self.sso_salt = secrets.token_hex(16), secrets.token_hex(16)
        with open(os.path.join(build.ROOT, "addon-manifest.json")) as manifest:
            self.addon = json.load(manifest)["id"]

    def write_plans(self, dev_mib):
        """The private cache of the listener without login takes its limit from the plan called dev."""
        table = {**self.plans, "dev": dev_mib}
        with open(os.path.join(self.path, "larder.toml"), "w") as out:
            out.write("".join(PLAN.format(slug=slug, memory=sold(limit)) for slug, limit in table.items()))

    def environment(self, ports, engine_mib=16384, provider=None, tls=None):
        """`provider` is a played marketplace; without one, nothing is provisioned that would call it. `tls` is a port, with
        a certificate of this home."""
        local = "127.0.0.1"
        variables = {
            "DATABASE_URL": self.database,
            "DATA_DIR": self.path,
            "MASTER_KEY": self.master_key,
            "MANIFEST": os.path.join(build.ROOT, "addon-manifest.json"),
            "HTTP_ADDR": f"{local}:{ports['http']}",
            "PUBLIC_URL": f"http://{local}:{ports['http']}",
            "METRICS_ADDR": f"{local}:{ports['metrics']}",
            "MEMCACHED_ADDR": f"{local}:{ports['login']}",
            "MEMCACHED_OPEN_ADDR": f"{local}:{ports['open']}",
            "MEMCACHED_OPEN_CACHE": "dev",
            "PROXY_HOSTNAME": local,
            "ENGINE_THREADS": "1",
            "ENGINE_MEMORY": f"{engine_mib}MiB",
            "HEROKU_PASSWORD": self.password,
            "HEROKU_SSO_SALT": self.sso_salt,
            "HEROKU_CLIENT_SECRET": secrets.token_hex(16),
            "ALLOW_HTTP": "on",
            "LOG": "warn",
            "SHUTDOWN_SECS": "2",
        }
        if tls:
            certificate, key = self._certificate()
            variables |= {"MEMCACHED_TLS_ADDR": f"{local}:{tls}", "TLS_CERT": certificate, "TLS_KEY": key}
        if provider:
            variables |= {"HEROKU_ID_URL": provider.url, "HEROKU_API_URL": provider.url,
                          "HEROKU_LOG_HOSTS": ",".join(provider.addresses)}
        return {f"LARDER_{name}": value for name, value in variables.items()}

    def _certificate(self):
        certificate, key = (os.path.join(self.path, name) for name in ("tls.pem", "tls.key"))
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                        "-days", "30", "-subj", "/CN=localhost", "-keyout", key, "-out", certificate],
                       check=True, capture_output=True)
        return certificate, key

    def marketplace(self, server):
        return Marketplace(server.http_port, self.addon, self.password)

    def provision(self, server, count, plan, name="logins", outside=None):
        """Makes caches the way Heroku does and returns a file with a USER:PASSWORD a line, in order. `outside` is the URL
        of a played marketplace that gives tokens."""
        made = [None] * count
        lock, numbers, faults = threading.Lock(), iter(range(count)), []

        def work():
            heroku = self.marketplace(server)
            while not faults:
                with lock:
                    number = next(numbers, None)
                if number is None:
                    return
                try:
                    made[number] = heroku.provision(plan, outside)
                except (BenchError, OSError, http.client.HTTPException) as error:
                    faults.append(error)

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if faults:
            raise BenchError(f"provisioning failed: {faults[0]}")
        path = os.path.join(self.path, name)
        with open(path, "w") as out:
            out.writelines(f"{cache['USERNAME']}:{cache['PASSWORD']}\n" for cache in made)
        self.caches = made
        return path


class Marketplace:
    """One kept-alive connection that speaks to us as Heroku does."""

    def __init__(self, port, addon, password):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        login = base64.b64encode(f"{addon}:{password}".encode()).decode()
        self.headers = {
            "Authorization": f"Basic {login}",
            "Content-Type": "application/json",
            "Accept": "application/vnd.heroku-addons+json; version=3",
        }

    def call(self, method, path, body=None, headers=None):
        text = None if body is None else json.dumps(body)
        try:
            return self.ask(method, path, text, headers or self.headers)
        except ConnectionError:
            # The server closes connections that nobody uses for a while. What is asked here may be asked twice.
            self.connection.close()
            return self.ask(method, path, text, headers or self.headers)

    def ask(self, method, path, text, headers):
        self.connection.request(method, path, text, headers)
        reply = self.connection.getresponse()
        return reply.status, reply.read()

    def provision(self, plan, outside=None, log_url=None):
        """One cache: its uuid and its variables by what follows the prefix. `log_url` makes a log input's URL from
        the uuid."""
        cache = str(uuid.uuid4())
        body = {
            "callback_url": f"{outside or 'https://api.heroku.com'}/addons/{cache}",
            "name": f"bench-{cache[:8]}",
            "options": {},
            "plan": plan,
            "region": "amazon-web-services::us-east-1",
            "uuid": cache,
        }
        if outside:
            body["oauth_grant"] = {"code": str(uuid.uuid4()), "type": "authorization_code",
                                   "expires_at": "2099-01-01T00:00:00-0000"}
        if log_url:
            body["log_input_url"] = log_url(cache)
        status, answer = self.call("POST", "/heroku/resources", body)
        if status not in (200, 201):
            raise BenchError(f"POST /heroku/resources answered {status}: {answer[:200]!r}")
        config = json.loads(answer)["config"]
        return {"uuid": cache, **{name.rsplit("_", 1)[1]: value for name, value in config.items()}}

    def deprovision(self, cache):
        status, answer = self.call("DELETE", f"/heroku/resources/{cache}")
        if status != 204:
            raise BenchError(f"DELETE /heroku/resources answered {status}: {answer[:200]!r}")

    def change_plan(self, cache, plan):
        status, answer = self.call("PUT", f"/heroku/resources/{cache}", {"plan": plan})
        if status != 200:
            raise BenchError(f"PUT /heroku/resources answered {status}: {answer[:200]!r}")
