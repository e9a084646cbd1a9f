"""pymemcache with a client certificate and no login: what the dashboard's snippet does.

Environment: SERVER (host:port), PEM (certificate and key), TRUST (the server's certificate).
"""

import os
import ssl

from pymemcache.client.hash import HashClient

tls = ssl.create_default_context(cafile=os.environ["TRUST"])
tls.load_cert_chain(os.environ["PEM"])

cache = HashClient([os.environ["SERVER"]], tls_context=tls, default_noreply=False)
assert cache.set("by-python", "hello", expire=60) is True
assert cache.get("by-python") == b"hello", cache.get("by-python")
cache.close()
print("ok")
