//! The table of settings. The flags, `--help`, `check-config`, `--print-config`, `docs/settings.md` and the code read
//! it, so that they cannot disagree.
//!
//! A new setting is one row: a group's heading stands over it; its name without `LARDER_`, its type, where it may be
//! shown, what holds when nobody sets it, its parser, and what it means. Code asks for it by the row:
//! `source.get(&settings::HTTP_ADDR)`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

use super::setting::Exposure::{Plain, Secret, SecretUrl};
use super::setting::Fallback::{Computed, Text, Unset};
use super::setting::{About, AnySetting, Setting};
use super::{machine, parse};
use crate::domain::{ClusterName, HostPattern, Network, Timestamp};
use crate::http::outbound::Url;
use crate::store::db::seal::MasterKey;
use crate::telemetry::LogFormat;
use crate::web::PublicUrl;

macro_rules! settings {
    ($($heading:literal { $($constant:ident: $kind:ty, $exposure:expr, $fallback:expr, $parse:expr, $help:literal;)* })*) => {
        $($(
            #[doc = $help]
            pub static $constant: Setting<$kind> = Setting {
                about: About {
                    name: concat!("LARDER_", stringify!($constant)),
                    exposure: $exposure,
                    fallback: $fallback,
                    help: $help,
                },
                parse: $parse,
            };
        )*)*

        /// All settings, by group.
        pub static GROUPS: &[(&str, &[&dyn AnySetting])] = &[$(($heading, &[$(&$constant),*])),*];
    };
}

settings! {
    "State" {
        DATABASE_URL: SecretString, SecretUrl, Text("sqlite:larder-data/larder.db"), parse::database_url, "where the state is kept: sqlite:PATH or postgres://…";
        DATABASE_CONNECTIONS: u32, Plain, Text("16"), parse::count, "most PostgreSQL connections of this process";
        DATA_DIR: PathBuf, Plain, Text("larder-data"), parse::path, "keys made by dev, and this node's id and snapshot";
        MASTER_KEY: MasterKey, Secret, Unset("unset"), parse::master_key, "the key that seals secrets: base64 of 32 bytes";
        MASTER_KEY_FILE: PathBuf, Plain, Unset("unset"), parse::path, "a file that holds the master key";
        MASTER_KEY_PREVIOUS: Vec<MasterKey>, Secret, Unset("unset"), parse::master_keys, "older master keys, comma-separated, while they are rotated";
    }
    "HTTP" {
        HTTP_ADDR: SocketAddr, Plain, Text("127.0.0.1:8080"), parse::address, "provisioning and dashboard listen here";
        PUBLIC_URL: PublicUrl, Plain, Computed("http:// and LARDER_HTTP_ADDR", own_url), parse::any, "how the outside reaches the above";
        TRUSTED_PROXIES: Vec<Network>, Plain, Unset("unset"), parse::networks, "addresses or networks of proxies before the above, comma-separated: their X-Forwarded-For says who came";
        METRICS_ADDR: SocketAddr, Plain, Text("127.0.0.1:9100"), parse::address, "/metrics listens here, never on the public address";
        METRICS_TOKEN: SecretString, Secret, Unset("unset"), parse::secret, "bearer token that /metrics asks for; needed where LARDER_METRICS_ADDR is not a loopback address";
        ALLOW_HTTP: bool, Plain, Text("off"), parse::switch, "plain http outward and cookies without Secure, for tests and dev";
    }
    "memcached" {
        MEMCACHED_ADDR: SocketAddr, Plain, Text("127.0.0.1:11211"), parse::address, "authenticated memcached listens here";
        MEMCACHED_TLS_ADDR: SocketAddr, Plain, Unset("unset"), parse::address, "TLS memcached listens here (11219 by custom)";
        MEMCACHED_TLS_DETECT: bool, Plain, Text("off"), parse::switch, "LARDER_MEMCACHED_ADDR takes TLS as well, told by the first byte";
        TLS_CERT: PathBuf, Plain, Unset("unset"), parse::path, "certificate chain for TLS, PEM; read again on SIGHUP";
        TLS_KEY: PathBuf, Plain, Unset("unset"), parse::path, "its private key, PEM";
        TLS_CA: String, Plain, Unset("unset"), parse::text, "who signed it, PEM, if clients do not know them: named in the dashboard's samples";
        MEMCACHED_OPEN_ADDR: SocketAddr, Plain, Unset("unset"), parse::address, "memcached without login, loopback only, for local work and test suites";
        MEMCACHED_OPEN_CACHE: String, Plain, Unset("unset"), parse::text, "the cache behind it: an external id, or dev for a private one";
        ENGINE_THREADS: usize, Plain, Computed("one per core", |_| machine::cores().to_string()), parse::count, "worker threads of the cache engine";
        ENGINE_MEMORY: u64, Plain, Computed("80 % of memory", |_| (machine::memory_bytes() / 5 * 4).to_string()), parse::memory, "ceiling over all caches: bytes, or such as 4GiB";
    }
    "This node" {
        PROXY_HOSTNAME: String, Plain, Computed("this machine's name", |_| machine::host_name()), parse::host_name, "this node's name in SERVERS and log lines";
        PROXY_PORT: u16, Plain, Computed("port of LARDER_MEMCACHED_ADDR", memcached_port), parse::any, "the port announced in SERVERS";
        CLUSTER: ClusterName, Plain, Text("c1"), parse::any, "the cluster this node belongs to; each region has its own";
        REGION: String, Plain, Text("us"), parse::text, "the region that cluster serves; a wider one, such as eu, also takes orders for eu-central-1 and counts as that place";
        REGION_STRICT: bool, Plain, Text("off"), parse::switch, "refuse a cache whose region has no node, instead of serving it from another one (data residence)";
    }
    "Machines" {
        LINK_ADDR: SocketAddr, Plain, Unset("unset"), parse::address, "nodes of other machines connect here, never on the public address; `--role control` needs it";
        LINK_TLS_CERT: PathBuf, Plain, Unset("unset"), parse::path, "certificate chain of the above, PEM, read again on SIGHUP; needed where LARDER_LINK_ADDR is not a loopback address";
        LINK_TLS_KEY: PathBuf, Plain, Unset("unset"), parse::path, "its private key, PEM";
        CONTROL_URL: Vec<Url>, Plain, Unset("unset"), parse::control_urls, "where a `--role node` finds LARDER_LINK_ADDR of the control processes, comma-separated";
        LINK_CA: PathBuf, Plain, Unset("unset"), parse::path, "the only authority that a node believes at LARDER_CONTROL_URL, PEM; without it those that its system knows";
        NODE_TOKEN: SecretString, Secret, Unset("unset"), parse::node_token, "what a node enrols with, the same at nodes and control processes, at least 32 characters";
        NODE_TOKEN_PREVIOUS: SecretString, Secret, Unset("unset"), parse::node_token, "the one before, while it is rotated";
    }
    "Product" {
        MANIFEST: PathBuf, Plain, Unset("addon-manifest.json, else the one built in"), parse::path, "id, prefix, variable names, regions and URLs of the add-on, as Heroku has them";
        PRODUCT_NAME: String, Plain, Unset("the manifest's"), parse::text, "what is sold here is called so on pages";
        VARIABLES_PREFIX: String, Plain, Unset("the manifest's"), parse::variables_prefix, "what stands before _SERVERS, _USERNAME and _PASSWORD in every marketplace but Heroku, which has the manifest's";
        REGIONS: Vec<String>, Plain, Unset("the manifest's"), parse::names, "regions that may be ordered though no node is there, comma-separated; * for every region";
    }
    "Heroku" {
        HEROKU_PASSWORD: SecretString, Secret, Unset("the manifest's"), parse::shared_secret, "password of Heroku's calls to us";
        HEROKU_PASSWORD_PREVIOUS: SecretString, Secret, Unset("unset"), parse::shared_secret, "the one before, still accepted while it is rotated";
        HEROKU_SSO_SALT: SecretString, Secret, Unset("the manifest's"), parse::shared_secret, "salt of Heroku's single sign-on";
        HEROKU_SSO_SALT_PREVIOUS: SecretString, Secret, Unset("unset"), parse::shared_secret, "the one before, still accepted while it is rotated";
        HEROKU_PREVIOUS_UNTIL: Timestamp, Plain, Unset("unset"), parse::instant, "when the two before are accepted no longer, such as 2026-12-24T18:00:00Z";
        HEROKU_CLIENT_SECRET: SecretString, Secret, Unset("unset"), parse::shared_secret, "our secret for Heroku's token endpoint";
        HEROKU_ID_URL: String, Plain, Text("https://id.heroku.com"), parse::base_url, "where grants are exchanged for tokens";
        HEROKU_API_URL: String, Plain, Text("https://api.heroku.com"), parse::base_url, "where config vars are pushed";
        HEROKU_ADDONS_URL: String, Plain, Text("https://addons.heroku.com"), parse::base_url, "where the list of installs is read";
        HEROKU_LOG_HOSTS: Vec<HostPattern>, Plain, Text("*.logplex.io"), parse::host_patterns, "hosts that a log input may name, comma-separated";
        HEROKU_RECONCILE_SECS: Duration, Plain, Text("86400"), parse::interval, "how often attached apps are read anew, besides when webhooks tell";
        HEROKU_LEGACY: bool, Plain, Text("off"), parse::switch, "accept v1 provisioning and SSO forms (kensa and Heroku-like marketplaces)";
    }
    "Limits" {
        HTTP_BODY_BYTES: usize, Plain, Text("64KiB"), parse::size, "largest body that the pages take";
        HTTP_REQUEST_SECS: Duration, Plain, Text("20"), parse::interval, "longest time from a request's head to its answer";
        SESSION_IDLE_SECS: Duration, Plain, Text("1800"), parse::interval, "a dashboard session ends after so long without use";
        SESSION_SECS: Duration, Plain, Text("43200"), parse::interval, "a dashboard session ends after so long in any case";
        MEMCACHED_LOGIN_SECS: Duration, Plain, Text("5"), parse::interval, "a memcached client must have logged in by then";
        MEMCACHED_LINE_BYTES: usize, Plain, Text("2KiB"), parse::line_size, "longest command line, but for lists of keys";
        MEMCACHED_REQUEST_SECS: Duration, Plain, Text("300"), parse::interval, "a memcached request must be complete by then";
        MEMCACHED_UNREAD_BYTES: usize, Plain, Text("256KiB"), parse::size, "a memcached client with so many unread replies is not read";
        MEMCACHED_UNREAD_SECS: Duration, Plain, Text("30"), parse::interval, "a memcached client that reads none of them for so long is closed";
    }
    "Running" {
        ROTATION_OVERLAP_SECS: Duration, Plain, Text("7200"), parse::seconds, "how long a former primary stays once its successor is pushed";
        AUDIT_DAYS: Duration, Plain, Text("400"), parse::days, "how long the audit remembers who did what, with names and addresses";
        EVENTS_DAYS: Duration, Plain, Text("400"), parse::days, "how long a cache's timeline goes back, to its newest ten thousand events at most";
        ALLOW_DUMPS: bool, Plain, Text("off"), parse::switch, "let the system write core dumps, and debuggers attach: they hold secrets";
        SHUTDOWN_SECS: Duration, Plain, Text("20"), parse::seconds, "time to wind down after SIGTERM or SIGINT";
        SHUTDOWN_DELAY_SECS: Duration, Plain, Text("2"), parse::seconds, "how long of it /readyz says 503 before the HTTP port closes, for balancers";
        LOG: String, Plain, Text("info"), parse::log_filter, "log filter, such as info or larder=debug,warn";
        LOG_FORMAT: LogFormat, Plain, Text("text"), parse::log_format, "text or json";
        SANDBOX_ADDR: SocketAddr, Plain, Text("127.0.0.1:8090"), parse::address, "where larder dev serves its marketplace";
    }
}

fn memcached_port(source: &super::source::Source) -> String {
    let addr = source.get(&MEMCACHED_ADDR);
    addr.map_or(11_211, |addr| addr.port()).to_string()
}

fn own_url(source: &super::source::Source) -> String {
    let addr = source.get(&HTTP_ADDR);
    addr.map_or_else(String::new, local_url)
}

/// How this machine reaches what listens on an address.
pub fn local_url(addr: SocketAddr) -> String {
    let loopback: IpAddr = match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    format!("http://{}", SocketAddr::new(loopback, addr.port()))
}

/// All settings in one row.
pub fn all() -> impl Iterator<Item = &'static dyn AnySetting> {
    GROUPS
        .iter()
        .flat_map(|(_, settings)| settings.iter().copied())
}

/// The setting of that name.
pub fn find(name: &str) -> Option<&'static dyn AnySetting> {
    all().find(|setting| setting.about().name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_read_by_its_own_parser() {
        let source = super::super::source::Source::default();
        for setting in all() {
            let about = setting.about();
            let text = match about.fallback {
                Unset(_) => continue,
                Text(text) => text.to_owned(),
                Computed(_, compute) => compute(&source),
            };
            assert_eq!(setting.check(&text), Ok(()), "{}", about.name);
        }
    }
}
