//! The service works as a role of PostgreSQL that cannot change the schema (security.md ST-7). The statements are those of
//! the README.

use larder::sandbox::ProvisionOptions;

use crate::support::control_plane::eventually;
use crate::support::dashboard::Dashboard;
use crate::support::db::{Database, grants};
use crate::support::full_service::{FullService, Wishes, free_port, settings};
use crate::support::needs;
use crate::support::plain::Plain;
use crate::support::process::larder;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_service_runs_as_a_role_that_cannot_change_the_schema() {
    let Some(owner) = needs(Database::postgres().await, "PostgreSQL") else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let base = format!("http://127.0.0.1:{}", free_port());
    let migrated = larder(
        "migrate",
        &settings(&base, "http://127.0.0.1:1", &owner, &folder),
        folder.path(),
    )
    .await;
    assert!(migrated.success, "{}", migrated.stderr);
    let role = format!("larder_run_{}", std::process::id());
    owner
        .try_execute(&format!("CREATE ROLE {role} LOGIN PASSWORD '{role}'"))
        .await
        .expect("a role");
    owner.try_execute(&grants(&role)).await.expect("rights");

    let restricted = owner.with_role(&role);
    for forbidden in [
        "CREATE TABLE more (x int)",
        "ALTER TABLE resources ADD COLUMN more text",
        "DROP TABLE audit",
        "CREATE INDEX more ON audit (at)",
        "CREATE SCHEMA more",
        "TRUNCATE audit",
        "CREATE FUNCTION more() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    ] {
        let refused = restricted.try_execute(forbidden).await;
        assert!(refused.is_err(), "{forbidden}");
    }
    whole_life(FullService::start(restricted, Wishes::default()).await).await;
    owner
        .try_execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}"))
        .await
        .expect("gone");
    owner.drop().await;
}

/// Everything that writes: provision, sign-on, credentials, flush, push, plan change, end.
async fn whole_life(service: FullService) {
    let shop = service.sandbox.create_app("shop").expect("a new app");
    let made = service
        .sandbox
        .provision(shop, "dev", ProvisionOptions::default());
    let addon = made.await.expect("a cache").id;
    let mut owner = Dashboard::open(&service.sandbox, addon, &service.base).await;
    let first = owner.usernames().await.remove(0);
    let second = owner.add_credentials().await;
    let password = owner.reveal(&second).await;
    assert!(owner.promote(&second).await.status.is_redirection());
    eventually("the app has the new credential", async || {
        service.sandbox.config_vars(shop)["MEMCACHIER_USERNAME"] == second
    })
    .await;
    let servers = &service.sandbox.config_vars(shop)["MEMCACHIER_SERVERS"];
    assert_eq!(
        Plain::connect(servers)
            .await
            .login(&second, &password)
            .await,
        "STORED"
    );
    assert!(owner.delete(&first).await.status.is_redirection());
    assert!(owner.flush().await.status.is_redirection());
    eventually("the flush is told", async || {
        !service.lines_of(shop, "flush").is_empty()
    })
    .await;
    service
        .sandbox
        .change_plan(addon, "100")
        .await
        .expect("changed");
    service.sandbox.deprovision(addon).await.expect("ended");
    service.stop().await;
}
