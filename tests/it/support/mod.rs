//! What the scenarios share: databases, a whole service, and the people and programs that act in it.

pub use larder::marketplace::heroku::NAME as HEROKU;

pub mod app;
pub mod authority;
pub mod browser;
pub mod claims;
pub mod control_plane;
pub mod corner_market;
pub mod dashboard;
pub mod database_wire;
pub mod db;
pub mod full_service;
pub mod link_calls;
pub mod link_proxy;
pub mod looping;
pub mod machine;
pub mod machines;
pub mod markers;
pub mod panics;
pub mod plain;
pub mod process;
pub mod process_log;

/// Something the machine may lack. Without it the test says so and passes; on CI nothing may be lacking.
pub fn needs<T>(found: Option<T>, what: &str) -> Option<T> {
    if found.is_none() {
        assert!(
            std::env::var("CI").is_err(),
            "{what}: missing, and on CI nothing is skipped"
        );
        println!("skipped: {what} missing; scripts/test brings it");
    }
    found
}

/// Runs a scenario on SQLite and on PostgreSQL, as two tests. PostgreSQL is set up for [`MASTER_KEY`], and the service may not
/// change its schema; with `empty` behind the name it is as the server makes it.
///
/// [`MASTER_KEY`]: full_service::MASTER_KEY
#[macro_export]
macro_rules! on_both_databases {
    ($scenario:ident) => {
        $crate::support::on_both_databases!(
            $scenario,
            db::Database::postgres_restricted($crate::support::full_service::MASTER_KEY)
        );
    };
    ($scenario:ident, empty) => {
        $crate::support::on_both_databases!($scenario, db::Database::postgres());
    };
    ($scenario:ident, $postgres:expr) => {
        mod $scenario {
            use $crate::support::{db, needs};

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                super::$scenario(db::Database::sqlite()).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                if let Some(database) = needs($postgres.await, "PostgreSQL") {
                    super::$scenario(database).await;
                }
            }
        }
    };
}
pub use on_both_databases;
