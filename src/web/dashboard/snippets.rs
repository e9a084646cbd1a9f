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
