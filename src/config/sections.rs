//! What must hold between settings: one function per group, which notes what is wrong.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use secrecy::SecretString;

use super::setting::Setting;
use super::settings;
use super::source::Source;
use super::{
    DEV_KEYS, Heroku, Limits, LinkListener, LinkTls, Manifest, Memcached, MemcachedLimits,
    NodePart, OpenListener, PRIVATE_CACHE, Process, Runs, ShownTls, Tls, manifest,
};
use crate::domain::{ConfigVarNames, Product};
use crate::http::outbound::Url;
use crate::store::db::seal::MasterKey;
use crate::web::PublicUrl;

const HTTPS_ONLY: &str = "must be https (LARDER_ALLOW_HTTP=on allows http, for tests)";

fn allow_http(source: &Source) -> bool {
    source.get(&settings::ALLOW_HTTP).unwrap_or(false)
}

pub(super) fn public_url(source: &mut Source) -> Option<PublicUrl> {
    let url = source.get(&settings::PUBLIC_URL)?;
    if !url.is_https() && !allow_http(source) && !is_local(&url) {
        source.bad(&settings::PUBLIC_URL.about, &HTTPS_ONLY);
    }
    Some(url)
}

/// Figures tell an attacker what works, so only this machine reads them without a token (security.md OP-1).
fn metrics_addr(source: &mut Source) -> Option<SocketAddr> {
    let addr = source.get(&settings::METRICS_ADDR)?;
    if !addr.ip().is_loopback() && !source.is_given(&settings::METRICS_TOKEN) {
        let why = "is not a loopback address, so LARDER_METRICS_TOKEN must be set";
        source.bad(&settings::METRICS_ADDR.about, &why);
    }
    Some(addr)
}

pub(super) fn process(source: &mut Source, warnings: Vec<String>) -> Option<Process> {
    Some(Process {
        metrics_addr: metrics_addr(source)?,
        data_dir: source.get(&settings::DATA_DIR)?,
        metrics_token: source.get(&settings::METRICS_TOKEN),
        allow_dumps: source.get(&settings::ALLOW_DUMPS)?,
        log_filter: source.get(&settings::LOG)?,
        log_format: source.get(&settings::LOG_FORMAT)?,
        shutdown: source.get(&settings::SHUTDOWN_SECS)?,
        shutdown_delay: source.get(&settings::SHUTDOWN_DELAY_SECS)?,
        warnings,
    })
}

/// Whether a URL names this machine only, so that nobody outside can meet the service there.
pub(super) fn is_local(url: &PublicUrl) -> bool {
    Url::parse(url.origin()).is_ok_and(|url| is_loopback(&url))
}

pub(super) fn is_loopback(url: &Url) -> bool {
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
    let named = source.get(&settings::MANIFEST);
    let is_named = named.is_some();
    let path = named.unwrap_or_else(|| "addon-manifest.json".into());
    let (file, text) = match std::fs::read_to_string(&path) {
        // without a file here, the one this program was built with
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !is_named => {
            let built_in = include_str!("../../addon-manifest.json");
            (None, Ok(built_in.to_owned()))
        }
        read => (Some(path), read),
    };
    match text
        .map_err(|error| vec![error.to_string()])
        .and_then(|text| Manifest::parse(&text))
    {
        Ok(mut manifest) => {
            manifest.file = file;
            Some(manifest)
        }
        Err(faults) => {
            let name = file.map_or_else(
                || "built-in manifest".to_owned(),
                |file| file.display().to_string(),
            );
            for fault in faults {
                source.mistake(format!("LARDER_MANIFEST ({name}): {fault}"));
            }
            None
        }
    }
}

/// What is sold here. The manifest has it for Heroku, and for every marketplace where the settings say nothing else.
pub(super) fn product(source: &mut Source, manifest: &Manifest) -> Product {
    let name = source.get(&settings::PRODUCT_NAME);
    let prefix = source.get(&settings::VARIABLES_PREFIX);
    let regions = source.get(&settings::REGIONS);
    Product {
        id: manifest.id.clone(),
        name: name.unwrap_or_else(|| manifest.display_name().to_owned()),
        variables: prefix.map_or_else(
            || manifest.variables(),
            |prefix| ConfigVarNames::with_prefix(&prefix),
        ),
        regions: regions.unwrap_or_else(|| manifest.api.regions.clone()),
    }
}

pub(super) fn heroku(source: &mut Source, manifest: Option<&Manifest>) -> Option<Heroku> {
    // A placeholder is known to everybody, whatever address we listen on.
    let mut inbound = |setting: &Setting<SecretString>, in_manifest: Option<&SecretString>| {
        if source.is_given(setting) {
            // What is wrong with one that is given, its parser has said.
            return source.get(setting).unwrap_or_default();
        }
        if in_manifest.is_some_and(manifest::is_placeholder) {
            let name = setting.about.name;
            source.mistake(format!(
                "{name} is not set, and the manifest holds only a placeholder; `larder admin manifest` makes one"
            ));
        }
        // without a manifest there is no start anyway, only a list of mistakes
        in_manifest.cloned().unwrap_or_default()
    };
    let api = manifest.map(|manifest| &manifest.api);
    let password = inbound(&settings::HEROKU_PASSWORD, api.map(|api| &api.password));
    let sso_salt = inbound(&settings::HEROKU_SSO_SALT, api.map(|api| &api.sso_salt));
    let mut url = |setting: &'static Setting<String>| {
        let url = source.get(setting)?;
        if !url.starts_with("https://") && !allow_http(source) {
            source.bad(&setting.about, &HTTPS_ONLY);
        }
        Some(url)
    };
    let (id_url, api_url, addons_url) = (
        url(&settings::HEROKU_ID_URL),
        url(&settings::HEROKU_API_URL),
        url(&settings::HEROKU_ADDONS_URL),
    );
    Some(Heroku {
        password,
        password_previous: source.get(&settings::HEROKU_PASSWORD_PREVIOUS),
        sso_salt,
        sso_salt_previous: source.get(&settings::HEROKU_SSO_SALT_PREVIOUS),
        previous_until: source.get(&settings::HEROKU_PREVIOUS_UNTIL),
        variables: manifest.map(Manifest::variables)?,
        client_secret: source.get(&settings::HEROKU_CLIENT_SECRET),
        id_url: id_url?,
        api_url: api_url?,
        addons_url: addons_url?,
        log_hosts: source.get(&settings::HEROKU_LOG_HOSTS)?,
        reconcile_every: source.get(&settings::HEROKU_RECONCILE_SECS)?,
        legacy: source.get(&settings::HEROKU_LEGACY)?,
    })
}

pub(super) fn master_key(source: &mut Source) -> Option<MasterKey> {
    if source.is_given(&settings::MASTER_KEY) {
        return source.get(&settings::MASTER_KEY);
    }
    let Some(path) = source.get(&settings::MASTER_KEY_FILE) else {
        let way_out = key_to_use(source);
        source.mistake(format!(
            "LARDER_MASTER_KEY or LARDER_MASTER_KEY_FILE must be set; {way_out}"
        ));
        return None;
    };
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string());
    let key =
        text.and_then(|text| MasterKey::from_base64(&text).map_err(|error| error.to_string()));
    key.map_err(|why| source.bad(&settings::MASTER_KEY_FILE.about, &why))
        .ok()
}

/// A new key opens nothing of a database that is there already.
fn key_to_use(source: &Source) -> String {
    let data_dir = source.get(&settings::DATA_DIR).unwrap_or_default();
    let made_by_dev = data_dir.join(DEV_KEYS);
    match made_by_dev.exists() {
        true => format!(
            "{} holds that of the database which `larder dev` made here, and no other key opens it",
            made_by_dev.display()
        ),
        false => "make a key with `openssl rand -base64 32`".to_owned(),
    }
}

pub(super) fn node(source: &mut Source, runs: Runs) -> Option<NodePart> {
    let memcached = memcached(source, runs);
    Some(NodePart {
        memcached: memcached?,
        cluster: source.get(&settings::CLUSTER)?,
        region: source.get(&settings::REGION)?,
        region_is_given: source.is_given(&settings::REGION),
    })
}

fn memcached(source: &mut Source, runs: Runs) -> Option<Memcached> {
    let (tls, open) = (tls(source), open_listener(source, runs));
    check_tls_detect(source);
    Some(Memcached {
        addr: source.get(&settings::MEMCACHED_ADDR)?,
        tls,
        tls_detect: source.get(&settings::MEMCACHED_TLS_DETECT)?,
        open,
        proxy_hostname: source.get(&settings::PROXY_HOSTNAME)?,
        proxy_port: source.get(&settings::PROXY_PORT)?,
        threads: source.get(&settings::ENGINE_THREADS)?,
        memory_bytes: source.get(&settings::ENGINE_MEMORY)?,
        limits: MemcachedLimits {
            login: source.get(&settings::MEMCACHED_LOGIN_SECS)?,
            line_bytes: source.get(&settings::MEMCACHED_LINE_BYTES)?,
            request: source.get(&settings::MEMCACHED_REQUEST_SECS)?,
            unread_bytes: source.get(&settings::MEMCACHED_UNREAD_BYTES)?,
            unread: source.get(&settings::MEMCACHED_UNREAD_SECS)?,
        },
    })
}

pub(super) fn limits(source: &Source) -> Option<Limits> {
    Some(Limits {
        http_body_bytes: source.get(&settings::HTTP_BODY_BYTES)?,
        http_request: source.get(&settings::HTTP_REQUEST_SECS)?,
        session_idle: source.get(&settings::SESSION_IDLE_SECS)?,
        session_age: source.get(&settings::SESSION_SECS)?,
    })
}

pub(super) fn shown_tls(source: &Source) -> Option<ShownTls> {
    let addr = source.get(&settings::MEMCACHED_TLS_ADDR)?;
    Some(ShownTls {
        port: addr.port(),
        ca: source.get(&settings::TLS_CA),
    })
}

fn tls(source: &mut Source) -> Option<Tls> {
    let addr = source.get(&settings::MEMCACHED_TLS_ADDR)?;
    let why = "must name a readable file when LARDER_MEMCACHED_TLS_ADDR is set";
    let certificate = file(source, &settings::TLS_CERT, why);
    let key = file(source, &settings::TLS_KEY, why);
    Some(Tls {
        addr,
        certificate: certificate?,
        key: key?,
    })
}

/// A file that must be there: else `why` is noted.
fn file(source: &mut Source, setting: &'static Setting<PathBuf>, why: &str) -> Option<PathBuf> {
    let path = source.get(setting);
    if !path.as_ref().is_some_and(|path| path.is_file()) {
        source.bad(&setting.about, &why);
    }
    path
}

/// The certificate is that of the TLS listener, so there must be one.
fn check_tls_detect(source: &mut Source) {
    let wanted = source.get(&settings::MEMCACHED_TLS_DETECT) == Some(true);
    if wanted && !source.is_given(&settings::MEMCACHED_TLS_ADDR) {
        let why = "needs LARDER_MEMCACHED_TLS_ADDR and its certificate";
        source.bad(&settings::MEMCACHED_TLS_DETECT.about, &why);
    }
}

fn open_listener(source: &mut Source, runs: Runs) -> Option<OpenListener> {
    let addr: SocketAddr = source.get(&settings::MEMCACHED_OPEN_ADDR)?;
    if !addr.ip().is_loopback() {
        let why = "needs no login, so it must be a loopback address";
        source.bad(&settings::MEMCACHED_OPEN_ADDR.about, &why);
    }
    let cache = source.get(&settings::MEMCACHED_OPEN_CACHE);
    let why = match (runs, cache.as_deref()) {
        (Runs::Node, Some(PRIVATE_CACHE)) => None,
        (Runs::Node, _) => Some(
            "must be `dev`, a private cache: a node does not know external ids, which are in the database",
        ),
        (_, None) => Some("must name a cache (external id) or be `dev`"),
        (_, Some(_)) => None,
    };
    if let Some(why) = why {
        source.bad(&settings::MEMCACHED_OPEN_CACHE.about, &why);
    }
    Some(OpenListener {
        addr,
        cache: cache?,
    })
}

/// Where nodes of other processes connect. They get verifiers there, so it is TLS but on loopback.
pub(super) fn link(source: &mut Source, runs: Runs) -> Option<LinkListener> {
    if !runs.may_take_nodes() {
        return None;
    }
    match (source.is_given(&settings::LINK_ADDR), runs) {
        (true, _) => {}
        (false, Runs::Control) => {
            source.mistake("LARDER_LINK_ADDR must be set: without it no node reaches this process")
        }
        (false, _) => return None,
    }
    let enrolment = enrolment(source);
    let addr = source.get(&settings::LINK_ADDR)?;
    Some(LinkListener {
        addr,
        tls: link_tls(source, addr),
        enrolment,
    })
}

fn link_tls(source: &mut Source, addr: SocketAddr) -> Option<LinkTls> {
    let is_wanted =
        source.is_given(&settings::LINK_TLS_CERT) || source.is_given(&settings::LINK_TLS_KEY);
    if !is_wanted {
        if !addr.ip().is_loopback() && !allow_http(source) {
            let why = "is not a loopback address, so LARDER_LINK_TLS_CERT and LARDER_LINK_TLS_KEY must be set \
                       (LARDER_ALLOW_HTTP=on allows http, for tests)";
            source.bad(&settings::LINK_ADDR.about, &why);
        }
        return None;
    }
    let why = "must name a readable file: the link's TLS takes a certificate and its key";
    let certificate = file(source, &settings::LINK_TLS_CERT, why);
    let key = file(source, &settings::LINK_TLS_KEY, why);
    Some(LinkTls {
        certificate: certificate?,
        key: key?,
    })
}

/// What a node enrols with: the present token, then the one before.
pub(super) fn enrolment(source: &mut Source) -> Vec<SecretString> {
    if !source.is_given(&settings::NODE_TOKEN) {
        source.mistake(
            "LARDER_NODE_TOKEN must be set, to the same at control processes and nodes: make one with \
             `openssl rand -hex 32`",
        );
    }
    let tokens = [&settings::NODE_TOKEN, &settings::NODE_TOKEN_PREVIOUS];
    tokens
        .into_iter()
        .filter_map(|setting| source.get(setting))
        .collect()
}

pub(super) fn control_urls(source: &mut Source) -> Option<Vec<Url>> {
    if !source.is_given(&settings::CONTROL_URL) {
        source.mistake(
            "LARDER_CONTROL_URL must be set: to where control processes have LARDER_LINK_ADDR, such as \
             https://control.example.com:7000",
        );
    }
    let urls = source.get(&settings::CONTROL_URL)?;
    let is_safe = |url: &Url| url.scheme() == "https" || is_loopback(url);
    if !allow_http(source) && !urls.iter().all(is_safe) {
        source.bad(&settings::CONTROL_URL.about, &HTTPS_ONLY);
    }
    Some(urls)
}

/// The file of the one authority that a node believes, where it is named.
pub(super) fn link_ca(source: &mut Source) -> Option<PathBuf> {
    if !source.is_given(&settings::LINK_CA) {
        return None;
    }
    file(source, &settings::LINK_CA, "must name a readable file")
}
