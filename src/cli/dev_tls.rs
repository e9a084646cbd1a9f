//! TLS for `larder dev`: a server certificate made on the first start, which is its own issuer and good for this
//! machine's names and the one that config vars announce.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use anyhow::Context as _;
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair};

use super::keys;
use crate::config::{Environment, settings};

const CERTIFICATE: &str = "dev-tls.pem";
const KEY: &str = "dev-tls.key";
const THIS_MACHINE: [&str; 3] = ["localhost", "127.0.0.1", "::1"];
/// Begins the first line of the file, which readers of PEM pass over. The names follow.
const MADE_FOR: &str = "Made by `larder dev` for ";
/// By custom TLS is on 11219 beside 11211.
const PORTS_FURTHER: u16 = 8;

/// What `dev` assumes about TLS on top of these settings. Without an address where the port is taken, by another program
/// or by us: then there is no TLS, and nothing else fails.
pub(super) fn defaults(
    data_dir: &Path,
    layers: &Environment,
) -> anyhow::Result<Vec<(String, String)>> {
    // Who brings a certificate brings its key, and says who signed it where clients do not know.
    let is_own = layers.has(&settings::TLS_CERT) || layers.has(&settings::TLS_KEY);
    let mut assumed = match is_own {
        true => Vec::new(),
        false => made(data_dir, layers.peek(&settings::PROXY_HOSTNAME))?,
    };
    let memcached = layers.peek(&settings::MEMCACHED_ADDR);
    let addr = memcached.and_then(|addr| {
        let port = addr.port().checked_add(PORTS_FURTHER)?;
        Some(SocketAddr::new(addr.ip(), port))
    });
    let is_free = |addr: &SocketAddr| !is_ours(*addr, layers) && TcpListener::bind(addr).is_ok();
    if let Some(addr) = addr.filter(is_free) {
        assumed.push(("LARDER_MEMCACHED_TLS_ADDR".to_owned(), addr.to_string()));
    }
    Ok(assumed)
}

/// Whether another listener of ours is to have this port.
fn is_ours(addr: SocketAddr, layers: &Environment) -> bool {
    let others = [
        &settings::HTTP_ADDR,
        &settings::METRICS_ADDR,
        &settings::SANDBOX_ADDR,
    ];
    let mut others = others
        .into_iter()
        .filter_map(|setting| layers.peek(setting));
    others.any(|other| other.port() == addr.port())
}

/// The certificate of this folder, made first where there is none for these names. `announced` is the one in SERVERS, which
/// clients compare with it.
fn made(data_dir: &Path, announced: Option<String>) -> anyhow::Result<Vec<(String, String)>> {
    let (certificate, key) = (data_dir.join(CERTIFICATE), data_dir.join(KEY));
    let mut names = THIS_MACHINE.map(str::to_owned).to_vec();
    let new = announced.filter(|name| !names.contains(name));
    names.extend(new);
    if !key.exists() || !is_for(&certificate, &names) {
        make(&certificate, &key, names)
            .with_context(|| format!("cannot make {}", certificate.display()))?;
    }
    // It is its own issuer. In full, so that the dashboard's samples run from any folder.
    let trusted = std::path::absolute(&certificate)?;
    Ok([
        ("LARDER_TLS_CERT", certificate),
        ("LARDER_TLS_KEY", key),
        ("LARDER_TLS_CA", trusted),
    ]
    .map(|(name, path)| (name.to_owned(), path.display().to_string()))
    .to_vec())
}

/// Whether the certificate there is good for these names. One without a first line is of a release that made them for this
/// machine alone.
fn is_for(certificate: &Path, names: &[String]) -> bool {
    let text = fs::read_to_string(certificate).unwrap_or_default();
    match text.lines().next().map(|line| line.strip_prefix(MADE_FOR)) {
        None => false,
        Some(None) => names == THIS_MACHINE,
        Some(Some(made_for)) => made_for == names.join(", "),
    }
}

fn make(certificate: &Path, key: &Path, names: Vec<String>) -> anyhow::Result<()> {
    let first_line = format!("{MADE_FOR}{}\n", names.join(", "));
    let mut params = CertificateParams::new(names)?;
    params
        .distinguished_name
        .push(DnType::CommonName, "larder dev");
    params.is_ca = IsCa::ExplicitNoCa;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let pair = KeyPair::generate()?;
    let signed = params.self_signed(&pair)?;
    keys::keep(key, &pair.serialize_pem())?;
    keys::keep(certificate, &format!("{first_line}{}", signed.pem()))
}

#[cfg(test)]
mod tests {
    use rustls::client::verify_server_name;
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, ServerName};
    use rustls::server::ParsedCertificate;

    use super::*;

    fn layers(given: &[(&str, String)]) -> Environment {
        let given = given.iter();
        Environment {
            environment: given
                .map(|(name, value)| ((*name).to_owned(), value.clone()))
                .collect(),
            dev: vec![("LARDER_PROXY_HOSTNAME".to_owned(), "localhost".to_owned())],
            ..Environment::default()
        }
    }

    #[test]
    fn a_certificate_is_made_once_and_tls_gives_way_to_whoever_has_the_port() {
        let folder = tempfile::tempdir().unwrap();
        let holder = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let taken = holder.local_addr().unwrap();
        let beside = SocketAddr::new(taken.ip(), taken.port() - PORTS_FURTHER);
        let layers = layers(&[("LARDER_MEMCACHED_ADDR", beside.to_string())]);
        let without = defaults(folder.path(), &layers).unwrap();
        let made = std::fs::read(folder.path().join(CERTIFICATE)).unwrap();
        drop(holder);
        let with = defaults(folder.path(), &layers).unwrap();
        assert_eq!(with[..3], without);
        let addr = ("LARDER_MEMCACHED_TLS_ADDR".to_owned(), taken.to_string());
        assert_eq!(with[3..], [addr]);
        assert_eq!(
            std::fs::read(folder.path().join(CERTIFICATE)).unwrap(),
            made
        );
    }

    #[test]
    fn tls_gives_way_to_our_own_listeners() {
        let folder = tempfile::tempdir().unwrap();
        let before_http = ("LARDER_MEMCACHED_ADDR", "127.0.0.1:8072".to_owned());
        let assumed = defaults(folder.path(), &layers(&[before_http])).unwrap();
        assert_eq!(assumed.len(), 3, "{assumed:?}");
    }

    /// SERVERS announces it, and clients compare it with the certificate.
    #[test]
    fn the_certificate_is_for_the_name_that_is_announced_too() {
        let folder = tempfile::tempdir().unwrap();
        let is_good_for = |name: &str| {
            let path = folder.path().join(CERTIFICATE);
            let certificate = CertificateDer::from_pem_file(path).unwrap();
            let parsed = ParsedCertificate::try_from(&certificate).unwrap();
            let name = ServerName::try_from(name).unwrap();
            verify_server_name(&parsed, &name).is_ok()
        };
        for (announced, also) in [
            ("localhost", false),
            ("cache.test", true),
            ("localhost", false),
        ] {
            let layers = layers(&[("LARDER_PROXY_HOSTNAME", announced.to_owned())]);
            defaults(folder.path(), &layers).unwrap();
            for name in THIS_MACHINE {
                assert!(is_good_for(name), "{name} beside {announced}");
            }
            assert_eq!(is_good_for("cache.test"), also, "{announced}");
        }
    }

    #[test]
    fn a_certificate_of_an_earlier_release_stays() {
        let folder = tempfile::tempdir().unwrap();
        defaults(folder.path(), &layers(&[])).unwrap();
        let path = folder.path().join(CERTIFICATE);
        let text = std::fs::read_to_string(&path).unwrap();
        let (_, earlier) = text.split_once('\n').unwrap();
        std::fs::write(&path, earlier).unwrap();
        defaults(folder.path(), &layers(&[])).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), earlier);
    }

    /// The samples then name no file of ours either.
    #[test]
    fn whoever_brings_a_certificate_gets_none() {
        let folder = tempfile::tempdir().unwrap();
        let given = [
            ("LARDER_TLS_CERT", "own.pem".to_owned()),
            ("LARDER_TLS_KEY", "own.key".to_owned()),
            ("LARDER_MEMCACHED_ADDR", "127.0.0.1:65535".to_owned()),
        ];
        let assumed = defaults(folder.path(), &layers(&given)).unwrap();
        assert!(assumed.is_empty(), "{assumed:?}");
        assert!(!folder.path().join(CERTIFICATE).exists());
    }
}
