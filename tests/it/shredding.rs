//! Deleted means deleted: what becomes of sealed values when what they belong to ends.

use std::collections::BTreeSet;
use std::time::Duration;

use larder::domain::Clock as _;
use larder::provisioning::GrantCode;
use secrecy::ExposeSecret as _;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, SqliteConnection};

use crate::store_tables::schema;
use crate::support::HEROKU;
use crate::support::control_plane::{ControlPlane, ready, request};
use crate::support::db::{TestDb, on_each};

/// The sealed copies of an ended cache's secrets, and of a removed credential's password, are in no file and in no row
/// (security.md ST-10). What stays of them is the tombstone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_an_ended_cache_no_sealed_copy_is_left() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let mut ask = request("r-1");
        let expires_at = control.clock.now().plus(Duration::from_secs(300));
        ask.grant = Some(GrantCode {
            code: "the-code".to_owned().into(),
            expires_at,
        });
        let made = control.provisioning.provision(ask).await.expect("a cache");
        let cache = ready(made).resource.cache;
        control.provision("r-2").await;
        let owner = control.owner(cache, "visit").await;
        let (second, _) = control.access.create(&owner).await.expect("created");
        let sealed = sealed_values(db).await;
        assert!(sealed.len() > 8, "{} sealed values", sealed.len());
        control
            .access
            .remove(&owner, &second.username)
            .await
            .expect("removed");
        let id = "r-1".parse().expect("an id");
        control
            .provisioning
            .deprovision(HEROKU, &id)
            .await
            .expect("ended");
        control.stop.cancel();
        let still = sealed_values(db).await;
        let gone: Vec<Vec<u8>> = sealed.difference(&still).cloned().collect();
        assert!(gone.len() > 4, "only {} of them went away", gone.len());
        control.store.close().await;
        for (place, bytes) in db.contents().await {
            assert_eq!(found(&gone, &bytes), 0, "sealed copies in {place}");
        }
        // What PostgreSQL's tables held before stays in their files until its owner compacts them, as README says.
        let files = db.files_of_compacted_tables().await;
        let (gone_left, kept) = files.values().fold((0, 0), |(left, kept), bytes| {
            (left + found(&gone, bytes), kept + found(&still, bytes))
        });
        assert_eq!(gone_left, 0, "sealed copies in the files of PostgreSQL");
        assert_eq!(kept > 0, db.is_postgres(), "the files were searched");
    })
    .await;
}

/// How many of these values are in there.
fn found<'a>(values: impl IntoIterator<Item = &'a Vec<u8>>, bytes: &[u8]) -> usize {
    let is_there = |value: &&Vec<u8>| {
        let mut parts = bytes.windows(value.len());
        parts.any(|part| part == value.as_slice())
    };
    values.into_iter().filter(is_there).count()
}

/// Every value of every column whose name says that it is sealed.
async fn sealed_values(db: &TestDb) -> BTreeSet<Vec<u8>> {
    let mut values = BTreeSet::new();
    for (table, columns) in schema(db).await {
        for column in columns
            .into_iter()
            .filter(|column| column.ends_with("_sealed"))
        {
            let sql = format!("SELECT {column} FROM {table} WHERE {column} IS NOT NULL");
            let url = db.settings.url.expose_secret();
            let found: Vec<Vec<u8>> = if db.is_postgres() {
                let mut connection = PgConnection::connect(url).await.expect("connected");
                sqlx::query_scalar(AssertSqlSafe(sql))
                    .fetch_all(&mut connection)
                    .await
            } else {
                let mut connection = SqliteConnection::connect(url).await.expect("connected");
                sqlx::query_scalar(AssertSqlSafe(sql))
                    .fetch_all(&mut connection)
                    .await
            }
            .expect("read");
            values.extend(found);
        }
    }
    values
}
