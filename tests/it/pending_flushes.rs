//! A flush that an app has ordered for later, while the owner deletes its credential in the dashboard.

use larder::sandbox::ProvisionOptions;

use crate::support::control_plane::eventually;
use crate::support::dashboard::Dashboard;
use crate::support::db::Database;
use crate::support::full_service::{FullService, Wishes};
use crate::support::on_both_databases;
use crate::support::plain::Plain;

on_both_databases!(a_pending_flush_ends_with_its_credential);

/// A cache with an item. A client with a second credential has ordered a flush in six seconds.
struct PendingFlush {
    owner: Dashboard,
    servers: String,
    primary: (String, String),
    second: String,
}

impl PendingFlush {
    async fn order(service: &FullService, name: &str) -> PendingFlush {
        let app = service.sandbox.create_app(name).expect("a new app");
        let made = service
            .sandbox
            .provision(app, "dev", ProvisionOptions::default());
        let addon = made.await.expect("a cache").id;
        let mut owner = Dashboard::open(&service.sandbox, addon, &service.base).await;
        let second = owner.add_credentials().await;
        let password = owner.reveal(&second).await;
        let vars = service.sandbox.config_vars(app);
        let var = |name: &str| vars[&format!("MEMCACHIER_{name}")].clone();
        let cache = PendingFlush {
            owner,
            servers: var("SERVERS"),
            primary: (var("USERNAME"), var("PASSWORD")),
            second,
        };
        let mut writer = cache.logged_in(&cache.primary.0, &cache.primary.1).await;
        writer.say("set k 0 0 1\r\nv\r\n").await;
        assert_eq!(writer.line().await, "STORED");
        let mut flusher = cache.logged_in(&cache.second, &password).await;
        flusher.say("flush_all 6\r\n").await;
        assert_eq!(flusher.line().await, "OK");
        cache
    }

    async fn logged_in(&self, username: &str, password: &str) -> Plain {
        let mut client = Plain::connect(&self.servers).await;
        assert_eq!(client.login(username, password).await, "STORED");
        client
    }

    async fn holds_its_item(&self) -> bool {
        let (username, password) = &self.primary;
        let mut client = self.logged_in(username, password).await;
        client.say("get k\r\n").await;
        client.line().await == "VALUE k 0 1"
    }
}

async fn a_pending_flush_ends_with_its_credential(database: Database) {
    let service = FullService::start(database, Wishes::default()).await;
    let mut left = PendingFlush::order(&service, "left").await;
    let second = left.second.clone();
    assert!(left.owner.delete(&second).await.status.is_redirection());
    assert!(left.holds_its_item().await, "deleted before it was due");
    // Ordered later, and nobody ends it.
    let kept = PendingFlush::order(&service, "kept").await;
    eventually("the other cache is emptied", async || {
        !kept.holds_its_item().await
    })
    .await;
    assert!(left.holds_its_item().await);
    service.stop().await;
}
