//! From when until when a client certificate is good, as a TLS server judges it.

use std::sync::Arc;
use std::time::Duration;

use larder::domain::{Clock as _, Timestamp};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use secrecy::ExposeSecret as _;

use crate::support::control_plane::ControlPlane;
use crate::support::db::on_each;

/// A certificate works at once on a machine whose clock is an hour late, and to the second as long as is said.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_good_from_an_hour_before_until_it_is_said_to_end() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let made = control.provision("r-1").await;
        let owner = control.owner(made.resource.cache, "visit").await;
        let now = control.clock.now();
        let issued = control
            .access
            .issue_certificate(&owner, &made.values.username, None)
            .await;
        let (issued, _) = issued.expect("answers").expect("issued");
        let pem = issued.pem.expose_secret().as_bytes();
        let certificate = CertificateDer::from_pem_slice(pem).expect("PEM");

        let mut roots = RootCertStore::empty();
        for authority in control.store.authorities().await.expect("the CAs") {
            let der = CertificateDer::from(authority.der().to_vec());
            roots.add(der).expect("a CA");
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        let verifier = verifier.build().expect("a verifier");
        let good = |at: Timestamp| {
            let secs = u64::try_from(at.secs()).expect("after 1970");
            let at = UnixTime::since_unix_epoch(Duration::from_secs(secs));
            verifier.verify_client_cert(&certificate, &[], at).is_ok()
        };
        let secs = Duration::from_secs;
        assert!(good(now.minus(secs(3_600))), "a clock that is an hour late");
        assert!(!good(now.minus(secs(3_602))), "one that is later");
        assert!(good(now));
        let end = issued.certificate.expires_at;
        assert!(good(end));
        assert!(!good(end.plus(secs(1))));
    })
    .await;
}
