//! One function per group of settings: ask, check, note what is wrong.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

use super::source::Source;
use super::{Heroku, Manifest, Memcached, OpenListener, Tls, machine, manifest};
use crate::domain::{BadHostPattern, ClusterName, HostPattern};
use crate::store::seal::MasterKey;
use crate::web::PublicUrl;

pub(super) fn cluster(source: &mut Source) -> Option<ClusterName> {
    match source.text("LARDER_CLUSTER").unwrap_or("c1").parse() {
        Ok(cluster) => Some(cluster),
        Err(error) => {
            source.bad("LARDER_CLUSTER", &error);
            None
        }
    }
}

pub(super) fn database_url(source: &mut Source) -> SecretString {
    let url = source
        .text("LARDER_DATABASE_URL")
        .unwrap_or("sqlite:larder-data/larder.db")
        .to_owned();
    if !["sqlite:", "postgres://", "postgresql://"]
        .iter()
        .any(|scheme| url.starts_with(scheme))
    {
        source.bad(
            "LARDER_DATABASE_URL",
            &"must start with sqlite: or postgres://",
        );
    }
    url.into()
}

pub(super) fn public_url(source: &mut Source, allow_http: bool) -> Option<PublicUrl> {
    const NAME: &str = "LARDER_PUBLIC_URL";
    let text = source.text(NAME).unwrap_or("http://127.0.0.1:8080");
    match text.parse::<PublicUrl>() {
        Ok(url) if url.is_https() || allow_http || is_local(&url) => Some(url),
        Ok(_) => {
            let why = "must be https (LARDER_ALLOW_HTTP=on allows http, for tests)";
            source.bad(NAME, &why);
            None
        }
        Err(error) => {
            source.bad(NAME, &error);
            None
        }
    }
}

/// Whether a URL names this machine only, so that nobody outside can meet the service there.
pub(super) fn is_local(url: &PublicUrl) -> bool {
    let Ok(url) = reqwest::Url::parse(url.origin()) else {
        return false;
    };
    match url.host_str() {
        Some("localhost") => true,
        Some(host) => host
            .trim_matches(['[', ']'])
            .parse::<IpAddr>()
            .is_ok_and(|ip| ip.is_loopback()),
        None => false,
    }
}

pub(super) fn read_manifest(source: &mut Source) -> Option<Manifest> {
    let (name, text) = match source.text("LARDER_MANIFEST") {
        Some(path) => (path.to_owned(), std::fs::read_to_string(path)),
        // without a file here, the one this program was built with
        None => match std::fs::read_to_string("addon-manifest.json") {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => (
                "built-in manifest".to_owned(),
                Ok(include_str!("../../addon-manifest.json").to_owned()),
            ),
            read => ("addon-manifest.json".to_owned(), read),
        },
    };
    match text
        .map_err(|error| vec![error.to_string()])
        .and_then(|text| Manifest::parse(&text))
    {
        Ok(manifest) => Some(manifest),
        Err(faults) => {
            for fault in faults {
                source.mistake(format!("LARDER_MANIFEST ({name}): {fault}"));
            }
            None
        }
    }
}

fn secret(source: &Source, name: &str) -> Option<SecretString> {
    source.text(name).map(|text| text.to_owned().into())
}

pub(super) fn heroku(
    source: &mut Source,
    manifest: Option<&Manifest>,
    forgiving: bool,
    warnings: &mut Vec<String>,
) -> Heroku {
    let mut inbound = |name: &str, in_manifest: Option<&SecretString>| {
        if let Some(given) = secret(source, name) {
            return given;
        }
        if in_manifest.is_some_and(manifest::is_placeholder) {
            let what = format!("{name} is not set, and the manifest holds only a placeholder");
            if forgiving {
                warnings.push(what);
            } else {
                source.mistake(what);
            }
        }
        // without a manifest there is no start anyway, only a list of mistakes
        in_manifest.cloned().unwrap_or_default()
    };
    let api = manifest.map(|manifest| &manifest.api);
    let password = inbound("LARDER_HEROKU_PASSWORD", api.map(|api| &api.password));
    let sso_salt = inbound("LARDER_HEROKU_SSO_SALT", api.map(|api| &api.sso_salt));
    let url = |source: &mut Source, name: &str, default: &str| {
        let url = source
            .text(name)
            .unwrap_or(default)
            .trim_end_matches('/')
            .to_owned();
        let http = source.switch("LARDER_ALLOW_HTTP") && url.starts_with("http://");
        if !url.starts_with("https://") && !http {
            source.bad(
                name,
                &"must be an https address (LARDER_ALLOW_HTTP=on allows http, for tests)",
            );
        }
        url
    };
    Heroku {
        password,
        password_previous: secret(source, "LARDER_HEROKU_PASSWORD_PREVIOUS"),
        sso_salt,
        sso_salt_previous: secret(source, "LARDER_HEROKU_SSO_SALT_PREVIOUS"),
        client_secret: secret(source, "LARDER_HEROKU_CLIENT_SECRET"),
        id_url: url(source, "LARDER_HEROKU_ID_URL", "https://id.heroku.com"),
        api_url: url(source, "LARDER_HEROKU_API_URL", "https://api.heroku.com"),
        addons_url: url(
            source,
            "LARDER_HEROKU_ADDONS_URL",
            "https://addons.heroku.com",
        ),
        log_hosts: log_hosts(source),
        look_every: Duration::from_secs(
            source
                .parsed_or("LARDER_HEROKU_LOOK_SECS", 86_400_u64)
                .max(1),
        ),
        legacy: source.switch("LARDER_HEROKU_LEGACY"),
    }
}

fn log_hosts(source: &mut Source) -> Vec<HostPattern> {
    let text = source
        .text("LARDER_HEROKU_LOG_HOSTS")
        .unwrap_or("*.logplex.io");
    let hosts = text
        .split(',')
        .map(str::trim)
        .filter(|host| !host.is_empty());
    let parsed: Result<_, _> = hosts.map(str::parse).collect();
    parsed.unwrap_or_else(|error: BadHostPattern| {
        source.bad("LARDER_HEROKU_LOG_HOSTS", &error);
        Vec::new()
    })
}

pub(super) fn master_key(source: &mut Source) -> Option<MasterKey> {
    let text = match (
        source.text("LARDER_MASTER_KEY"),
        source.text("LARDER_MASTER_KEY_FILE"),
    ) {
        (Some(text), _) => text.to_owned(),
        (None, Some(path)) => match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                source.bad("LARDER_MASTER_KEY_FILE", &error);
                return None;
            }
        },
        (None, None) => {
            source.mistake(
                "LARDER_MASTER_KEY or LARDER_MASTER_KEY_FILE must be set; make a key with `openssl rand -base64 32`",
            );
            return None;
        }
    };
    let name = if source.text("LARDER_MASTER_KEY").is_some() {
        "LARDER_MASTER_KEY"
    } else {
        "LARDER_MASTER_KEY_FILE"
    };
    MasterKey::from_base64(&text)
        .map_err(|error| source.bad(name, &error))
        .ok()
}

/// Older keys, separated by commas, whose values must still open during a rotation.
pub(super) fn previous_keys(source: &mut Source) -> Vec<MasterKey> {
    let text = source
        .text("LARDER_MASTER_KEY_PREVIOUS")
        .unwrap_or_default()
        .to_owned();
    let keys: Result<Vec<_>, _> = text
        .split(',')
        .filter(|key| !key.trim().is_empty())
        .map(MasterKey::from_base64)
        .collect();
    keys.unwrap_or_else(|error| {
        source.bad("LARDER_MASTER_KEY_PREVIOUS", &error);
        Vec::new()
    })
}

pub(super) fn memcached(source: &mut Source) -> Memcached {
    let addr = source.parsed_or(
        "LARDER_MEMCACHED_ADDR",
        SocketAddr::from(([127, 0, 0, 1], 11211)),
    );
    let proxy_hostname = source
        .text("LARDER_PROXY_HOSTNAME")
        .map_or_else(machine::host_name, str::to_owned);
    if !proxy_hostname
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
    {
        source.bad("LARDER_PROXY_HOSTNAME", &"must be a host name");
    }
    Memcached {
        tls: tls(source),
        tls_detect: tls_detect(source),
        open: open_listener(source),
        proxy_hostname,
        proxy_port: source.parsed_or("LARDER_PROXY_PORT", addr.port()),
        threads: source
            .parsed_or("LARDER_ENGINE_THREADS", machine::cores())
            .max(1),
        memory_bytes: engine_memory(source),
        addr,
    }
}

/// Bytes, or a number with `KiB`, `MiB` or `GiB` behind it.
fn engine_memory(source: &mut Source) -> u64 {
    let Some(text) = source.text("LARDER_ENGINE_MEMORY") else {
        return machine::memory_bytes() / 5 * 4;
    };
    match machine::parse_bytes(text) {
        Some(bytes) if bytes >= 1 << 20 => bytes,
        _ => {
            source.bad(
                "LARDER_ENGINE_MEMORY",
                &"must be at least 1 MiB, as bytes or such as 512MiB or 4GiB",
            );
            1 << 30
        }
    }
}

fn tls(source: &mut Source) -> Option<Tls> {
    let addr = source.parsed("LARDER_MEMCACHED_TLS_ADDR")?;
    let mut file = |name: &str| {
        let path = source.text(name).map(PathBuf::from);
        if !path.as_ref().is_some_and(|path| path.is_file()) {
            source.bad(
                name,
                &"must name a readable file when LARDER_MEMCACHED_TLS_ADDR is set",
            );
        }
        path
    };
    let (certificate, key) = (file("LARDER_TLS_CERT"), file("LARDER_TLS_KEY"));
    Some(Tls {
        addr,
        certificate: certificate?,
        key: key?,
    })
}

/// The certificate is that of the TLS listener, so there must be one.
fn tls_detect(source: &mut Source) -> bool {
    let wanted = source.switch("LARDER_MEMCACHED_TLS_DETECT");
    if wanted && source.text("LARDER_MEMCACHED_TLS_ADDR").is_none() {
        let why = "needs LARDER_MEMCACHED_TLS_ADDR and its certificate";
        source.bad("LARDER_MEMCACHED_TLS_DETECT", &why);
    }
    wanted
}

fn open_listener(source: &mut Source) -> Option<OpenListener> {
    let addr: SocketAddr = source.parsed("LARDER_MEMCACHED_OPEN_ADDR")?;
    if !addr.ip().is_loopback() {
        source.bad(
            "LARDER_MEMCACHED_OPEN_ADDR",
            &"needs no login, so it must be a loopback address",
        );
        return None;
    }
    let cache = source
        .text("LARDER_MEMCACHED_OPEN_CACHE")
        .map(str::to_owned);
    if cache.is_none() {
        source.bad(
            "LARDER_MEMCACHED_OPEN_CACHE",
            &"must name a cache (external id) or be `dev`",
        );
    }
    Some(OpenListener {
        addr,
        cache: cache?,
    })
}
