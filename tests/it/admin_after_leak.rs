//! What an operator has at hand on the day after a leak (security.md OP-11): new tokens, new dashboard addresses, and a new
//! primary for one cache. Each can be asked for again, and whoever was not meant notices nothing.

use larder::domain::CacheId;
use larder::sandbox::{AddonId, AppId, ProvisionOptions};
use reqwest::StatusCode;

use crate::support::control_plane::eventually;
use crate::support::dashboard::Dashboard;
use crate::support::db::Database;
use crate::support::full_service::{FullService, PATIENCE, Wishes};
use crate::support::on_both_databases;
use crate::support::plain::Plain;
use crate::support::process::{Ended, larder};

on_both_databases!(tokens_are_renewed_by_command);
on_both_databases!(old_dashboard_addresses_end_by_command);
on_both_databases!(one_cache_gets_a_new_primary);

/// A service with two caches whose grants are exchanged.
struct Bed {
    service: FullService,
    folder: tempfile::TempDir,
    caches: Vec<(AppId, AddonId)>,
}

impl Bed {
    async fn start(database: Database) -> Bed {
        let service = FullService::start(database, Wishes::default()).await;
        let mut caches = Vec::new();
        for name in ["shop", "blog"] {
            let app = service.sandbox.create_app(name).expect("a new app");
            let made = service
                .sandbox
                .provision(app, "dev", ProvisionOptions::default());
            caches.push((app, made.await.expect("a cache").id));
        }
        let bed = Bed {
            service,
            folder: tempfile::tempdir().expect("a folder"),
            caches,
        };
        eventually("both grants are exchanged", async || {
            bed.token_calls() == 2 && bed.active_grants().await == 2
        })
        .await;
        bed
    }

    fn token_calls(&self) -> usize {
        let calls = self.service.sandbox.requests();
        let is_token =
            |path: &str, status: Option<u16>| path.ends_with("/oauth/token") && status == Some(200);
        calls
            .iter()
            .filter(|call| is_token(&call.path, call.status))
            .count()
    }

    async fn active_grants(&self) -> i64 {
        let rows = "SELECT count(*) FROM grants WHERE state = 'active'";
        self.service.database.number(rows).await
    }

    async fn run(&self, verb: &str) -> Ended {
        larder(verb, self.service.settings(), self.folder.path()).await
    }
}

async fn tokens_are_renewed_by_command(database: Database) {
    let bed = Bed::start(database).await;
    let none = bed
        .run("admin renew-tokens --all --obtained-before 2020-01-01T00:00:00Z")
        .await;
    assert!(
        none.success && none.stdout.starts_with("0 access tokens"),
        "{none:?}"
    );
    assert_eq!(bed.token_calls(), 2, "newer ones stay");
    assert!(
        !bed.run("admin renew-tokens --marketplace nowhere")
            .await
            .success,
        "a name that is mistyped is no success"
    );

    let done = bed
        .run("admin renew-tokens --marketplace heroku --rate 60000")
        .await;
    assert!(
        done.success && done.stdout.starts_with("2 access tokens have"),
        "{done:?}"
    );
    assert_eq!(bed.token_calls(), 4, "each was renewed, once");
    assert_eq!(bed.active_grants().await, 2);
    let audited = "SELECT count(*) FROM audit WHERE action = 'token.renew'";
    assert_eq!(bed.service.database.number(audited).await, 2);

    // And they are good: a push comes through without another renewal.
    let (app, addon) = bed.caches[0];
    let mut owner = Dashboard::open(&bed.service.sandbox, addon, &bed.service.base).await;
    let added = owner.add_credentials().await;
    owner.promote(&added).await;
    let arrived = bed
        .service
        .sandbox
        .wait_for_var(app, "MEMCACHIER_USERNAME", &added, PATIENCE);
    arrived
        .await
        .expect("the new primary is with the marketplace");
    assert_eq!(bed.token_calls(), 4);
    bed.service.stop().await;
}

async fn old_dashboard_addresses_end_by_command(database: Database) {
    let bed = Bed::start(database).await;
    let store = bed.service.store().await;
    let hash_of = async |cache: CacheId| {
        let secret = store.sso_secret(cache).await.expect("answered");
        secret.expect("a live cache").expose().to_owned()
    };
    let caches = [CacheId(1), CacheId(2)];
    let mut old = Vec::new();
    for cache in caches {
        old.push(hash_of(cache).await);
    }
    let (_, addon) = bed.caches[0];
    let mut owner = Dashboard::open(&bed.service.sandbox, addon, &bed.service.base).await;

    let done = bed.run("admin sign-out --all").await;
    assert!(done.success, "{done:?}");
    assert_eq!(hash_of(caches[0]).await, old[0], "sessions only");

    let done = bed.run("admin sign-out --all --addresses").await;
    assert!(
        done.success
            && done
                .stdout
                .contains("2 caches have a new dashboard address"),
        "{done:?}"
    );
    for (cache, old) in caches.iter().zip(&old) {
        let address = |hash: &str| format!("{}/d/{hash}", bed.service.base);
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .expect("a client");
        let answer = client.get(address(old)).send().await.expect("answered");
        assert_eq!(answer.status(), StatusCode::NOT_FOUND);
        let new = hash_of(*cache).await;
        let answer = client.get(address(&new)).send().await.expect("answered");
        assert!(answer.status().is_redirection(), "{}", answer.status());
    }
    let path = owner.path.clone();
    assert_eq!(owner.get(&path).await.status, StatusCode::UNAUTHORIZED);
    let told = "SELECT count(*) FROM events WHERE kind = 'sso_secret_rotated'";
    assert_eq!(bed.service.database.number(told).await, 2);
    store.close().await;
    bed.service.stop().await;
}

async fn one_cache_gets_a_new_primary(database: Database) {
    let bed = Bed::start(database).await;
    let vars = |app| bed.service.sandbox.config_vars(app);
    let ((app, addon), (other, _)) = (bed.caches[0], bed.caches[1]);
    let (before, of_other) = (vars(app), vars(other));
    let cache_name = bed.service.sandbox.read(|market| {
        let found = market.addons().into_iter().find(|found| found.id == addon);
        found.expect("it is there").name.clone()
    });

    let done = bed.run(&format!("admin rotate {cache_name}")).await;
    assert!(
        done.success && done.stdout.starts_with("1 cache has a new primary"),
        "{done:?}"
    );
    eventually("the marketplace has the new values", async || {
        vars(app)["MEMCACHIER_USERNAME"] != before["MEMCACHIER_USERNAME"]
    })
    .await;
    assert_eq!(vars(other), of_other, "the other cache is as it was");
    for vars in [&before, &vars(app)] {
        let mut client = Plain::connect(&vars["MEMCACHIER_SERVERS"]).await;
        let told = client
            .login(&vars["MEMCACHIER_USERNAME"], &vars["MEMCACHIER_PASSWORD"])
            .await;
        assert_eq!(told, "STORED", "nobody is left without a credential");
    }
    bed.service.stop().await;
}
