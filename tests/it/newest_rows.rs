//! Of what a client can cause at will, a cache keeps the newest rows (`store/service/newest.rs`).

use larder::domain::{CacheId, Clock as _};
use larder::store::service::newest::{CACHES_WITH_EVENTS, CACHES_WITH_LINES, ROWS_MAX};
use secrecy::ExposeSecret as _;
use sqlx::{AssertSqlSafe, Connection as _};

use crate::outbox_fixture::OutboxFixture;
use crate::retention::{by_hand, names};
use crate::support::control_plane::ControlPlane;
use crate::support::db::{TestDb, on_each, sqlite};

/// The numbers from 1 to this many.
const NUMBERS: &str =
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})";

async fn count(db: &TestDb, table: &str, cache: CacheId) -> u32 {
    let sql = format!("SELECT CAST(count(*) AS TEXT) FROM {table} WHERE cache_id = {cache}");
    names(db, sql).await[0].parse().expect("a number")
}

/// A client that flushes in a loop makes eleven events a second.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cache_keeps_its_newest_events_with_their_flushes() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let flooded = control.provision("r-1").await.resource.cache;
        let quiet = control.provision("r-2").await.resource.cache;
        let at = control.clock.now().micros();
        let numbers = NUMBERS.replace("{rows}", &(ROWS_MAX + 2_500).to_string());
        for row in [
            format!(
                "INSERT INTO events (id, cache_id, at, kind, fields) {numbers} \
                 SELECT 'fl_' || i, {flooded}, {at} + i, 'flush', '{{}}' FROM n"
            ),
            format!(
                "INSERT INTO flushes (id, cache_id, origin, times, ordered_at, done_at) {numbers} \
                 SELECT 'fl_' || i, {flooded}, 'memcache client', 1, {at} + i, {at} + i FROM n"
            ),
        ] {
            by_hand(db, row).await;
        }
        control.access.tidy().await.expect("tidied");
        assert_eq!(count(db, "events", flooded).await, ROWS_MAX);
        assert_eq!(count(db, "flushes", flooded).await, ROWS_MAX);
        for table in ["events", "flushes"] {
            let oldest = format!("SELECT id FROM {table} WHERE id IN ('fl_2500', 'fl_2501')");
            assert_eq!(names(db, oldest).await, ["fl_2501"], "{table}");
        }
        assert_eq!(control.history(quiet).await, ["provisioned"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cache_keeps_its_newest_finished_lines() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let cache = fixture.control.provision("r-1").await.resource.cache;
        let at = fixture.control.clock.now().micros();
        for (cache, rows) in [(cache, ROWS_MAX + 2_500), (CacheId(cache.0 + 1), 10)] {
            let numbers = NUMBERS.replace("{rows}", &rows.to_string());
            let row = format!(
                "INSERT INTO deliveries_done \
                 (id, cache_id, kind, order_key, payload, attempt, outcome, created_at, done_at) {numbers} \
                 SELECT 'dlv_{cache}_' || i, {cache}, 'flush', 'lane', '{{}}', 0, 'delivered', {at}, {at} + i FROM n"
            );
            by_hand(db, row).await;
        }
        fixture.outbox.tidy().await.expect("tidied");
        assert_eq!(count(db, "deliveries_done", cache).await, ROWS_MAX);
        let oldest = format!(
            "SELECT id FROM deliveries_done WHERE id IN ('dlv_{cache}_2500', 'dlv_{cache}_2501')"
        );
        assert_eq!(names(db, oldest).await, [format!("dlv_{cache}_2501")]);
        let other = CacheId(cache.0 + 1);
        assert_eq!(count(db, "deliveries_done", other).await, 10);
    })
    .await;
}

/// The tidying asks every few minutes: it must not read all rows of all caches for that.
#[tokio::test]
async fn a_pass_with_nothing_to_do_reads_what_was_written_lately() {
    let db = sqlite().await;
    let url = db.settings.url.expose_secret();
    let mut connection = sqlx::SqliteConnection::connect(url)
        .await
        .expect("connected");
    for (query, index) in [
        (CACHES_WITH_EVENTS, "events_by_time (at>?)"),
        (CACHES_WITH_LINES, "deliveries_done_by_time (done_at>?)"),
    ] {
        let plan = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {query}"));
        let steps: Vec<(i64, i64, i64, String)> = sqlx::query_as(plan)
            .fetch_all(&mut connection)
            .await
            .expect("a plan");
        let found = steps.iter().any(|(.., step)| step.contains(index));
        assert!(found, "{steps:?}");
    }
}
