use super::*;
use crate::domain::secret::VerifierKey;
use crate::domain::{CertificateSpec, CredentialSpec, Timestamp};
use crate::engine::auth::Standing;
use crate::engine::storage::{EngineClock, Pool, Tenant};

fn key() -> VerifierKey {
    VerifierKey::from_bytes(&[3; 32])
}

fn credential(username: &str, password: &str, capabilities: Capabilities) -> CredentialSpec {
    CredentialSpec {
        username: username.parse().unwrap(),
        verifier: key().verifier(username.as_bytes(), password.as_bytes()),
        capabilities,
        certificates: Vec::new(),
    }
}

fn spec(credentials: Vec<CredentialSpec>) -> CacheSpec {
    CacheSpec {
        cache: CacheId(1),
        label: "A00001".to_owned(),
        limit_bytes: 1 << 20,
        connections_max: 5,
        credentials,
        flush_orders: Vec::new(),
    }
}

fn apply(directory: &MemoryDirectory, spec: &CacheSpec) -> Vec<FlushOrder> {
    let make = || {
        let tenant = Tenant::new(1 << 20, &Pool::new(1 << 30), &EngineClock::system());
        Tenancy::new(spec.cache, tenant, 5, 1, Timestamp::from_secs(0))
    };
    directory.apply(spec, make).1
}

#[test]
fn a_surviving_credential_keeps_its_account_and_changes_in_place() {
    let directory = MemoryDirectory::default();
    apply(
        &directory,
        &spec(vec![credential("A00001", "p", Capabilities::ALL)]),
    );
    let before = directory.find(b"A00001").unwrap();
    apply(
        &directory,
        &spec(vec![credential("A00001", "p", Capabilities::NONE)]),
    );
    let after = directory.find(b"A00001").unwrap();
    assert!(Arc::ptr_eq(&before, &after));
    assert_eq!(before.standing(), Standing::Valid(Capabilities::NONE));
    assert_eq!(directory.revocations(), 0);
}

#[test]
fn a_removed_credential_is_unknown_and_revoked_for_good() {
    let directory = MemoryDirectory::default();
    let both = vec![
        credential("A00001", "p", Capabilities::ALL),
        credential("A00002", "q", Capabilities::ALL),
    ];
    apply(&directory, &spec(both.clone()));
    let gone = directory.find(b"A00002").unwrap();
    apply(&directory, &spec(both[..1].to_vec()));
    assert!(directory.find(b"A00002").is_none());
    assert!(gone.is_revoked());
    gone.set_capabilities(Capabilities::ALL);
    assert!(gone.is_revoked());
    assert!(directory.find(b"A00001").is_some());
    apply(&directory, &spec(both));
    assert!(!directory.find(b"A00002").unwrap().is_revoked());
}

#[test]
fn another_password_makes_another_account() {
    let directory = MemoryDirectory::default();
    apply(
        &directory,
        &spec(vec![credential("A00001", "old", Capabilities::ALL)]),
    );
    let old = directory.find(b"A00001").unwrap();
    apply(
        &directory,
        &spec(vec![credential("A00001", "new", Capabilities::ALL)]),
    );
    let new = directory.find(b"A00001").unwrap();
    assert!(old.is_revoked() && !new.is_revoked());
    assert!(new.has_proof(&Proof::Password(key().verifier(b"A00001", b"new"))));
}

#[test]
fn a_forgotten_cache_revokes_all_its_accounts() {
    let directory = MemoryDirectory::default();
    apply(
        &directory,
        &spec(vec![credential("A00001", "p", Capabilities::ALL)]),
    );
    let account = directory.find(b"A00001").unwrap();
    let open = directory.open_account(CacheId(1)).unwrap();
    assert!(directory.forget(CacheId(1)));
    assert!(account.is_revoked() && open.is_revoked());
    assert!(directory.find(b"A00001").is_none());
    assert!(directory.open_account(CacheId(1)).is_none());
    assert!(!directory.forget(CacheId(1)));
}

#[test]
fn flush_orders_are_due_once_and_forgotten_when_specs_drop_them() {
    let directory = MemoryDirectory::default();
    let order = FlushOrder {
        id: FlushId::generate(Timestamp::from_secs(1)),
        origin: crate::domain::Origin::WebInterface,
        reason: None,
    };
    let ordered = CacheSpec {
        flush_orders: vec![order.clone()],
        ..spec(vec![])
    };
    assert_eq!(apply(&directory, &ordered), [order]);
    assert_eq!(apply(&directory, &ordered), []);
    assert_eq!(apply(&directory, &spec(vec![])), []);
    assert!(directory.caches.lock()[&CacheId(1)].flushed.is_empty());
}

/// From its end on it is refused, and its account is revoked; not before.
#[test]
fn a_certificate_ends_at_its_very_instant() {
    let directory = MemoryDirectory::default();
    let (fingerprint, end) = (Fingerprint::of(b"a certificate"), Timestamp::from_secs(100));
    let just_before = end.minus(std::time::Duration::from_micros(1));
    let mut owner = credential("A00001", "p", Capabilities::ALL);
    owner.certificates.push(CertificateSpec {
        fingerprint,
        expires_at: end,
    });
    apply(&directory, &spec(vec![owner]));
    let found = |now| directory.find_certified(&fingerprint, now);
    let account = found(just_before).unwrap();
    assert!(found(end).is_none());

    directory.retire_expired(just_before);
    assert!(!account.is_revoked());
    directory.retire_expired(end);
    assert!(account.is_revoked());
    assert!(found(just_before).is_none(), "for good");
    assert!(!directory.find(b"A00001").unwrap().is_revoked());
}

/// What counts up stays when a cache leaves; what a node holds does not.
#[test]
fn totals_count_the_caches_that_are_here() {
    let directory = MemoryDirectory::default();
    assert_eq!(directory.totals().caches, 0);
    for number in 1..=3 {
        let other = CacheSpec {
            cache: CacheId(number),
            ..spec(vec![])
        };
        apply(&directory, &other);
        let tenancy = directory.tenancy(CacheId(number)).unwrap();
        tenancy.traffic(0).moved(10, 20);
        tenancy.traffic(0).login_failed();
    }
    directory.forget(CacheId(2));
    let totals = directory.totals();
    assert_eq!(totals.caches, 2);
    let traffic = totals.traffic;
    assert_eq!((traffic.bytes_read, traffic.bytes_written), (30, 60));
    assert_eq!((traffic.auth_cmds, traffic.auth_errors), (3, 3));
}
