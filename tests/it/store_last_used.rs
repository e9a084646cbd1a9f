//! Logins noted in the store, on SQLite and on PostgreSQL.

use larder::domain::credential::LastUse;
use larder::domain::{CacheId, Capabilities, Timestamp, Username};
use larder::store::caches::last_used::Use;
use larder::store::{Store, StoreError, Tx};
use secrecy::ExposeSecret as _;
use sqlx::{Connection as _, PgConnection};

use crate::store_battery::{add, cache};
use crate::support::control_plane::eventually;
use crate::support::db::{START, TestDb, on_each};

fn used(secs: i64) -> LastUse {
    LastUse {
        at: Timestamp::from_secs(secs),
        from: format!("10.0.0.{secs}"),
    }
}

fn named(name: &str) -> Username {
    name.parse().unwrap()
}

async fn note(store: &Store, logins: &[(CacheId, &str, i64)]) -> Result<(), StoreError> {
    let logins: Vec<_> = logins
        .iter()
        .map(|(cache, name, secs)| (*cache, named(name), used(*secs)))
        .collect();
    let uses: Vec<_> = logins
        .iter()
        .map(|(cache, username, last)| Use {
            cache: *cache,
            username,
            last,
        })
        .collect();
    let mut tx = store.begin().await?;
    tx.record_last_used(&uses).await?;
    tx.commit().await
}

/// What is known of each credential, by name.
async fn known(store: &Store, cache: CacheId) -> Vec<(String, Option<LastUse>)> {
    let list = store.credentials(cache).await.unwrap();
    let mut known: Vec<_> = list
        .into_iter()
        .map(|one| (one.username.to_string(), one.last_used))
        .collect();
    known.sort_by(|one, other| one.0.cmp(&other.0));
    known
}

#[tokio::test]
async fn each_credential_keeps_its_own_latest_login() {
    on_each(async |db| {
        let store = &db.store;
        let one = cache(store, "r-1", "AAAAAA").await;
        let other = cache(store, "r-2", "BBBBBB").await;
        let mut tx = store.begin().await.unwrap();
        assert!(add(&mut tx, store, one, "CCCCCC", false).await.unwrap());
        assert!(add(&mut tx, store, one, "DDDDDD", false).await.unwrap());
        tx.commit().await.unwrap();

        note(store, &[]).await.unwrap();
        note(
            store,
            &[(one, "AAAAAA", 5), (one, "CCCCCC", 6), (other, "BBBBBB", 7)],
        )
        .await
        .unwrap();
        // An older one, a newer one, another cache's name, and a name of nobody.
        note(
            store,
            &[
                (one, "AAAAAA", 4),
                (one, "BBBBBB", 9),
                (one, "CCCCCC", 8),
                (one, "EEEEEE", 9),
            ],
        )
        .await
        .unwrap();

        let name = str::to_owned;
        assert_eq!(
            known(store, one).await,
            [
                (name("AAAAAA"), Some(used(5))),
                (name("CCCCCC"), Some(used(8))),
                (name("DDDDDD"), None),
            ]
        );
        assert_eq!(known(store, other).await, [(name("BBBBBB"), Some(used(7)))]);
    })
    .await;
}

#[tokio::test]
async fn a_removed_credential_stays_as_it_is() {
    on_each(async |db| {
        let store = &db.store;
        let one = cache(store, "r-1", "AAAAAA").await;
        let other = cache(store, "r-2", "BBBBBB").await;
        let mut tx = store.begin().await.unwrap();
        tx.end_resource(one, START).await.unwrap();
        tx.commit().await.unwrap();
        note(store, &[(one, "AAAAAA", 5), (other, "BBBBBB", 5)])
            .await
            .unwrap();
        assert!(known(store, other).await[0].1.is_some());
        let tx = store.begin().await.unwrap();
        assert!({ tx }.was_removed(one, &named("AAAAAA")).await.unwrap());
    })
    .await;
}

/// How many of this database's connections wait for a lock.
async fn waiting(db: &TestDb) -> i64 {
    let mut connection = PgConnection::connect(db.settings.url.expose_secret())
        .await
        .unwrap();
    sqlx::query_scalar(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
    )
    .fetch_one(&mut connection)
    .await
    .unwrap()
}

async fn restrict(tx: &mut Tx, cache: CacheId, name: &str) {
    let credential = tx.credential(cache, &named(name)).await.unwrap().unwrap();
    tx.set_capabilities(credential.id, Capabilities::WRITE)
        .await
        .unwrap();
}

/// A change touches a cache's credentials in an order of its own while logins of them are noted: neither fails.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_the_same_cache_is_waited_for() {
    on_each(async |db| {
        // SQLite has one writer.
        if !db.is_postgres() {
            return;
        }
        let store = &db.store;
        let one = cache(store, "r-1", "AAAAAA").await;
        let mut tx = store.begin().await.unwrap();
        assert!(add(&mut tx, store, one, "CCCCCC", false).await.unwrap());
        tx.commit().await.unwrap();

        for (secs, order) in [(5, ["AAAAAA", "CCCCCC"]), (6, ["CCCCCC", "AAAAAA"])] {
            let mut change = store.begin().await.unwrap();
            change.lock_resource(one).await.unwrap().unwrap();
            restrict(&mut change, one, order[0]).await;
            let noting = {
                let store = store.clone();
                let logins = [(one, "AAAAAA", secs), (one, "CCCCCC", secs)];
                tokio::spawn(async move { note(&store, &logins).await })
            };
            eventually("the logins wait", async || waiting(db).await == 1).await;
            restrict(&mut change, one, order[1]).await;
            change.commit().await.unwrap();
            noting.await.unwrap().unwrap();
            for (name, last) in known(store, one).await {
                assert_eq!(last, Some(used(secs)), "{name}");
            }
        }
    })
    .await;
}
