//! The table of settings: names, defaults and what they mean. Flags, `--help` and the check for unknown keys
//! are all made from it, so they cannot disagree.

/// One setting.
#[derive(Debug)]
pub struct Variable {
    /// Its name in the environment and in `larder.toml`.
    pub name: &'static str,
    /// What holds when nothing is said, in words where it depends on the machine.
    pub default: &'static str,
    pub help: &'static str,
    /// A secret is no flag: process lists show flags to everybody.
    pub secret: bool,
}

impl Variable {
    /// `LARDER_HTTP_ADDR` as a flag: `http-addr`.
    pub fn flag(&self) -> String {
        self.name
            .trim_start_matches("LARDER_")
            .to_lowercase()
            .replace('_', "-")
    }
}

pub fn is_known(name: &str) -> bool {
    VARIABLES.iter().any(|variable| variable.name == name)
}

const fn plain(name: &'static str, default: &'static str, help: &'static str) -> Variable {
    Variable {
        name,
        default,
        help,
        secret: false,
    }
}

const fn secret(name: &'static str, default: &'static str, help: &'static str) -> Variable {
    Variable {
        name,
        default,
        help,
        secret: true,
    }
}

#[rustfmt::skip]
pub const VARIABLES: &[Variable] = &[
    secret("LARDER_DATABASE_URL", "sqlite:larder-data/larder.db", "where the state is kept: sqlite:PATH or postgres://…"),
    plain("LARDER_DATABASE_CONNECTIONS", "16", "most PostgreSQL connections of this process"),
    plain("LARDER_DATA_DIR", "larder-data", "keys made by dev, this node's id, the static status page"),
    secret("LARDER_MASTER_KEY", "none", "the key that seals secrets: base64 of 32 bytes"),
    plain("LARDER_MASTER_KEY_FILE", "none", "a file that holds the master key"),
    secret("LARDER_MASTER_KEY_PREVIOUS", "none", "older master keys, comma-separated, while they are rotated"),
    plain("LARDER_HTTP_ADDR", "127.0.0.1:8080", "provisioning, dashboard and status page listen here"),
    plain("LARDER_PUBLIC_URL", "http://127.0.0.1:8080", "how the outside reaches the above"),
    plain("LARDER_METRICS_ADDR", "127.0.0.1:9100", "/metrics listens here, never on the public address"),
    plain("LARDER_MEMCACHED_ADDR", "127.0.0.1:11211", "authenticated memcached listens here"),
    plain("LARDER_MEMCACHED_TLS_ADDR", "off", "TLS memcached listens here (11219 by custom)"),
    plain("LARDER_MEMCACHED_TLS_DETECT", "off", "LARDER_MEMCACHED_ADDR takes TLS as well, told by the first byte"),
    plain("LARDER_TLS_CERT", "none", "certificate chain for TLS, PEM; read again on SIGHUP"),
    plain("LARDER_TLS_KEY", "none", "its private key, PEM"),
    plain("LARDER_MEMCACHED_OPEN_ADDR", "off", "memcached without login, loopback only, for local work and test suites"),
    plain("LARDER_MEMCACHED_OPEN_CACHE", "none", "the cache behind it: an external id, or dev for a private one"),
    plain("LARDER_PROXY_HOSTNAME", "this machine's name", "this node's name in SERVERS, log lines and the status page"),
    plain("LARDER_PROXY_PORT", "port of LARDER_MEMCACHED_ADDR", "the port announced in SERVERS"),
    plain("LARDER_CLUSTER", "c1", "the cluster this node belongs to"),
    plain("LARDER_REGION", "us", "the region that cluster serves"),
    plain("LARDER_ENGINE_THREADS", "one per core", "worker threads of the cache engine"),
    plain("LARDER_ENGINE_MEMORY", "80 % of memory", "ceiling over all caches: bytes, or such as 4GiB"),
    plain("LARDER_MANIFEST", "addon-manifest.json", "id, prefix, variable names, regions and URLs of the add-on"),
    secret("LARDER_HEROKU_PASSWORD", "the manifest's", "password of Heroku's calls to us"),
    secret("LARDER_HEROKU_PASSWORD_PREVIOUS", "none", "the one before, still accepted while it is rotated"),
    secret("LARDER_HEROKU_SSO_SALT", "the manifest's", "salt of Heroku's single sign-on"),
    secret("LARDER_HEROKU_SSO_SALT_PREVIOUS", "none", "the one before, still accepted while it is rotated"),
    secret("LARDER_HEROKU_CLIENT_SECRET", "none", "our secret for Heroku's token endpoint"),
    plain("LARDER_HEROKU_ID_URL", "https://id.heroku.com", "where grants are exchanged for tokens"),
    plain("LARDER_HEROKU_API_URL", "https://api.heroku.com", "where config vars are pushed"),
    plain("LARDER_HEROKU_ADDONS_URL", "https://addons.heroku.com", "where the list of installs is read"),
    plain("LARDER_HEROKU_LOG_HOSTS", "*.logplex.io", "hosts that a log input may name, comma-separated"),
    plain("LARDER_HEROKU_LOOK_SECS", "86400", "how often attached apps are read anew, besides when webhooks tell"),
    plain("LARDER_HEROKU_LEGACY", "off", "accept v1 provisioning and SSO forms (kensa and Heroku-like marketplaces)"),
    plain("LARDER_ROTATION_OVERLAP_SECS", "7200", "how long a former primary stays once its successor is pushed"),
    plain("LARDER_ALLOW_HTTP", "off", "plain http outward and cookies without Secure, for tests and dev"),
    plain("LARDER_SHUTDOWN_SECS", "20", "time to wind down after SIGTERM or SIGINT"),
    plain("LARDER_LOG", "info", "log filter, such as info or larder=debug,warn"),
    plain("LARDER_LOG_FORMAT", "text", "text or json"),
    plain("LARDER_SANDBOX_ADDR", "127.0.0.1:8090", "where larder dev serves its marketplace"),
];
