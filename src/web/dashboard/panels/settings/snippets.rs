//! Ready-to-paste client code. It names variables and never holds a value.

use crate::domain::ConfigVarNames;

/// Code for one client library.
pub struct Snippet {
    pub language: &'static str,
    /// Library and how to get it.
    pub library: &'static str,
    pub code: String,
}

/// One per language, in the order of the panel.
pub fn all(names: &ConfigVarNames) -> Vec<Snippet> {
    vec![python(names), ruby(names), node(names), php(names)]
}

/// Code for clients that identify themselves by a certificate, for the servers given and the file of that name. `ca` is
/// the file of who signed the servers' own certificate, where clients do not know them by themselves.
pub fn with_certificate(tls_servers: &[String], file: &str, ca: Option<&str>) -> Vec<Snippet> {
    let ruby_trust = ca.map_or_else(String::new, |ca| format!("(ca_file: \"{ca}\")"));
    let python_trust = ca.map_or_else(String::new, |ca| format!("cafile=\"{ca}\""));
    let listed = tls_servers.iter().map(|server| format!("\"{server}\""));
    let servers = listed.collect::<Vec<_>>().join(", ");
    let ruby = format!(
        r#"require "dalli"
require "openssl"

pem = ENV.fetch("CACHE_CLIENT_PEM") {{ File.read("{file}") }}
tls = OpenSSL::SSL::SSLContext.new
tls.set_params{ruby_trust} # checks the server's certificate and name
tls.cert = OpenSSL::X509::Certificate.new(pem)
tls.key = OpenSSL::PKey.read(pem)

cache = Dalli::Client.new([{servers}], ssl_context: tls)
cache.set("greeting", "hello", 60)
puts cache.get("greeting")"#
    );
    let python = format!(
        r#"import ssl
from pymemcache.client.hash import HashClient

tls = ssl.create_default_context({python_trust})
tls.load_cert_chain("{file}")

cache = HashClient([{servers}], tls_context=tls)
cache.set("greeting", "hello", expire=60)
print(cache.get("greeting"))"#
    );
    vec![
        Snippet {
            language: "Ruby",
            library: r#"gem "dalli", "~> 5.0""#,
            code: ruby,
        },
        Snippet {
            language: "Python",
            library: "pip install pymemcache",
            code: python,
        },
    ]
}

fn python(names: &ConfigVarNames) -> Snippet {
    let ConfigVarNames {
        servers,
        username,
        password,
    } = names;
    Snippet {
        language: "Python",
        library: "pip install python-binary-memcached",
        code: format!(
            r#"import os
import bmemcached

cache = bmemcached.Client(
    os.environ["{servers}"].split(","),
    os.environ["{username}"],
    os.environ["{password}"],
)
cache.set("greeting", "hello", time=60)
print(cache.get("greeting"))"#
        ),
    }
}

fn ruby(names: &ConfigVarNames) -> Snippet {
    let ConfigVarNames {
        servers,
        username,
        password,
    } = names;
    Snippet {
        language: "Ruby",
        library: r#"gem "dalli", "~> 3.2""#,
        code: format!(
            r#"require "dalli"

cache = Dalli::Client.new(
  ENV.fetch("{servers}").split(","),
  username: ENV.fetch("{username}"),
  password: ENV.fetch("{password}"),
  failover: true,
  socket_timeout: 1.5
)
cache.set("greeting", "hello", 60)
puts cache.get("greeting")"#
        ),
    }
}

fn node(names: &ConfigVarNames) -> Snippet {
    let ConfigVarNames {
        servers,
        username,
        password,
    } = names;
    Snippet {
        language: "Node.js",
        library: "npm install memjs",
        code: format!(
            r#"const memjs = require("memjs");

const cache = memjs.Client.create(process.env.{servers}, {{
  username: process.env.{username},
  password: process.env.{password},
}});

async function main() {{
  await cache.set("greeting", "hello", {{ expires: 60 }});
  const {{ value }} = await cache.get("greeting");
  console.log(value.toString());
}}

main().finally(() => cache.close());"#
        ),
    }
}

fn php(names: &ConfigVarNames) -> Snippet {
    let ConfigVarNames {
        servers,
        username,
        password,
    } = names;
    Snippet {
        language: "PHP",
        library: "the memcached extension, built with SASL",
        code: format!(
            r#"<?php
$cache = new Memcached();
$cache->setOption(Memcached::OPT_BINARY_PROTOCOL, true);
$cache->setSaslAuthData(getenv("{username}"), getenv("{password}"));
foreach (explode(",", getenv("{servers}")) as $server) {{
    [$host, $port] = explode(":", $server);
    $cache->addServer($host, (int) $port);
}}
$cache->set("greeting", "hello", 60);
echo $cache->get("greeting");"#
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_for_tls_trust_whom_clients_do_not_know() {
        let servers = ["localhost:11219".to_owned()];
        let code = |ca| {
            let all = with_certificate(&servers, "4F2A90.pem", ca);
            all.into_iter()
                .map(|snippet| snippet.code)
                .collect::<Vec<_>>()
                .join("\n")
        };
        let usual = code(None);
        assert!(usual.contains("tls.set_params # checks"));
        assert!(usual.contains("ssl.create_default_context()"));
        let own = code(Some("/srv/larder-data/dev-tls.pem"));
        assert!(own.contains("tls.set_params(ca_file: \"/srv/larder-data/dev-tls.pem\")"));
        assert!(own.contains("create_default_context(cafile=\"/srv/larder-data/dev-tls.pem\")"));
    }
}
