//! Lists of changes that come in parts.

use std::time::Duration;

use larder::domain::{Actor, Authority, CacheId, FlushId, FlushOrder, Identity, Origin, Revision};
use larder::store::Store;
use larder::store::caches::certificates::AuthorityRecord;
use larder::store::fleet::changes::{CacheChange, Changes, Part};

use super::{add, cache, heard_of, node, node_id};
use crate::support::control_plane::plans;
use crate::support::db::{START, on_each};

async fn part(store: &Store, known: i64, after: CacheId, most: u32) -> Changes {
    let (node, plans, part) = (node_id(), plans(), Part { after, most });
    let changes = store.changes_since(&node, Revision(known), part, &plans);
    changes.await.unwrap()
}

/// All parts of a list, each of two changed caches.
async fn in_twos(store: &Store, known: i64) -> Vec<Changes> {
    let mut parts: Vec<Changes> = Vec::new();
    let mut next = Some(CacheId(0));
    while let Some(after) = next {
        let changes = part(store, known, after, 2).await;
        next = changes.more_after;
        parts.push(changes);
    }
    parts
}

/// The user names of a cache and the number of its flush orders; nothing for one that is to be forgotten.
type Told = (CacheId, Option<(Vec<String>, usize)>);

fn told(changes: &Changes) -> Vec<Told> {
    let told = |change: &CacheChange| match change {
        CacheChange::Serve(spec) => {
            let names = spec.credentials.iter().map(|one| one.username.to_string());
            let mut names: Vec<_> = names.collect();
            names.sort();
            (spec.cache, Some((names, spec.flush_orders.len())))
        }
        CacheChange::Forget(cache) => (*cache, None),
    };
    changes.caches.iter().map(told).collect()
}

fn served(name: &str, flush_orders: usize) -> Option<(Vec<String>, usize)> {
    Some((vec![name.to_owned()], flush_orders))
}

/// The user names of each part by which nobody logs in.
fn names_only(parts: &[Changes]) -> Vec<String> {
    let names = |part: &Changes| {
        let mut names = part.usernames.clone();
        names.sort();
        names.join(" ")
    };
    parts.iter().map(names).collect()
}

#[tokio::test]
async fn a_long_list_arrives_whole_and_in_order() {
    on_each(async |db| {
        let store = &db.store;
        let mut caches = Vec::new();
        for (external, name) in [
            ("r-1", "AAAAAA"),
            ("r-2", "BBBBBB"),
            ("r-3", "CCCCCC"),
            ("r-4", "DDDDDD"),
            ("r-5", "EEEEEE"),
        ] {
            caches.push(cache(store, external, name).await);
        }
        let [one, two, three, four, five] = caches[..] else {
            panic!("{caches:?}")
        };
        let order = FlushOrder {
            id: FlushId::generate(START),
            origin: Origin::WebInterface,
            reason: None,
        };
        let authority = AuthorityRecord {
            number: 1,
            certificate: Authority::from_der(b"a certificate"),
            key: b"a key".to_vec().into(),
            expires_at: START,
        };
        let (elsewhere, operator) = (node("node_2", "p2"), Actor::local(Identity::Operator));
        let mut tx = store.begin().await.unwrap();
        tx.insert_authority(&authority, START).await.unwrap();
        tx.register_node(&elsewhere, START).await.unwrap();
        // Changed in another order than that of their numbers.
        tx.order_flush(five, &order, &operator, START)
            .await
            .unwrap();
        tx.bump(five).await.unwrap();
        tx.end_resource(four, START).await.unwrap();
        tx.bump(four).await.unwrap();
        assert!(tx.unplace(two, &node_id()).await.unwrap());
        tx.place(two, &elsewhere.id).await.unwrap();
        assert_eq!(tx.bump(two).await.unwrap(), Revision(8));
        tx.commit().await.unwrap();

        let all = in_twos(store, 0).await;
        let caches: Vec<_> = all.iter().map(told).collect();
        let expected = [
            vec![(one, served("AAAAAA", 0))],
            vec![(three, served("CCCCCC", 0))],
            vec![(five, served("EEEEEE", 1))],
        ];
        assert_eq!(caches, expected);
        assert_eq!(names_only(&all), ["BBBBBB", "DDDDDD", ""]);
        let more: Vec<_> = all.iter().map(|part| part.more_after).collect();
        assert_eq!(more, [Some(two), Some(four), None]);
        let authorities: Vec<_> = all.iter().map(|part| part.authorities.len()).collect();
        assert_eq!(authorities, [1, 0, 0], "before any certificate");
        assert!(
            all.iter()
                .all(|part| part.complete && part.revision == Revision(8))
        );

        let update = in_twos(store, 5).await;
        let caches: Vec<_> = update.iter().map(told).collect();
        let expected = [
            vec![(two, None), (four, None)],
            vec![(five, served("EEEEEE", 1))],
        ];
        assert_eq!(caches, expected);
        assert!(update.iter().all(|part| !part.complete));
        assert_eq!(names_only(&update), ["BBBBBB DDDDDD", ""]);
    })
    .await;
}

/// A node stands at the revision of the first part, so that it asks for what changed since.
#[tokio::test]
async fn a_cache_that_changes_between_two_parts_comes_again() {
    on_each(async |db| {
        let store = &db.store;
        let one = cache(store, "r-1", "AAAAAA").await;
        let two = cache(store, "r-2", "BBBBBB").await;
        let first = part(store, 0, CacheId(0), 1).await;
        assert_eq!((first.revision, first.more_after), (Revision(2), Some(one)));
        let mut tx = store.begin().await.unwrap();
        assert!(add(&mut tx, store, one, "AAAAA2", false).await.unwrap());
        tx.bump(one).await.unwrap();
        tx.commit().await.unwrap();

        let second = part(store, 0, one, 1).await;
        assert_eq!(told(&second), [(two, served("BBBBBB", 0))]);
        assert_eq!(second.revision, Revision(3));
        let since = part(store, first.revision.0, CacheId(0), 1).await;
        let names = vec!["AAAAA2".to_owned(), "AAAAAA".to_owned()];
        assert_eq!(told(&since), [(one, Some((names, 0)))]);
    })
    .await;
}

/// A node that finds this begins the list anew: what was dropped would be in none of the parts to come.
#[tokio::test]
async fn a_list_whose_changes_are_dropped_meanwhile_goes_on_as_a_complete_one() {
    on_each(async |db| {
        let store = &db.store;
        let mut caches = Vec::new();
        for (external, name) in [("r-1", "AAAAAA"), ("r-2", "BBBBBB"), ("r-3", "CCCCCC")] {
            caches.push(cache(store, external, name).await);
        }
        let first = part(store, 1, CacheId(0), 1).await;
        assert!(!first.complete);
        assert_eq!(first.more_after, Some(caches[1]));
        let mut tx = store.begin().await.unwrap();
        tx.end_resource(caches[2], START).await.unwrap();
        tx.bump(caches[2]).await.unwrap();
        heard_of(&mut tx, "node_1", 4, START).await;
        let heard_since = START.minus(Duration::from_secs(10));
        assert_eq!(tx.prune_forgotten(heard_since).await.unwrap(), 1);
        tx.commit().await.unwrap();
        let second = part(store, 1, caches[1], 1).await;
        assert!(second.complete);
        assert!(second.caches.is_empty());
    })
    .await;
}
