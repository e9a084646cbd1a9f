//! TLS for `larder dev`: a server certificate made on the first start, which is its own issuer and good for this
//! machine's names only.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use anyhow::Context as _;
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair};

use super::keys;

const CERTIFICATE: &str = "dev-tls.pem";
const KEY: &str = "dev-tls.key";
/// By custom TLS is on 11219 beside 11211.
const PORTS_FURTHER: u16 = 8;

/// What `dev` assumes about TLS beside this memcached address. Without an address where the port is taken: then
/// there is no TLS, and nothing else fails.
pub(super) fn defaults(
    data_dir: &Path,
    memcached: Option<SocketAddr>,
) -> anyhow::Result<Vec<(String, String)>> {
    let (certificate, key) = (data_dir.join(CERTIFICATE), data_dir.join(KEY));
    if !certificate.exists() || !key.exists() {
        make(&certificate, &key)
            .with_context(|| format!("cannot make {}", certificate.display()))?;
    }
    let named = |name: &str, value: String| (name.to_owned(), value);
    let mut settings = vec![
        named("LARDER_TLS_CERT", certificate.display().to_string()),
        named("LARDER_TLS_KEY", key.display().to_string()),
        // It is its own issuer. In full, so that the dashboard's samples run from any folder.
        named(
            "LARDER_TLS_CA",
            std::path::absolute(&certificate)?.display().to_string(),
        ),
    ];
    let addr = memcached.and_then(|addr| {
        let port = addr.port().checked_add(PORTS_FURTHER)?;
        Some(SocketAddr::new(addr.ip(), port))
    });
    if let Some(addr) = addr.filter(|addr| TcpListener::bind(addr).is_ok()) {
        settings.push(named("LARDER_MEMCACHED_TLS_ADDR", addr.to_string()));
    }
    Ok(settings)
}

fn make(certificate: &Path, key: &Path) -> anyhow::Result<()> {
    let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
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
    keys::keep(certificate, &signed.pem())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_made_once_and_tls_gives_way_to_whoever_has_the_port() {
        let folder = tempfile::tempdir().unwrap();
        let holder = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let taken = holder.local_addr().unwrap();
        let beside = SocketAddr::new(taken.ip(), taken.port() - PORTS_FURTHER);
        let without = defaults(folder.path(), Some(beside)).unwrap();
        let made = std::fs::read(folder.path().join(CERTIFICATE)).unwrap();
        drop(holder);
        let with = defaults(folder.path(), Some(beside)).unwrap();
        assert_eq!(with[..3], without);
        let addr = ("LARDER_MEMCACHED_TLS_ADDR".to_owned(), taken.to_string());
        assert_eq!(with[3..], [addr]);
        assert_eq!(
            std::fs::read(folder.path().join(CERTIFICATE)).unwrap(),
            made
        );
    }
}
