//! The main job: a marketplace provisions a cache, a real client uses it, the owner rotates its credentials
//! without a failed operation, and flushes show up in the app's log.

use larder::sandbox::{AddonId, AppId, ProvisionOptions};

use crate::support::control_plane::eventually;
use crate::support::dashboard::Dashboard;
use crate::support::db::Database;
use crate::support::full_service::{FullService, PATIENCE, PROXY, Wishes};
use crate::support::looping::{LoopClient, Tally, loop_script, python, tally};
use crate::support::plain::Plain;
use crate::support::{needs, on_both_databases};

on_both_databases!(rotation_costs_no_operation);
on_both_databases!(the_overlap_is_as_long_as_the_operator_says);
on_both_databases!(every_flush_puts_one_line_in_the_right_log);
on_both_databases!(a_storm_of_flushes_is_told_in_few_lines_that_add_up);
on_both_databases!(rotate_now_tells_who_still_needs_the_former_primary);

/// Shop's app runs a real client in a loop; its owner adds a credential, promotes it, and deletes the old one.
async fn rotation_costs_no_operation(database: Database) {
    let Some(python) = needs(python(), "Python clients") else {
        return;
    };
    let command = format!("exec {python} {}", loop_script());
    let service = FullService::start(
        database,
        Wishes {
            app_command: Some(command),
            ..Wishes::default()
        },
    )
    .await;
    let (shop, addon) = provision(&service, "shop").await;
    let vars = service.sandbox.config_vars(shop);
    let (servers, old) = (
        vars["MEMCACHIER_SERVERS"].clone(),
        vars["MEMCACHIER_USERNAME"].clone(),
    );
    wait_for_line(&service, shop, &format!("ready user={old}")).await;
    let releases_before = service.sandbox.releases(shop).len();

    let mut owner = Dashboard::open(&service.sandbox, addon, &service.base).await;
    assert_eq!(owner.usernames().await, std::slice::from_ref(&old));
    let new = owner.add_credentials().await;
    let new_password = owner.reveal(&new).await;
    let old_client = LoopClient::start(&python, &servers, &old, &vars["MEMCACHIER_PASSWORD"]).await;
    let new_client = LoopClient::start(&python, &servers, &new, &new_password).await;

    assert!(owner.promote(&new).await.status.is_redirection());
    let pushed = service
        .sandbox
        .wait_for_var(shop, "MEMCACHIER_USERNAME", &new, PATIENCE)
        .await;
    pushed.expect("the push arrives");
    wait_for_line(&service, shop, &format!("ready user={new}")).await;
    let stopped = wait_for_line(&service, shop, &format!("stopped user={old}")).await;
    assert_eq!(tally(&stopped).failed, 0, "{stopped}");

    let Tally { operations, failed } = old_client.stop().await;
    assert!(
        operations > 0 && failed == 0,
        "{failed} of {operations} failed on the old credential"
    );
    assert!(owner.delete(&old).await.status.is_redirection());
    assert_eq!(owner.usernames().await, std::slice::from_ref(&new));
    let Tally { operations, failed } = new_client.stop().await;
    assert!(
        operations > 0 && failed == 0,
        "{failed} of {operations} failed on the new credential"
    );

    let vars = service.sandbox.config_vars(shop);
    assert_eq!(vars["MEMCACHIER_USERNAME"], new);
    assert_eq!(vars["MEMCACHIER_PASSWORD"], new_password);
    assert_eq!(
        service.sandbox.releases(shop).len(),
        releases_before + 1,
        "exactly one release"
    );
    service.stop().await;
}

/// The owner reads how long a former primary stays.
async fn the_overlap_is_as_long_as_the_operator_says(database: Database) {
    let overlap = ("LARDER_ROTATION_OVERLAP_SECS".to_owned(), "5400".to_owned());
    let wishes = Wishes {
        settings: vec![overlap],
        ..Wishes::default()
    };
    let service = FullService::start(database, wishes).await;
    let (_, addon) = provision(&service, "shop").await;
    let mut owner = Dashboard::open(&service.sandbox, addon, &service.base).await;
    let page = owner.page().await;
    assert!(page.contains("for 90 minutes at least"), "{page}");
    service.stop().await;
}

/// Shop and Blog each have a cache. Shop's client flushes, then Shop's owner presses the button.
async fn every_flush_puts_one_line_in_the_right_log(database: Database) {
    let Some(python) = needs(python(), "Python clients") else {
        return;
    };
    let service = FullService::start(database, Wishes::default()).await;
    let (shop, addon) = provision(&service, "shop").await;
    let (blog, _) = provision(&service, "blog").await;
    let vars = service.sandbox.config_vars(shop);
    let user = &vars["MEMCACHIER_USERNAME"];

    let mut client = LoopClient::start(
        &python,
        &vars["MEMCACHIER_SERVERS"],
        user,
        &vars["MEMCACHIER_PASSWORD"],
    )
    .await;
    client.flush().await;
    let by_client = wait_for_line(&service, shop, "event=flush ").await;
    assert!(
        by_client.contains("origin=\"memcache client\""),
        "{by_client}"
    );
    assert!(
        by_client.contains(&format!("proxy={PROXY} ")),
        "{by_client}"
    );
    assert!(
        by_client.contains(&format!("credential={user} remote=127.0.0.1 items=")),
        "{by_client}"
    );

    let mut owner = Dashboard::open(&service.sandbox, addon, &service.base).await;
    assert!(owner.flush().await.status.is_redirection());
    let by_owner = wait_for_line(&service, shop, "event=flush origin=\"web interface\"").await;
    assert!(by_owner.contains(&format!("proxy={PROXY} ")), "{by_owner}");
    assert!(!by_owner.contains("credential="), "{by_owner}");

    client.stop().await;
    assert_eq!(service.lines_of(shop, "flush").len(), 2);
    assert_eq!(
        service.lines_of(blog, "flush").len(),
        0,
        "nobody else hears of it"
    );
    service.stop().await;
}

/// Shop's client flushes again and again, faster than anybody would read.
async fn a_storm_of_flushes_is_told_in_few_lines_that_add_up(database: Database) {
    const FLUSHES: u64 = 37;
    let service = FullService::start(database, Wishes::default()).await;
    let (shop, _) = provision(&service, "shop").await;
    let (mut client, _) = client_of(&service, shop).await;
    client.say(&"flush_all\r\n".repeat(FLUSHES as usize)).await;
    for _ in 0..FLUSHES {
        assert_eq!(client.line().await, "OK");
    }
    let told = || service.lines_of(shop, "flush");
    let sum = || told().iter().map(|line| times(line)).sum::<u64>();
    eventually("all of them are told", async || sum() >= FLUSHES).await;
    let lines = told();
    assert_eq!(sum(), FLUSHES, "{lines:#?}");
    assert!((lines.len() as u64) < FLUSHES, "{lines:#?}");
    service.stop().await;
}

/// How many events a line stands for.
fn times(line: &str) -> u64 {
    line.rsplit_once(" repeated=")
        .map_or(1, |(_, times)| times.parse().expect("a count"))
}

/// Shop's client stays connected while its owner rotates in one step.
async fn rotate_now_tells_who_still_needs_the_former_primary(database: Database) {
    let service = FullService::start(database, Wishes::default()).await;
    let (shop, addon) = provision(&service, "shop").await;
    let (mut client, old) = client_of(&service, shop).await;
    let releases_before = service.sandbox.releases(shop).len();
    let mut owner = Dashboard::open(&service.sandbox, addon, &service.base).await;
    eventually("its row shows the client", async || {
        let row = row_of(&owner.page().await, &old);
        row.contains("class=\"number\">1</td>") && !row.contains(">never<")
    })
    .await;

    let action = format!("credentials/{old}/rotate");
    assert!(owner.act(&action, &[]).await.status.is_redirection());
    let new = owner.usernames().await.remove(0);
    assert_ne!(new, old);
    let name = "MEMCACHIER_USERNAME";
    let arrived = service.sandbox.wait_for_var(shop, name, &new, PATIENCE);
    arrived.await.expect("the push arrives");
    eventually("its row tells when it may go", async || {
        row_of(&owner.page().await, &old).contains("Safe to delete from ")
    })
    .await;
    client.say("set k 0 0 1\r\nv\r\n").await;
    assert_eq!(client.line().await, "STORED", "until then it works");
    assert_eq!(
        service.sandbox.releases(shop).len(),
        releases_before + 1,
        "exactly one release"
    );
    service.stop().await;
}

/// A client logged in with the app's variables, and its user name.
async fn client_of(service: &FullService, app: AppId) -> (Plain, String) {
    let vars = service.sandbox.config_vars(app);
    let user = vars["MEMCACHIER_USERNAME"].clone();
    let mut client = Plain::connect(&vars["MEMCACHIER_SERVERS"]).await;
    let greeted = client.login(&user, &vars["MEMCACHIER_PASSWORD"]).await;
    assert_eq!(greeted, "STORED");
    (client, user)
}

/// A credential's row of the table.
fn row_of(page: &str, username: &str) -> String {
    let start = page.find(&format!("id=\"credential-{username}\""));
    let row = &page[start.expect("a row")..];
    row[..row.find("</tr>").expect("its end")].to_owned()
}

async fn provision(service: &FullService, name: &str) -> (AppId, AddonId) {
    let app = service.sandbox.create_app(name).expect("a new app");
    let addon = service
        .sandbox
        .provision(app, "dev", ProvisionOptions::default())
        .await
        .expect("a cache");
    (app, addon.id)
}

async fn wait_for_line(service: &FullService, app: AppId, start: &str) -> String {
    let found = service.sandbox.wait_for_line(app, start, PATIENCE).await;
    match found {
        Ok(line) => line.text,
        Err(late) => panic!(
            "{late}: {start}; the log holds {:#?}",
            service.sandbox.log_lines(app)
        ),
    }
}
