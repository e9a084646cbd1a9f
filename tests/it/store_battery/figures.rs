//! What nodes say of their caches.

use std::time::Duration;

use larder::domain::{CacheId, NodeId, Timestamp};
use larder::store::Store;
use larder::store::fleet::figures::ReportedFigures;

use super::{cache, node, node_id};
use crate::support::db::{START, on_each};

const LATER: Duration = Duration::from_secs(1_000);

async fn record(store: &Store, node: &NodeId, figures: &[(CacheId, &str)], at: Timestamp) {
    let owned = |(cache, figures): &(CacheId, &str)| (*cache, (*figures).to_owned());
    let figures: Vec<(CacheId, String)> = figures.iter().map(owned).collect();
    let mut tx = store.begin().await.unwrap();
    tx.record_figures(node, &figures, at).await.unwrap();
    tx.commit().await.unwrap();
}

/// Who said what of a cache, and when.
async fn known(store: &Store, cache: CacheId) -> Vec<(String, String, Timestamp)> {
    let rows = store.figures_of(cache).await.unwrap();
    let known = |row: ReportedFigures| (row.node.to_string(), row.figures, row.at);
    rows.into_iter().map(known).collect()
}

fn row(node: &str, figures: &str, at: Timestamp) -> (String, String, Timestamp) {
    (node.to_owned(), figures.to_owned(), at)
}

#[tokio::test]
async fn of_a_cache_is_known_what_each_of_its_nodes_said_last() {
    on_each(async |db| {
        let store = &db.store;
        let one = cache(store, "r-1", "AAAAAA").await;
        let two = cache(store, "r-2", "BBBBBB").await;
        let other = node("node_2", "p2");
        let mut tx = store.begin().await.unwrap();
        tx.register_node(&other, START).await.unwrap();
        tx.commit().await.unwrap();
        let text = r#"{"name":"\u0000 \" é"}"#;
        let said = [(two, "[2]"), (CacheId(i64::MAX), "[]"), (one, text)];
        record(store, &node_id(), &said, START).await;
        record(store, &other.id, &[(one, "[3]")], START).await;
        assert_eq!(known(store, one).await, [row("node_1", text, START)]);
        assert_eq!(known(store, two).await, [row("node_1", "[2]", START)]);

        let later = START.plus(LATER);
        record(store, &node_id(), &[(one, "[4]")], later).await;
        assert_eq!(known(store, one).await, [row("node_1", "[4]", later)]);
        assert_eq!(known(store, two).await, [row("node_1", "[2]", START)]);
        record(store, &node_id(), &[], later).await;

        let mut tx = store.begin().await.unwrap();
        tx.place(one, &other.id).await.unwrap();
        tx.commit().await.unwrap();
        record(store, &other.id, &[(one, "[5]")], START).await;
        let both = [row("node_1", "[4]", later), row("node_2", "[5]", START)];
        assert_eq!(known(store, one).await, both);
    })
    .await;
}

#[tokio::test]
async fn figures_go_with_the_cache_and_with_its_place() {
    on_each(async |db| {
        let store = &db.store;
        let moved = cache(store, "r-1", "AAAAAA").await;
        let ended = cache(store, "r-2", "BBBBBB").await;
        let said = [(moved, "[1]"), (ended, "[2]")];
        record(store, &node_id(), &said, START).await;

        let mut tx = store.begin().await.unwrap();
        assert_eq!(tx.prune_figures().await.unwrap(), 0);
        assert!(tx.unplace(moved, &node_id()).await.unwrap());
        assert_eq!(tx.prune_figures().await.unwrap(), 1);
        tx.lock_resource(ended).await.unwrap().unwrap();
        tx.end_resource(ended, START).await.unwrap();
        tx.commit().await.unwrap();
        for gone in [moved, ended] {
            assert!(known(store, gone).await.is_empty());
        }
        record(store, &node_id(), &said, START).await;
        for gone in [moved, ended] {
            let left = known(store, gone).await;
            assert!(left.is_empty(), "a report was on its way: {left:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn figures_of_a_time_ahead_are_of_now_when_the_clock_was_set_back() {
    on_each(async |db| {
        let store = &db.store;
        let one = cache(store, "r-1", "AAAAAA").await;
        record(store, &node_id(), &[(one, "[1]")], START.plus(LATER)).await;
        let ahead = START.plus(Duration::from_secs(60));
        let mut tx = store.begin().await.unwrap();
        tx.undo_clock_jump(START, ahead, ahead).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(known(store, one).await, [row("node_1", "[1]", START)]);
    })
    .await;
}
