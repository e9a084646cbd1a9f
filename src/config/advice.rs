//! What a sound configuration will not do as its operator means it. Each sentence ends with what to change.

use std::net::ToSocketAddrs as _;
use std::path::Path;

use secrecy::{ExposeSecret as _, SecretString};

use super::{Config, NodeConfig, NodePart, exposed_files, sections};
use crate::domain::region;
use crate::http::outbound::Url;
use crate::store;

/// A secret that is shorter can be guessed by trying.
const SECRET_CHARS_MIN: usize = 16;

/// Advice about a configuration, for people. Looks names up and files over. `secrets_in` is the settings file, where it
/// holds secrets.
/// `regions` are those that other nodes of the installation are in.
pub fn advice(config: &Config, secrets_in: Option<&Path>, regions: &[String]) -> Vec<String> {
    let mut advice = Vec::new();
    advice.extend(unserved_regions(config, regions));
    advice.extend(reach(config));
    if let Some(node) = &config.node {
        advice.extend(memcached_reach(
            node,
            sections::is_local(&config.public_url),
        ));
    }
    advice.extend(database_reach(config));
    advice.extend(secrets(config));
    if let Some(link) = &config.link {
        advice.extend(previous_token(&link.enrolment));
    }
    advice.extend(exposed_files::advice(config, secrets_in));
    advice
}

/// The same for a node in a process of its own.
pub fn advice_for_node(config: &NodeConfig, secrets_in: Option<&Path>) -> Vec<String> {
    let is_local = config.control_urls.iter().all(sections::is_loopback);
    let mut advice = memcached_reach(&config.node, is_local);
    advice.extend(unknown_control_hosts(config));
    advice.extend(previous_token(&config.enrolment));
    advice.extend(exposed_files::advice_for_node(config, secrets_in));
    advice
}

fn unknown_control_hosts(config: &NodeConfig) -> impl Iterator<Item = String> {
    let hosts = config
        .control_urls
        .iter()
        .map(|url| host_of(url.as_str()))
        .filter(|host| !resolves(host));
    hosts.map(|host| {
        format!(
            "{host}, a host of LARDER_CONTROL_URL, cannot be looked up from here: add it to your DNS"
        )
    })
}

/// `tokens` are the present one and, while that is rotated, the one before.
fn previous_token(tokens: &[SecretString]) -> Option<String> {
    (tokens.len() > 1).then(|| {
        "LARDER_NODE_TOKEN_PREVIOUS is accepted for as long as it is set: take it out as soon as every node and control \
         process has the new LARDER_NODE_TOKEN"
            .to_owned()
    })
}

/// Whether the outside meets us at the public address.
fn reach(config: &Config) -> Vec<String> {
    let mut advice = Vec::new();
    let url = &config.public_url;
    if !sections::is_local(url) {
        let host = host_of(url.origin());
        if !resolves(&host) {
            advice.push(format!(
                "{host}, the host of LARDER_PUBLIC_URL, cannot be looked up from here: add it to your DNS"
            ));
        }
        if config.http_addr.ip().is_loopback() {
            let addr = config.http_addr;
            advice.push(format!(
                "HTTP listens on {addr}, which only this machine reaches: a proxy here must end the TLS of {url} and pass \
                 requests on to it, or set LARDER_HTTP_ADDR"
            ));
        }
        advice.extend(proxy(config));
    }
    advice
}

/// Larder speaks no TLS over HTTP: before an https address there is a proxy, and before an http address there is none.
fn proxy(config: &Config) -> Option<String> {
    let url = &config.public_url;
    if !url.is_https() {
        return Some(format!(
            "{url} has no TLS, so sign-ons, cookies and passwords travel in plain text: put a proxy before it that ends \
             TLS, and set LARDER_PUBLIC_URL to its https address"
        ));
    }
    config.trusted_proxies.is_empty().then(|| {
        format!(
            "a proxy ends the TLS of {url}, and LARDER_TRUSTED_PROXIES is not set, so audit, log and bounds have the \
             proxy's address for everybody: set it to that address, such as 127.0.0.1"
        )
    })
}

/// Whether what is read and written stays between the database and us.
fn database_reach(config: &Config) -> Option<String> {
    let host = store::plain_text_host(&config.database_url)?;
    Some(format!(
        "PostgreSQL is on {host}, and LARDER_DATABASE_URL does not insist on TLS, so names, addresses and its password may \
         travel in plain text: add sslmode=verify-full to it (with sslrootcert=FILE), or at least sslmode=require"
    ))
}

/// Whether apps reach the caches by the name that their config vars hold, without showing their passwords to others.
/// `is_local` says that the whole installation is on this machine.
fn memcached_reach(node: &NodePart, is_local: bool) -> Vec<String> {
    let mut advice = Vec::new();
    let (memcached, name) = (&node.memcached, &node.memcached.proxy_hostname);
    let here_only = name == "localhost" || name.starts_with("127.");
    if here_only {
        if !is_local {
            advice.push(format!(
                "config vars announce {name}, which every machine takes for itself: set LARDER_PROXY_HOSTNAME to the name \
                 by which apps reach this one"
            ));
        }
        return advice;
    }
    if !resolves(name) {
        advice.push(format!(
            "config vars announce {name}, which cannot be looked up from here: set LARDER_PROXY_HOSTNAME to a name in your \
             DNS"
        ));
    } else if !name.contains('.') {
        advice.push(format!(
            "config vars announce {name}, a bare machine name that only this network may know: set LARDER_PROXY_HOSTNAME \
             to a full name"
        ));
    }
    if memcached.addr.ip().is_loopback() {
        let addr = memcached.addr;
        advice.push(format!(
            "memcached listens on {addr}, which only this machine reaches, and config vars announce {name}:{}: set \
             LARDER_MEMCACHED_ADDR to an address that apps reach, such as 0.0.0.0:{}",
            memcached.proxy_port,
            addr.port()
        ));
    }
    match &memcached.tls {
        None => advice.push(
            "memcached has no TLS, so passwords and values travel in plain text: set LARDER_MEMCACHED_TLS_ADDR, \
             LARDER_TLS_CERT and LARDER_TLS_KEY"
                .to_owned(),
        ),
        Some(tls) if tls.addr.ip().is_loopback() => {
            let (addr, port) = (tls.addr, tls.addr.port());
            advice.push(format!(
                "memcached takes TLS on {addr}, which only this machine reaches, and the dashboard names {name}:{port}: \
                 set LARDER_MEMCACHED_TLS_ADDR to an address that apps reach, such as 0.0.0.0:{port}"
            ));
        }
        Some(_) => {}
    }
    advice
}

fn secrets(config: &Config) -> Vec<String> {
    let mut advice = Vec::new();
    let heroku = &config.heroku;
    if heroku.client_secret.is_none() {
        advice.push(
            "LARDER_HEROKU_CLIENT_SECRET is not set: grants cannot be exchanged, so no credential that is rotated will \
             reach its app; the partner portal shows it"
                .to_owned(),
        );
    }
    let previous = [&heroku.password_previous, &heroku.sso_salt_previous];
    if previous.iter().any(|secret| secret.is_some()) && heroku.previous_until.is_none() {
        advice.push(
            "a previous password or salt of Heroku is accepted for as long as it is set: set LARDER_HEROKU_PREVIOUS_UNTIL to \
             the time when it is to end"
                .to_owned(),
        );
    }
    let secrets = [
        ("LARDER_HEROKU_PASSWORD", Some(&heroku.password)),
        ("LARDER_HEROKU_SSO_SALT", Some(&heroku.sso_salt)),
        ("LARDER_HEROKU_CLIENT_SECRET", heroku.client_secret.as_ref()),
        (
            "LARDER_METRICS_TOKEN",
            config.process.metrics_token.as_ref(),
        ),
    ];
    let short = |secret: &SecretString| secret.expose_secret().chars().count() < SECRET_CHARS_MIN;
    for (name, _) in secrets
        .into_iter()
        .filter(|(_, secret)| secret.is_some_and(short))
    {
        advice.push(format!(
            "{name} is shorter than {SECRET_CHARS_MIN} characters and can be guessed: make one with `openssl rand -hex 16`"
        ));
    }
    for (name, _) in [
        ("LARDER_HEROKU_PASSWORD_PREVIOUS", &heroku.password_previous),
        ("LARDER_HEROKU_SSO_SALT_PREVIOUS", &heroku.sso_salt_previous),
    ]
    .into_iter()
    .filter(|(_, secret)| secret.as_ref().is_some_and(short))
    {
        advice.push(format!(
            "{name} is shorter than {SECRET_CHARS_MIN} characters and can be guessed: take it out as soon as Heroku has the \
             new one"
        ));
    }
    advice
}

/// Regions that the manifest sells and no node is in.
fn unserved_regions(config: &Config, others: &[String]) -> Option<String> {
    let mut served: Vec<&str> = others.iter().map(String::as_str).collect();
    // Where nobody has chosen a region there may be no node, as on a machine that runs workers.
    let here = config.node.as_ref();
    served.extend(
        here.filter(|node| node.region_is_given || others.is_empty())
            .map(|node| node.region.as_str()),
    );
    if served.is_empty() {
        return None;
    }
    served.sort_unstable();
    served.dedup();
    // `*` is a rule of the manifest, and no region.
    let is_unserved = |region: &&String| {
        *region != "*" && !served.iter().any(|place| region::is_in(place, region))
    };
    let listed = &config.product.regions;
    let unserved: Vec<&str> = listed
        .iter()
        .filter(is_unserved)
        .map(String::as_str)
        .collect();
    let (sold, served) = (unserved.join(", "), served.join(", "));
    let (happens, or_else) = match config.region_strict {
        true => ("is refused", ""),
        false => (
            "is served from another region, and its customer is told so",
            "; LARDER_REGION_STRICT=on refuses it",
        ),
    };
    (!unserved.is_empty()).then(|| {
        format!(
            "the manifest sells caches in {sold}, where no node is (nodes are in {served}), so an order from there {happens}: \
             take it out of the manifest, or start a node with that LARDER_REGION, in a LARDER_CLUSTER of its \
             own{or_else}"
        )
    })
}

/// The host of a URL, without brackets.
fn host_of(url: &str) -> String {
    let url = Url::parse(url).ok();
    let host = url.as_ref().and_then(Url::host_str);
    host.unwrap_or_default().trim_matches(['[', ']']).to_owned()
}

fn resolves(host: &str) -> bool {
    (host, 0)
        .to_socket_addrs()
        .is_ok_and(|mut found| found.next().is_some())
}
