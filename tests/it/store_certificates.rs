//! The store's part in client certificates, on SQLite and on PostgreSQL.

use std::time::Duration;

use larder::domain::{
    Authority, CacheId, Certificate, Credential, Fingerprint, NodeId, Revision, Username,
};
use larder::store::caches::certificates::AuthorityRecord;
use larder::store::fleet::changes::{CacheChange, Part};
use larder::store::{Store, StoreError, Tx};
use secrecy::ExposeSecret as _;

use crate::store_battery::{by_hand, cache};
use crate::support::control_plane::plans;
use crate::support::db::{START, on_each};

fn authority(number: u32) -> AuthorityRecord {
    AuthorityRecord {
        number,
        certificate: Authority::from_der(format!("certificate {number}").as_bytes()),
        key: format!("key {number}").into_bytes().into(),
        expires_at: START.plus(Duration::from_secs(1_000)),
    }
}

fn certificate(username: &Username, issued_secs: u64) -> Certificate {
    let created_at = START.plus(Duration::from_secs(issued_secs));
    Certificate {
        fingerprint: Fingerprint::of(&issued_secs.to_be_bytes()),
        username: username.clone(),
        created_at,
        expires_at: created_at.plus(Duration::from_secs(100)),
    }
}

async fn primary(tx: &mut Tx, cache: larder::domain::CacheId) -> Credential {
    tx.primary_credential(cache).await.unwrap().unwrap()
}

#[tokio::test]
async fn the_first_ca_of_a_number_counts() {
    on_each(async |db| {
        let store = &db.store;
        let mut tx = store.begin().await.unwrap();
        assert!(tx.newest_authority().await.unwrap().is_none());
        assert!(tx.insert_authority(&authority(1), START).await.unwrap());
        assert!(!tx.insert_authority(&authority(1), START).await.unwrap());
        assert!(tx.insert_authority(&authority(2), START).await.unwrap());
        let newest = tx.newest_authority().await.unwrap().unwrap();
        assert_eq!((newest.number, newest.expires_at), (2, authority(2).expires_at));
        assert_eq!(newest.key.expose_secret(), b"key 2");
        tx.commit().await.unwrap();
        let all = store.authorities().await.unwrap();
        assert_eq!(all, [authority(1).certificate, authority(2).certificate]);

        // A key that was moved from its row does not open.
        let swap = "UPDATE authorities SET key_sealed = (SELECT key_sealed FROM authorities WHERE number = 1)";
        by_hand(db, swap).await;
        let mut tx = store.begin().await.unwrap();
        let moved = tx.newest_authority().await;
        assert!(matches!(moved, Err(StoreError::Seal(_))));
    })
    .await;
}

#[tokio::test]
async fn certificates_live_and_die_with_their_credential() {
    on_each(async |db| {
        let store = &db.store;
        let (mine, theirs) = (
            cache(store, "r-1", "AAAAAA").await,
            cache(store, "r-2", "BBBBBB").await,
        );
        let mut tx = store.begin().await.unwrap();
        let (me, they) = (primary(&mut tx, mine).await, primary(&mut tx, theirs).await);
        assert_eq!(tx.newest_certificate(me.id).await.unwrap(), None);
        let older = certificate(&me.username, 0);
        let newer = certificate(&me.username, 50);
        for one in [&older, &newer] {
            tx.insert_certificate(me.id, one).await.unwrap();
        }
        let other = certificate(&they.username, 10);
        tx.insert_certificate(they.id, &other).await.unwrap();
        let newest = tx.newest_certificate(me.id).await.unwrap();
        assert_eq!(newest, Some(newer.fingerprint));
        let good_at = |secs| START.plus(Duration::from_secs(secs));
        let just_before = older.expires_at.minus(Duration::from_micros(1));
        let count = tx.count_certificates(me.id, just_before).await.unwrap();
        assert_eq!(count, 2, "both are good until the older ends");
        for (secs, good) in [(0, 2), (99, 2), (100, 1), (150, 0)] {
            let count = tx.count_certificates(me.id, good_at(secs)).await.unwrap();
            assert_eq!(count, good, "at {secs}");
        }
        tx.insert_authority(&authority(1), START).await.unwrap();
        tx.bump(mine).await.unwrap();
        tx.commit().await.unwrap();
        let listed = store.certificates(mine).await.unwrap();
        assert_eq!(listed, [newer.clone(), older.clone()]);
        told(store, Revision(2), &[older.fingerprint, newer.fingerprint]).await;

        let mut tx = store.begin().await.unwrap();
        let wrong = tx.remove_certificate(they.id, older.fingerprint).await;
        assert!(!wrong.unwrap(), "of another credential");
        assert!(
            tx.remove_certificate(me.id, older.fingerprint)
                .await
                .unwrap()
        );
        assert!(
            !tx.remove_certificate(me.id, older.fingerprint)
                .await
                .unwrap()
        );
        tx.commit().await.unwrap();
        assert_eq!(
            store.certificates(mine).await.unwrap().as_slice(),
            std::slice::from_ref(&newer)
        );

        let mut tx = store.begin().await.unwrap();
        let twice = tx.insert_certificate(they.id, &newer).await;
        assert!(matches!(twice, Err(StoreError::Taken(_))));
        drop(tx);
        let mut tx = store.begin().await.unwrap();
        let theirs_end = good_at(110);
        let kept = tx.prune_certificates(theirs_end).await.unwrap();
        assert_eq!(kept, 0, "theirs ends at that very instant, not before it");
        let after = theirs_end.plus(Duration::from_micros(1));
        assert_eq!(tx.prune_certificates(after).await.unwrap(), 1, "theirs");
        tx.end_resource(mine, START).await.unwrap();
        tx.commit().await.unwrap();
        for cache in [mine, theirs] {
            assert_eq!(store.certificates(cache).await.unwrap(), []);
        }
    })
    .await;
}

/// What a node hears that is at `known`: these fingerprints of one cache, and the CA.
async fn told(store: &Store, known: Revision, fingerprints: &[Fingerprint]) {
    let node: NodeId = "node_1".parse().unwrap();
    let (first, plans) = (Part::behind(CacheId(0)), plans());
    let changes = store.changes_since(&node, known, first, &plans);
    let changes = changes.await.unwrap();
    assert_eq!(changes.authorities, [authority(1).certificate]);
    let [CacheChange::Serve(spec)] = &changes.caches[..] else {
        panic!("{changes:?}")
    };
    let mut listed: Vec<_> = spec.credentials[0].certificates.clone();
    listed.sort_by_key(|certificate| certificate.expires_at);
    let listed: Vec<_> = listed
        .iter()
        .map(|certificate| certificate.fingerprint)
        .collect();
    assert_eq!(listed, fingerprints);
    let nothing = store.changes_since(&node, changes.revision, first, &plans);
    assert!(nothing.await.unwrap().caches.is_empty());
}
