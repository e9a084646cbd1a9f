//! `larder admin sign-out`: nobody is signed in any more, and everybody may sign on (security.md SD-7, OP-11).

use larder::sandbox::ProvisionOptions;
use reqwest::StatusCode;

use crate::support::dashboard::Dashboard;
use crate::support::db::Database;
use crate::support::full_service::{FullService, Wishes};
use crate::support::on_both_databases;
use crate::support::process::larder;

on_both_databases!(an_operator_ends_all_sessions_of_a_marketplace);

async fn an_operator_ends_all_sessions_of_a_marketplace(database: Database) {
    let service = FullService::start(database, Wishes::default()).await;
    let folder = tempfile::tempdir().expect("a folder");
    let mut owners = Vec::new();
    for name in ["shop", "blog"] {
        let app = service.sandbox.create_app(name).expect("a new app");
        let made = service
            .sandbox
            .provision(app, "dev", ProvisionOptions::default());
        let addon = made.await.expect("a cache").id;
        owners.push((
            addon,
            Dashboard::open(&service.sandbox, addon, &service.base).await,
        ));
    }
    let run = async |verb: &str| larder(verb, service.settings(), folder.path()).await;
    let done = run("admin sign-out --marketplace manifold").await;
    assert!(
        !done.success && done.stderr.contains("no live cache is meant"),
        "a name that is mistyped is no work done: {done:?}"
    );
    for (_, owner) in &mut owners {
        owner.page().await;
    }
    assert!(
        !run("admin sign-out").await.success,
        "whose sessions is to be said"
    );
    let done = run("admin sign-out --marketplace heroku").await;
    assert!(
        done.success && done.stdout.contains("2 sessions have ended"),
        "{done:?}"
    );
    for (addon, owner) in &mut owners {
        let path = owner.path.clone();
        assert_eq!(owner.get(&path).await.status, StatusCode::UNAUTHORIZED);
        Dashboard::open(&service.sandbox, *addon, &service.base)
            .await
            .page()
            .await;
    }
    assert!(
        run("admin sign-out --all")
            .await
            .stdout
            .contains("2 sessions have ended")
    );
    let rows = "SELECT count(*) FROM audit WHERE action = 'sessions.end'";
    assert_eq!(service.database.number(rows).await, 2);
    assert!(run("admin rekey").await.success);
    let rows = "SELECT count(*) FROM audit WHERE action = 'keys.rekey' AND detail = '0 sealed again, 0 left'";
    assert_eq!(service.database.number(rows).await, 1);
    service.stop().await;
}
