//! User names of credentials that were removed. An app that still sends one, on a connection that is logged in, logs in in
//! vain; its password is no item, also when the node has started since.

use larder::sandbox::ProvisionOptions;

use crate::support::dashboard::Dashboard;
use crate::support::db::Database;
use crate::support::full_service::{FullService, Wishes};
use crate::support::on_both_databases;
use crate::support::plain::Plain;

on_both_databases!(a_removed_user_name_is_a_login_after_a_restart_too);

const REFUSED: &str = "CLIENT_ERROR authentication failure";

async fn a_removed_user_name_is_a_login_after_a_restart_too(database: Database) {
    let service = FullService::start(database, Wishes::default()).await;
    let shop = service.sandbox.create_app("shop").expect("a new app");
    let made = service
        .sandbox
        .provision(shop, "dev", ProvisionOptions::default());
    let addon = made.await.expect("a cache").id;
    let mut owner = Dashboard::open(&service.sandbox, addon, &service.base).await;
    let old = owner.add_credentials().await;
    let password = owner.reveal(&old).await;
    assert!(owner.delete(&old).await.status.is_redirection());

    let service = service.restart_with("LARDER_SHUTDOWN_SECS", "4").await;
    let vars = service.sandbox.config_vars(shop);
    let logged_in = async || {
        let mut client = Plain::connect(&vars["MEMCACHIER_SERVERS"]).await;
        let (username, password) = (&vars["MEMCACHIER_USERNAME"], &vars["MEMCACHIER_PASSWORD"]);
        assert_eq!(client.login(username, password).await, "STORED");
        client
    };
    assert_eq!(logged_in().await.login(&old, &password).await, REFUSED);
    let block = format!("{old} {password}");
    let mut client = logged_in().await;
    client
        .say(&format!("ms k {}\r\n{block}\r\n", block.len()))
        .await;
    assert_eq!(client.line().await, REFUSED);
    let mut client = logged_in().await;
    client.say(&format!("get {old} k\r\n")).await;
    assert_eq!(client.line().await, "END");
    service.stop().await;
}
