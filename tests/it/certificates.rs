//! Client certificates from the owner's side: issued at the dashboard, used by clients that cannot log in, revoked.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use larder::access::{AccessError, CERTIFICATES_MAX, IssuedCertificate, Owner};
use larder::domain::{CacheId, Clock as _, Fingerprint, Username};
use larder::sandbox::{AddonId, ProvisionOptions, Sandbox};
use reqwest::StatusCode;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use secrecy::ExposeSecret as _;
use tempfile::TempDir;

use crate::engine_tls::make_certificate;
use crate::support::HEROKU;
use crate::support::authority::{Identity, TlsClient, TlsTalk};
use crate::support::control_plane::{ControlPlane, eventually};
use crate::support::dashboard::Dashboard;
use crate::support::db::{Database, on_each};
use crate::support::full_service::{free_port, sandbox_settings, settings};
use crate::support::looping::python;
use crate::support::process::Process;
use crate::support::{needs, on_both_databases};

on_both_databases!(a_client_that_cannot_log_in_comes_in_by_certificate);

/// Shop's app runs on a library that knows no login. Its owner gives it a certificate.
async fn a_client_that_cannot_log_in_comes_in_by_certificate(database: Database) {
    let fixture = CertificateFixture::start(&database).await;
    let process = Process::start(&fixture.base, &fixture.settings).await;
    let addon = fixture.provision().await;
    let mut owner = Dashboard::open(&fixture.sandbox, addon, &fixture.base).await;
    let primary = owner.usernames().await.remove(0);
    assert!(owner.page().await.contains(&fixture.tls.to_string()));

    let pem = owner.issue_certificate(&primary).await;
    let shop = Identity::from_pem(&pem);
    let mut client = fixture.connect(&shop);
    client.talk("version\r\n", "VERSION ");
    let mut client = fixture.connect(&shop);
    client.talk("ms k 5\r\nhello\r\n", "HD\r\n");
    fixture.real_clients(&pem).await;
    let list = owner.certificates_page(&primary).await;
    assert!(list.contains(&shop.fingerprint().to_string()));
    assert!(!list.contains("PRIVATE KEY"), "shown once");
    eventually("the use shows at the credential", async || {
        owner.page().await.contains("127.0.0.1</small>")
    })
    .await;

    // Restarting the service changes nothing for it.
    assert!(process.terminate().await.success());
    let process = Process::start(&fixture.base, &fixture.settings).await;
    let mut client = fixture.connect(&shop);
    client.talk("ms k 5\r\nhello\r\n", "HD\r\n");

    // The owner takes writing away, and gives it back.
    let capabilities = format!("credentials/{primary}/capabilities");
    owner.act(&capabilities, &[]).await;
    client.talk("ms k 5\r\nagain\r\n", "NS\r\n");
    owner.act(&capabilities, &[("write", "on")]).await;
    client.talk("ms k 5\r\nagain\r\n", "HD\r\n");

    // A second certificate replaces the first without a gap.
    let next = Identity::from_pem(&owner.issue_certificate(&primary).await);
    let mut newer = fixture.connect(&next);
    newer.talk("mg k v\r\n", "VA 5\r\nagain\r\n");
    let fingerprint = shop.fingerprint().to_string();
    let revoke = format!("credentials/{primary}/certificates/revoke");
    let form = [("fingerprint", fingerprint.as_str())];
    let asked = owner
        .act(&revoke, &form)
        .await
        .location
        .expect("a question");
    let question = owner.get(&asked).await.body;
    assert!(question.contains("closes <strong>1 live connection</strong>"));
    client.talk("mn\r\n", "MN\r\n");
    let form = [form[0], ("confirmed", "yes")];
    assert!(owner.act(&revoke, &form).await.status.is_redirection());
    assert!(
        owner
            .page()
            .await
            .contains(&format!("A certificate of {primary} was revoked"))
    );
    client.closed();
    assert!(fixture.connect(&shop).refusal().contains("Revoked"));
    newer.talk("mn\r\n", "MN\r\n");
    // A second click is no error.
    assert!(owner.act(&revoke, &form).await.status.is_redirection());

    // A secondary's certificate goes with it.
    let secondary = owner.add_credentials().await;
    let third = Identity::from_pem(&owner.issue_certificate(&secondary).await);
    let mut by_secondary = fixture.connect(&third);
    by_secondary.talk("mn\r\n", "MN\r\n");
    owner.delete(&secondary).await;
    by_secondary.closed();
    assert!(fixture.connect(&third).refusal().contains("Revoked"));
    newer.talk("mn\r\n", "MN\r\n");
    let events = owner.page().await;
    assert_eq!(events.matches("Certificate issued").count(), 3);
    assert_eq!(events.matches("Certificate revoked").count(), 1);

    assert!(process.terminate().await.success());
    fixture.sandbox.stop().await;
    database.drop().await;
}

/// What a service of its own process is told, and where it is found.
pub struct CertificateFixture {
    pub sandbox: Sandbox,
    pub base: String,
    pub settings: Vec<(String, String)>,
    tls: u16,
    pub folder: TempDir,
}

impl CertificateFixture {
    pub async fn start(database: &Database) -> CertificateFixture {
        let folder = tempfile::tempdir().expect("a folder");
        make_certificate(folder.path(), "server");
        let sandbox = Sandbox::start(sandbox_settings(None)).await;
        let sandbox = sandbox.expect("the sandbox starts");
        let base = format!("http://127.0.0.1:{}", free_port());
        sandbox.set_provider(
            &format!("{base}/heroku/resources"),
            &format!("{base}/heroku/sso"),
        );
        let tls = free_port();
        let mut settings = settings(&base, sandbox.url(), database, &folder);
        settings.extend(tls_settings(folder.path(), tls));
        CertificateFixture {
            sandbox,
            base,
            settings,
            tls,
            folder,
        }
    }

    pub async fn provision(&self) -> AddonId {
        let app = self.sandbox.create_app("shop").expect("a new app");
        let order = self
            .sandbox
            .provision(app, "dev", ProvisionOptions::default());
        order.await.expect("a cache").id
    }

    pub fn connect(&self, identity: &Identity) -> TlsTalk {
        let client = TlsClient::new(&self.trusted(), Some(identity));
        client.connect(SocketAddr::from(([127, 0, 0, 1], self.tls)))
    }

    fn trusted(&self) -> PathBuf {
        self.folder.path().join("server.pem")
    }

    /// Programs in other languages with what the dashboard says to do.
    async fn real_clients(&self, pem: &str) {
        let file = self.folder.path().join("client.pem");
        std::fs::write(&file, pem).expect("written");
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
        let ruby = Command::new("ruby").arg("-v").output().ok();
        let runners = [
            (
                needs(python(), "Python clients"),
                "python/by_certificate.py",
            ),
            (
                needs(ruby.map(|_| "ruby".to_owned()), "Ruby"),
                "ruby/by_certificate.rb",
            ),
        ];
        for (program, script) in runners {
            let Some(program) = program else { continue };
            let ran = tokio::process::Command::new(program)
                .arg(scripts.join(script))
                .env("SERVER", format!("localhost:{}", self.tls))
                .env("TRUST", self.trusted())
                .env("PEM", &file)
                .env("CACHE_CLIENT_PEM", pem)
                .stdin(Stdio::null())
                .kill_on_drop(true)
                .output();
            let output = ran.await.expect("it runs");
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{script}: {errors}");
        }
    }
}

/// TLS on this port, with the certificate `server` of this folder.
pub fn tls_settings(folder: &Path, port: u16) -> Vec<(String, String)> {
    let file = |name: &str| folder.join(name).display().to_string();
    [
        ("LARDER_MEMCACHED_TLS_ADDR", format!("127.0.0.1:{port}")),
        ("LARDER_TLS_CERT", file("server.pem")),
        ("LARDER_TLS_KEY", file("server.key")),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec()
}

/// Fingerprints that the node knows for this credential.
fn known(control: &ControlPlane, cache: CacheId, username: &Username) -> Vec<Fingerprint> {
    let spec = control.plane.spec(cache).expect("a cache");
    let mut credentials = spec.credentials.iter();
    let found = credentials.find(|credential| credential.username == *username);
    let certificates = found.map(|credential| credential.certificates.clone());
    certificates
        .unwrap_or_default()
        .iter()
        .map(|certificate| certificate.fingerprint)
        .collect()
}

/// One after whatever there is.
async fn issue(
    control: &ControlPlane,
    owner: &Owner,
    username: &Username,
) -> Result<IssuedCertificate, AccessError> {
    let all = control.access.certificates(owner).await?;
    let newest = all
        .iter()
        .find(|certificate| certificate.username == *username);
    let newest = newest.map(|certificate| certificate.fingerprint);
    let issued = control.access.issue_certificate(owner, username, newest);
    let (issued, _) = issued.await?.expect("nobody came in between");
    Ok(issued)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_few_and_each_page_issues_one() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let made = control.provision("r-1").await;
        let cache = made.resource.cache;
        let owner = control.owner(cache, "visit").await;
        let name = control.access.credentials(&owner).await.expect("a list")[0]
            .username
            .clone();
        assert!(control.plane.authorities.lock().is_empty(), "made on need");

        let first = issue(&control, &owner, &name).await.expect("issued");
        let print = first.certificate.fingerprint;
        assert_eq!(known(&control, cache, &name), [print]);
        assert_eq!(control.plane.authorities.lock().len(), 1);
        let pem = first.pem.expose_secret();
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).expect("PEM");
        assert_eq!(Fingerprint::of(&der), print);
        let validity = first.certificate.expires_at.since(control.clock.now());
        assert_eq!(validity.as_secs() / 86_400, 364, "a year, begun");

        // The same page again: nothing.
        let again = control.access.issue_certificate(&owner, &name, None);
        assert!(again.await.expect("answers").is_none());
        for _ in 1..CERTIFICATES_MAX {
            issue(&control, &owner, &name).await.expect("issued");
        }
        let full = issue(&control, &owner, &name).await.expect_err("full");
        assert!(matches!(full, AccessError::TooManyCertificates { max: 5 }));
        assert_eq!(known(&control, cache, &name).len(), 5);
        assert_eq!(control.plane.authorities.lock().len(), 1, "one CA for all");

        let revoked = control
            .access
            .revoke_certificate(&owner, &name, print)
            .await;
        revoked.expect("revoked");
        assert!(!known(&control, cache, &name).contains(&print));
        issue(&control, &owner, &name).await.expect("room again");
        // Expired ones give room, and leave the list a month later.
        control.clock.advance(Duration::from_secs(366 * 86_400));
        issue(&control, &owner, &name).await.expect("room again");
        assert_eq!(
            control
                .access
                .certificates(&owner)
                .await
                .expect("list")
                .len(),
            6
        );
        control.clock.advance(Duration::from_secs(31 * 86_400));
        control.access.tidy().await.expect("tidied");
        let owner = control.owner(cache, "another visit").await;
        assert_eq!(
            control
                .access
                .certificates(&owner)
                .await
                .expect("list")
                .len(),
            1
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_ends_anothers_certificate_and_all_end_with_what_they_stand_for() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let (mine, theirs) = (
            control.provision("r-1").await,
            control.provision("r-2").await,
        );
        let (mine, theirs) = (mine.resource.cache, theirs.resource.cache);
        let (me, they) = (
            control.owner(mine, "me").await,
            control.owner(theirs, "they").await,
        );
        let (secondary, _) = control.access.create(&me).await.expect("a credential");
        let primary = &control.access.credentials(&me).await.expect("a list")[0].username;
        let other = &control.access.credentials(&they).await.expect("a list")[0].username;
        let issued = issue(&control, &me, primary).await.expect("issued");
        let print = issued.certificate.fingerprint;
        issue(&control, &me, &secondary.username)
            .await
            .expect("issued");

        let access = &control.access;
        let foreign = access.revoke_certificate(&they, primary, print).await;
        assert!(matches!(foreign, Err(AccessError::UnknownCredential(_))));
        // by a name of their own, and by the wrong name of mine: without effect
        for (owner, name) in [(&they, other), (&me, &secondary.username)] {
            let without_effect = access.revoke_certificate(owner, name, print).await;
            without_effect.expect("no error");
        }
        assert_eq!(known(&control, mine, primary), [print]);
        let foreign = access.issue_certificate(&they, primary, Some(print)).await;
        assert!(matches!(foreign, Err(AccessError::UnknownCredential(_))));

        let removed = access.remove(&me, &secondary.username).await;
        removed.expect("removed");
        assert_eq!(access.certificates(&me).await.expect("a list").len(), 1);
        let id = "r-1".parse().expect("an id");
        let gone = control.provisioning.deprovision(HEROKU, &id);
        gone.await.expect("gone");
        let left = control.store.certificates(mine).await.expect("a list");
        assert!(left.is_empty(), "{left:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_ca_comes_before_the_last_one_ends() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let cache = control.provision("r-1").await.resource.cache;
        let owner = control.owner(cache, "visit").await;
        let name = &control.access.credentials(&owner).await.expect("a list")[0].username;
        issue(&control, &owner, name).await.expect("issued");
        control.clock.advance(Duration::from_secs(3_200 * 86_400));
        let owner = control.owner(cache, "second visit").await;
        issue(&control, &owner, name).await.expect("issued");
        assert_eq!(control.plane.authorities.lock().len(), 1);
        control.clock.advance(Duration::from_secs(100 * 86_400));
        let owner = control.owner(cache, "third visit").await;
        issue(&control, &owner, name).await.expect("issued");
        assert_eq!(
            control.plane.authorities.lock().len(),
            2,
            "both are believed"
        );
    })
    .await;
}

/// Two processes of one service issue the first certificates of all at the same moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn first_certificates_at_once_come_from_one_ca() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let mut owners = Vec::new();
        for number in 0..4 {
            let made = control.provision(&format!("r-{number}")).await;
            owners.push(
                control
                    .owner(made.resource.cache, &format!("v{number}"))
                    .await,
            );
        }
        let control = &control;
        let issuing = owners.iter().map(|owner| async move {
            let name = &control.access.credentials(owner).await.expect("a list")[0].username;
            issue(control, owner, name).await.expect("issued");
        });
        let mut issuing = issuing.collect::<Vec<_>>().into_iter();
        let four = (
            issuing.next(),
            issuing.next(),
            issuing.next(),
            issuing.next(),
        );
        if let (Some(a), Some(b), Some(c), Some(d)) = four {
            tokio::join!(a, b, c, d);
        }
        assert_eq!(control.store.authorities().await.expect("a list").len(), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_tls_none_is_offered() {
    let database = Database::sqlite();
    let fixture = CertificateFixture::start(&database).await;
    let plain: Vec<_> = fixture
        .settings
        .iter()
        .filter(|(name, _)| !name.contains("TLS"))
        .cloned()
        .collect();
    let process = Process::start(&fixture.base, &plain).await;
    let addon = fixture.provision().await;
    let mut owner = Dashboard::open(&fixture.sandbox, addon, &fixture.base).await;
    let primary = owner.usernames().await.remove(0);
    assert!(owner.page().await.contains("need a TLS address"));
    let page = owner.certificates_page(&primary).await;
    assert!(page.contains("No TLS address") && !page.contains("Issue certificate"));
    let action = format!("credentials/{primary}/certificates");
    let refused = owner.act(&action, &[("after", "")]).await;
    assert_eq!(refused.status, StatusCode::CONFLICT);
    assert!(process.terminate().await.success());
    fixture.sandbox.stop().await;
    database.drop().await;
}
