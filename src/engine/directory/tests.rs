use super::*;
use crate::domain::secret::VerifierKey;
use crate::domain::{CredentialSpec, Timestamp};
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
    assert!(new.is_opened_by(&Proof::Password(key().verifier(b"A00001", b"new"))));
}

#[test]
fn a_forgotten_cache_takes_everybody_with_it() {
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
fn flush_orders_are_due_once_and_forgotten_when_no_longer_named() {
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
