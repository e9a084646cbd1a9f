//! Who Heroku is never made to wait for: a request that does not go on, and Heroku's own hosts.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use larder::sandbox::{AddonId, EndpointGroup, Fault, ProvisionOptions};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::control_plane::eventually;
use crate::support::dashboard::Dashboard;
use crate::support::db::Database;
use crate::support::full_service::{FullService, PASSWORD, Wishes};
use crate::support::on_both_databases;

on_both_databases!(a_body_that_does_not_come_is_a_503_within_the_deadline);
on_both_databases!(nothing_waits_for_a_platform_that_hangs);
on_both_databases!(a_removal_overtakes_a_push_that_hangs);

/// heroku.md §1: Heroku hears from us within this time.
const DEADLINE: Duration = Duration::from_secs(20);

/// The announced body stays away, on a connection that lives. What ends the request is our deadline for these calls,
/// in Heroku's own words, and no other limit before it.
async fn a_body_that_does_not_come_is_a_503_within_the_deadline(database: Database) {
    let service = FullService::start(database, Wishes::default()).await;
    let addr = service.base.trim_start_matches("http://");
    let login = STANDARD.encode(format!("larder:{PASSWORD}"));
    let request = format!(
        "POST /heroku/resources HTTP/1.1\r\nhost: {addr}\r\nauthorization: Basic {login}\r\n\
         content-type: application/json\r\ncontent-length: 10\r\n\r\n{{"
    );
    let mut stream = TcpStream::connect(addr).await.expect("it listens");
    let sent = stream.write_all(request.as_bytes()).await;
    sent.expect("it is taken");
    let head = timeout(DEADLINE, head(&mut stream)).await;
    let head = head.expect("an answer in time").to_lowercase();
    assert!(head.starts_with("http/1.1 503 "), "{head}");
    assert!(head.contains("\r\nretry-after: 5\r\n"), "{head}");
    let json = "\r\ncontent-type: application/json\r\n";
    assert!(head.contains(json), "{head}");
    drop(stream);
    service.stop().await;
}

/// An answer up to its blank line.
async fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("a whole head"));
    }
    String::from_utf8(head).expect("text")
}

/// Heroku's hosts take every call and answer none. Whoever asks us has their answer before the exchange of the grant,
/// the first of these calls, has ended.
async fn nothing_waits_for_a_platform_that_hangs(database: Database) {
    let service = FullService::start(database, Wishes::default()).await;
    for group in EndpointGroup::ALL {
        service.sandbox.set_fault(group, Some(Fault::Hang));
    }
    let addon = provision(&service).await;
    let changed = service.sandbox.change_plan(addon, "100").await;
    assert_eq!(changed.expect("changed").plan, "100");
    let mut owner = Dashboard::open(&service.sandbox, addon, &service.base).await;
    let new = owner.add_credentials().await;
    assert!(owner.promote(&new).await.status.is_redirection());
    assert_eq!(owner.usernames().await[0], new);
    assert!(owner.flush().await.status.is_redirection());
    hangs(&service, "POST", "/oauth/token").await;
    hangs(&service, "POST", "/logs").await;
    let ended = service.database.number("SELECT attempt FROM grants").await;
    assert_eq!(ended, 0, "the exchange goes on still");
    is_removed(&service, addon).await;
    service.stop().await;
}

/// Shop is taken away while its new values are on their way.
async fn a_removal_overtakes_a_push_that_hangs(database: Database) {
    let service = FullService::start(database, Wishes::default()).await;
    let config = EndpointGroup::Config;
    service.sandbox.set_fault(config, Some(Fault::Hang));
    let addon = provision(&service).await;
    let mut owner = Dashboard::open(&service.sandbox, addon, &service.base).await;
    let new = owner.add_credentials().await;
    assert!(owner.promote(&new).await.status.is_redirection());
    hangs(&service, "PATCH", &format!("/addons/{addon}/config")).await;
    is_removed(&service, addon).await;
    service.stop().await;
}

async fn provision(service: &FullService) -> AddonId {
    let shop = service.sandbox.create_app("shop").expect("a new name");
    let options = ProvisionOptions::default();
    let addon = service.sandbox.provision(shop, "dev", options).await;
    addon.expect("a cache").id
}

/// Waits until a call of ours has arrived there that nobody answers.
async fn hangs(service: &FullService, method: &str, path: &str) {
    eventually(path, async || {
        let seen = service.sandbox.requests();
        seen.iter().any(|call| {
            call.method == method && call.path.starts_with(path) && call.fault == Some("hang")
        })
    })
    .await;
}

/// Removing it succeeds at once, and no token and no push stays behind.
async fn is_removed(service: &FullService, addon: AddonId) {
    let gone = service.sandbox.deprovision(addon).await;
    assert_eq!(gone.expect("an answer").status, 204);
    for left in [
        "SELECT count(*) FROM grants",
        "SELECT count(*) FROM config_sync",
    ] {
        assert_eq!(service.database.number(left).await, 0, "{left}");
    }
}
