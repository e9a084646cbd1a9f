//! Parts of the service in processes of their own, and what this version refuses to split off.

use std::time::Duration;

use larder::app::roles::worker::Worker;
use larder::cluster::{Cluster, ClusterSettings};
use larder::config::{Config, Environment};
use larder::sandbox::ProvisionOptions;
use tokio::process::Command;

use crate::support::control_plane::{ControlPlane, eventually, plans};
use crate::support::dashboard::Dashboard;
use crate::support::db::{Database, on_each};
use crate::support::full_service::{FullService, PATIENCE, Wishes, free_port, settings};
use crate::support::needs;

/// The service cannot reach the provider and stops; a worker beside it brings the values home.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_keeps_what_another_process_promised() {
    let Some(database) = needs(Database::postgres().await, "PostgreSQL") else {
        return;
    };
    let nowhere = format!("http://127.0.0.1:{}", free_port());
    let cut_off = Wishes {
        settings: vec![("LARDER_HEROKU_API_URL".to_owned(), nowhere)],
        ..Wishes::default()
    };
    let service = FullService::start(database, cut_off).await;
    let shop = service.sandbox.create_app("shop").expect("an app");
    let addon = service
        .sandbox
        .provision(shop, "dev", ProvisionOptions::default())
        .await
        .expect("a cache");
    let mut owner = Dashboard::open(&service.sandbox, addon.id, &service.base).await;
    let new = owner.add_credentials().await;
    assert!(owner.promote(&new).await.status.is_redirection());
    // The node has taken the change up by now, or nothing would have been sent.
    eventually("a push has failed", async || {
        owner.page().await.contains("cannot connect")
    })
    .await;
    service.service.stop().await;
    let held = service.sandbox.config_vars(shop);
    assert_ne!(held["MEMCACHIER_USERNAME"], new, "nothing has arrived yet");

    let data = tempfile::tempdir().expect("a folder");
    let environment = settings(
        &service.base,
        service.sandbox.url(),
        &service.database,
        &data,
    );
    let config = Config::read(Environment {
        environment,
        ..Environment::default()
    });
    let worker = Worker::start(&config.expect("sound settings")).await;
    let worker = worker.expect("the worker starts");
    let pushed = service
        .sandbox
        .wait_for_var(shop, "MEMCACHIER_USERNAME", &new, PATIENCE)
        .await;
    pushed.expect("the worker pushes");
    worker.stop().await;
    service.sandbox.stop().await;
    service.database.drop().await;
}

/// What a worker knows of nodes it knows from the database: nothing is pushed before they have it (P3).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_without_a_node_waits_for_those_of_others() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let cache = control.provision("r-1").await.resource.cache;
        let owner = control.owner(cache, "visit").await;
        let (store, settings) = (db.opened_again().await, ClusterSettings::default());
        let elsewhere = Cluster::new(store.clone(), plans(), control.clock.clone(), settings);
        control.hang();
        control.access.create(&owner).await.expect("a credential");
        let revision = store.last_change(cache).await.expect("a revision");
        let soon = Duration::from_millis(100);
        assert!(!elsewhere.wait_applied(cache, revision, soon).await);
        control.go_on();
        assert!(elsewhere.wait_applied(cache, revision, PATIENCE).await);
    })
    .await;
}

#[tokio::test]
async fn a_role_that_lacks_something_is_refused_with_what_is_missing() {
    for (role, why) in [
        ("control", "LARDER_LINK_ADDR must be set"),
        ("node", "LARDER_CONTROL_URL must be set"),
        ("monitor", "status page"),
        ("worker", "postgres://"),
        ("nobody", "possible values"),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let database = format!("sqlite:{}", folder.path().join("larder.db").display());
        let output = Command::new(env!("CARGO_BIN_EXE_larder"))
            .args(["serve", "--role", role])
            .env_clear()
            .env("LARDER_DATABASE_URL", database)
            .env("LARDER_MASTER_KEY", "A".repeat(43) + "=")
            .env("LARDER_HEROKU_PASSWORD", "0123456789abcdef")
            .env("LARDER_HEROKU_SSO_SALT", "0123456789abcdef")
            .current_dir(folder.path())
            .output()
            .await
            .expect("larder runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{role}");
        assert!(errors.contains(why), "{role}: {errors}");
    }
}
