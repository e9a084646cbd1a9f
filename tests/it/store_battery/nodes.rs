//! What the control plane notes of nodes, and the keys and tokens of those in other processes.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use larder::cluster::link::wire::{Login, Report};
use larder::cluster::{Cluster, ClusterSettings, LinkError};
use larder::domain::{CacheId, Clock as _, NodePhase};
use larder::store::fleet::nodes::{Heartbeat, NodeProgress};
use secrecy::ExposeSecret as _;

use super::{HOME, cache, node, node_id, progress};
use crate::support::control_plane::{ControlPlane, plans};
use crate::support::db::{START, on_each};

const DAY: Duration = Duration::from_secs(86_400);

#[tokio::test]
async fn a_node_is_on_its_snapshot_as_long_as_it_says_so() {
    on_each(async |db| {
        let store = &db.store;
        cache(store, "r-1", "AAAAAA").await;
        let is_noted = async || {
            let nodes = store.node_overviews().await.unwrap();
            nodes
                .iter()
                .map(|node| node.on_snapshot)
                .collect::<Vec<_>>()
        };
        let heard = async |on_snapshot| {
            let progress = NodeProgress {
                on_snapshot,
                ..progress(NodePhase::Serving, 1)
            };
            let mut tx = store.begin().await.unwrap();
            let noted = tx.record_heartbeat(&node_id(), HOME, progress, START).await;
            assert_eq!(noted.unwrap(), Heartbeat::Noted);
            tx.commit().await.unwrap();
        };
        assert_eq!(is_noted().await, [false]);
        heard(true).await;
        assert_eq!(is_noted().await, [true]);
        heard(false).await;
        assert_eq!(is_noted().await, [false]);

        heard(true).await;
        let mut tx = store.begin().await.unwrap();
        tx.register_node(&node("node_1", "p1"), START)
            .await
            .unwrap();
        tx.commit().await.unwrap();
        assert_eq!(is_noted().await, [false], "it has joined again");
    })
    .await;
}

#[tokio::test]
async fn the_caches_on_a_node_are_told_from_others() {
    on_each(async |db| {
        let store = &db.store;
        let one = cache(store, "r-1", "AAAAAA").await;
        let two = cache(store, "r-2", "BBBBBB").await;
        let other = node("node_2", "p2");
        let mut tx = store.begin().await.unwrap();
        tx.register_node(&other, START).await.unwrap();
        assert!(tx.unplace(two, &node_id()).await.unwrap());
        tx.place(two, &other.id).await.unwrap();
        tx.commit().await.unwrap();
        let named = BTreeSet::from([one, two, CacheId(i64::MAX)]);
        for (id, placed) in [(node_id(), one), (other.id.clone(), two)] {
            let found = store.placed_on_node(&id, &named).await.unwrap();
            assert_eq!(found, HashSet::from([placed]));
        }
        let ours = BTreeSet::from([one]);
        let none = store.placed_on_node(&other.id, &ours).await.unwrap();
        assert!(none.is_empty());
    })
    .await;
}

/// A node that somebody has broken into writes no history of caches that are not on it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_of_another_process_speaks_for_its_own_caches_only() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let cache = control.provision("r-1").await.resource.cache;
        let far = control.serving_node("node_far", "p9.example.net").await;
        let primary = async || {
            let credentials = control.store.credentials(cache).await.expect("read");
            credentials.into_iter().next().expect("a primary")
        };
        let login = Login {
            cache: cache.0,
            username: primary().await.username.to_string(),
            at: START.micros(),
            from: "10.0.0.1".to_owned(),
        };
        let report = Report {
            home: HOME.to_owned(),
            logins: vec![login],
            ..Report::default()
        };
        let taken = control.cluster.take_report(&far, &report).await;
        taken.expect("the rest of the report is taken");
        assert_eq!(primary().await.last_used, None);

        let mut tx = control.store.begin().await.expect("a transaction");
        tx.place(cache, &far).await.expect("placed");
        tx.commit().await.expect("a commit");
        let replaced = Report {
            home: "m:9:9".to_owned(),
            ..report.clone()
        };
        let refused = control.cluster.take_report(&far, &replaced).await;
        assert!(matches!(refused, Err(LinkError::Gone(_))), "{refused:?}");
        assert_eq!(primary().await.last_used, None, "it is that node no more");
        let taken = control.cluster.take_report(&far, &report).await;
        taken.expect("taken");
        assert_ne!(primary().await.last_used, None);
    })
    .await;
}

#[tokio::test]
async fn link_keys_are_the_same_in_two_processes_and_do_not_stay() {
    on_each(async |db| {
        let (store, other) = (&db.store, db.opened_again().await);
        let old = store.link_key(1, START).await.unwrap();
        let same = other.link_key(1, START.plus(DAY)).await.unwrap();
        assert_eq!(old.expose_secret(), same.expose_secret());
        assert_eq!(old.expose_secret().len(), 64);
        let newer = other.link_key(2, START.plus(DAY)).await.unwrap();
        assert_ne!(old.expose_secret(), newer.expose_secret());

        let mut tx = store.begin().await.unwrap();
        assert_eq!(tx.prune_link_keys(START).await.unwrap(), 0);
        assert_eq!(tx.prune_link_keys(START.plus(DAY)).await.unwrap(), 1);
        tx.commit().await.unwrap();
        let kept = store.link_key(2, START).await.unwrap();
        assert_eq!(kept.expose_secret(), newer.expose_secret());
        let fresh = store.link_key(1, START).await.unwrap();
        assert_ne!(fresh.expose_secret(), old.expose_secret());
        other.close().await;
        db.opened_again().await.close().await;
    })
    .await;
}

/// security.md: tokens of nodes are short, and one control process takes those of another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_good_in_every_control_process_and_for_a_short_time() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let far = control.serving_node("node_far", "p9.example.net").await;
        let (store, clock) = (db.opened_again().await, control.clock.clone());
        let other = Cluster::new(store, plans(), clock, ClusterSettings::default());

        let issued = control.cluster.issue_token(&far).await.expect("a token");
        assert_eq!(issued.lifetime_secs, 3_600);
        let named = other.node_of_token(issued.token.expose()).await;
        assert_eq!(named.expect("a good token"), far);
        let renewed = other.renew_token(&far, HOME).await.expect("a token");
        let named = control.cluster.node_of_token(renewed.token.expose()).await;
        assert_eq!(named.expect("a good token"), far);
        let copied = other.renew_token(&far, "m:1:3").await;
        assert!(matches!(copied, Err(LinkError::Gone(_))), "{copied:?}");

        control.clock.advance(Duration::from_secs(3_700));
        let ended = other.node_of_token(issued.token.expose()).await;
        assert!(matches!(ended, Err(LinkError::NotAdmitted(_))), "{ended:?}");
        let garbage = other.node_of_token("a.b.c").await;
        assert!(
            matches!(garbage, Err(LinkError::NotAdmitted(_))),
            "{garbage:?}"
        );

        let mut tx = control.store.begin().await.expect("a transaction");
        let now = control.clock.now();
        assert!(tx.retire_node(&far, now).await.expect("written"));
        tx.commit().await.expect("a commit");
        let retired = other.renew_token(&far, HOME).await;
        assert!(matches!(retired, Err(LinkError::Gone(_))), "{retired:?}");
    })
    .await;
}
