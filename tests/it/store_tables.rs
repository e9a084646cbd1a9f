//! The registry of tables against the schemas of both databases: a new table fails here until its aggregate has said
//! what becomes of its rows.

use std::collections::{BTreeMap, BTreeSet};

use larder::store::service::audit::COUNT_ONCE_MORE;
use larder::store::service::tables::{AtEnd, ClockSetBack, TABLES, TableRules};
use secrecy::ExposeSecret as _;
use sqlx::{AssertSqlSafe, Connection as _};

use crate::support::db::{TestDb, on_each, sqlite};

/// Columns that tell when something is to happen.
const SCHEDULES: [&str; 5] = [
    "next_attempt_at",
    "next_at",
    "scheduled_at",
    "not_before",
    "due_at",
];

/// Every table of the schema with its columns, but for the migrator's own.
pub async fn schema(db: &TestDb) -> BTreeMap<String, BTreeSet<String>> {
    let url = db.settings.url.expose_secret();
    let rows: Vec<(String, String)> = if db.is_postgres() {
        let mut connection = sqlx::PgConnection::connect(url).await.expect("connected");
        let columns = "SELECT table_name::text, column_name::text FROM information_schema.columns
             WHERE table_schema = current_schema()";
        sqlx::query_as(columns).fetch_all(&mut connection).await
    } else {
        let mut connection = sqlx::SqliteConnection::connect(url)
            .await
            .expect("connected");
        let columns = "SELECT m.name, c.name FROM sqlite_master m, pragma_table_info(m.name) c
             WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%'";
        sqlx::query_as(columns).fetch_all(&mut connection).await
    }
    .expect("the schema is read");
    let mut tables: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (table, column) in rows {
        tables.entry(table).or_default().insert(column);
    }
    tables.remove("_sqlx_migrations");
    tables
}

/// What a table's columns ask for and its rules do not give.
fn faults(table: &str, columns: &BTreeSet<String>, rules: Option<&TableRules>) -> Vec<String> {
    let Some(rules) = rules else {
        return vec![format!("{table} is not declared")];
    };
    let mut faults = Vec::new();
    if columns.contains("cache_id") && matches!(rules.at_end, AtEnd::NotOfAResource) {
        faults.push(format!("{table} has a cache_id and no rule for its end"));
    }
    let scheduled = SCHEDULES.iter().find(|name| columns.contains(**name));
    if let Some(column) = scheduled
        && matches!(rules.clock_set_back, ClockSetBack::NothingScheduled)
    {
        faults.push(format!(
            "{table} has {column} and no rule for a clock set back"
        ));
    }
    if columns.contains("lease_until") != rules.leases.is_some() {
        faults.push(format!("{table}: leases and their rule do not agree"));
    }
    faults
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_table_says_what_becomes_of_its_rows() {
    on_each(async |db| {
        let schema = schema(db).await;
        let declared: Vec<&TableRules> = TABLES.iter().copied().flatten().collect();
        let mut wrong = Vec::new();
        for (table, columns) in &schema {
            let rules = declared.iter().filter(|rules| rules.table == table);
            let rules: Vec<_> = rules.copied().collect();
            if rules.len() > 1 {
                wrong.push(format!("{table} is declared {} times", rules.len()));
            }
            wrong.extend(faults(table, columns, rules.first().copied()));
        }
        let gone = declared
            .iter()
            .filter(|rules| !schema.contains_key(rules.table));
        wrong.extend(gone.map(|rules| format!("{} is no table", rules.table)));
        assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    })
    .await;
}

/// The test above fails for each way in which a table can be forgotten.
#[test]
fn a_table_that_did_not_join_is_found() {
    let columns = |names: &[&str]| names.iter().map(ToString::to_string).collect();
    let apart = TableRules {
        table: "t",
        at_end: AtEnd::NotOfAResource,
        clock_set_back: ClockSetBack::NothingScheduled,
        leases: None,
    };
    assert_eq!(faults("t", &columns(&["id"]), None).len(), 1);
    assert!(faults("t", &columns(&["id"]), Some(&apart)).is_empty());
    for column in ["cache_id", "next_attempt_at", "next_at", "lease_until"] {
        let found = faults("t", &columns(&["id", column]), Some(&apart));
        assert_eq!(found.len(), 1, "{column}");
    }
}

/// A burst of deeds by others, ten thousand in a minute, makes nobody's own more expensive.
#[tokio::test]
async fn a_deed_is_counted_without_reading_those_of_others() {
    let db = sqlite().await;
    let url = db.settings.url.expose_secret();
    let mut connection = sqlx::SqliteConnection::connect(url)
        .await
        .expect("connected");
    let plan = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {COUNT_ONCE_MORE}"));
    let steps: Vec<(i64, i64, i64, String)> = sqlx::query_as(plan)
        .fetch_all(&mut connection)
        .await
        .expect("a plan");
    let reads = steps.iter().map(|(.., step)| step.as_str());
    let found =
        reads.filter(|step| step.contains("audit_by_deed (<expr>=? AND action=? AND <expr>=?"));
    assert_eq!(found.count(), 1, "{steps:?}");
}
