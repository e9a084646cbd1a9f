//! Faults between Heroku and us, through the public routes: what is refused, told, and made good later.

use std::time::{SystemTime, UNIX_EPOCH};

use larder::sandbox::{AddonId, AppId, EndpointGroup, Fault, ProvisionOptions};
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode};
use serde_json::json;

use crate::bad_input::signed;
use crate::support::control_plane::eventually;
use crate::support::dashboard::{Dashboard, visible_text};
use crate::support::db::Database;
use crate::support::full_service::{
    FullService, PASSWORD, PATIENCE, SALT, Wishes, free_port, plan,
};
use crate::support::on_both_databases;
use crate::support::plain::Plain;
use crate::support::process::larder;

on_both_databases!(a_refused_push_is_told_and_sent_again_on_request);
on_both_databases!(a_cache_without_a_token_is_told_of_before_any_push);
on_both_databases!(a_new_client_secret_goes_on_with_the_old_refresh_tokens);
on_both_databases!(a_new_password_and_salt_are_good_beside_the_old_ones);
on_both_databases!(a_token_that_ends_early_is_refreshed_once_and_a_lasting_refusal_told);
on_both_databases!(what_happens_to_a_cache_is_told_in_its_app_s_log);
on_both_databases!(a_smaller_plan_keeps_what_fits);
on_both_databases!(a_database_that_hangs_is_a_503_and_nothing_is_half_made);

/// A plan that is soon full.
fn small() -> String {
    plan("dev", 1, 2)
}

async fn provision(service: &FullService) -> (AppId, AddonId) {
    provision_on(service, "dev").await
}

async fn provision_on(service: &FullService, plan: &str) -> (AppId, AddonId) {
    let shop = service.sandbox.create_app("shop").expect("a new name");
    let options = ProvisionOptions::default();
    let addon = service.sandbox.provision(shop, plan, options).await;
    (shop, addon.expect("a cache").id)
}

async fn arrives(service: &FullService, app: AppId, username: &str) {
    let name = "MEMCACHIER_USERNAME";
    let arrived = service.sandbox.wait_for_var(app, name, username, PATIENCE);
    arrived.await.expect("the push arrives");
}

async fn says(owner: &mut Dashboard, what: &str) {
    eventually(what, async || {
        visible_text(&owner.page().await).contains(what)
    })
    .await;
}

/// The platform refuses Shop's push for good. Its owner asks once more, and later the operator does.
async fn a_refused_push_is_told_and_sent_again_on_request(database: Database) {
    let service = FullService::start(database, Wishes::default()).await;
    let (shop, addon) = provision(&service).await;
    let mut owner = Dashboard::open(&service.sandbox, addon, &service.base).await;
    let config = EndpointGroup::Config;
    for by_operator in [false, true] {
        service.sandbox.set_fault(config, Some(Fault::Forbidden));
        let new = owner.add_credentials().await;
        assert!(owner.promote(&new).await.status.is_redirection());
        says(&mut owner, "Config vars: Refused").await;
        assert!(owner.page().await.contains("/config-vars/push"));
        service.sandbox.set_fault(config, None);
        if by_operator {
            let number = owner.path.trim_start_matches("/caches/").to_owned();
            let settings = service.settings();
            let folder = std::env::temp_dir();
            let done = larder(&format!("admin push {number}"), settings, &folder).await;
            assert!(done.success, "{done:?}");
        } else {
            let asked = owner.act("config-vars/push", &[]).await;
            assert!(asked.status.is_redirection());
        }
        arrives(&service, shop, &new).await;
        says(&mut owner, "Config vars: Applied").await;
        assert!(!owner.page().await.contains("/config-vars/push"));
    }
    service.stop().await;
}

/// Jobs gets its cache without a grant, as old testers order them; Shop gets one. Nobody has anything to push yet.
async fn a_cache_without_a_token_is_told_of_before_any_push(database: Database) {
    let service = FullService::start(database, Wishes::default()).await;
    let jobs = service.sandbox.create_app("jobs").expect("a new name");
    let options = ProvisionOptions {
        without_grant: true,
        ..ProvisionOptions::default()
    };
    let without = service.sandbox.provision(jobs, "dev", options).await;
    let without = without.expect("a cache").id;
    let (_, with) = provision(&service).await;
    for (addon, expected) in [(without, true), (with, false)] {
        let mut owner = Dashboard::open(&service.sandbox, addon, &service.base).await;
        let page = visible_text(&owner.page().await);
        assert!(page.contains("Config vars: Applied"), "{page}");
        let told = page.contains("Heroku has given us no token for this cache.");
        assert_eq!(told, expected, "{page}");
    }
    let folder = std::env::temp_dir();
    let listed = larder("admin caches", service.settings(), &folder).await;
    assert!(listed.success, "{listed:?}");
    for (addon, expected) in [(without, "NO TOKEN"), (with, "applied")] {
        let addon = addon.to_string();
        let row = listed.stdout.lines().find(|line| line.contains(&addon));
        let row = row.expect("a row");
        assert!(row.contains(expected), "{row}");
    }
    let remarks = listed
        .stdout
        .matches("no token: its provider has given none");
    assert_eq!(remarks.count(), 1, "{}", listed.stdout);
    service.stop().await;
}

/// The secret is reset in the partner portal before anybody tells us: every access token ends at once. With the new
/// secret the old refresh tokens are good again.
async fn a_new_client_secret_goes_on_with_the_old_refresh_tokens(database: Database) {
    let service = FullService::start(database, Wishes::default()).await;
    let (shop, addon) = provision(&service).await;
    let mut owner = Dashboard::open(&service.sandbox, addon, &service.base).await;
    service
        .sandbox
        .reset_client_secret("another-secret".to_owned().into());
    let new = owner.add_credentials().await;
    assert!(owner.promote(&new).await.status.is_redirection());
    says(&mut owner, "Config vars: Refused").await;
    let service = service
        .restart_with("LARDER_HEROKU_CLIENT_SECRET", "another-secret")
        .await;
    let asked = owner.act("config-vars/push", &[]).await;
    assert!(asked.status.is_redirection());
    arrives(&service, shop, &new).await;
    service.stop().await;
}

/// We learn a new password and a new salt before the marketplace has its new manifest. Either may arrive for a while.
async fn a_new_password_and_salt_are_good_beside_the_old_ones(database: Database) {
    let service = FullService::start(database, Wishes::default()).await;
    let (_, addon) = provision(&service).await;
    let rotated = [
        ("LARDER_HEROKU_PASSWORD", "new-password"),
        ("LARDER_HEROKU_PASSWORD_PREVIOUS", PASSWORD),
        ("LARDER_HEROKU_SSO_SALT", "new-salt"),
        ("LARDER_HEROKU_SSO_SALT_PREVIOUS", SALT),
    ];
    let service = service.restart_with_all(&rotated).await;
    let builder = Client::builder().redirect(Policy::none()).no_proxy();
    let http = builder.build().expect("a client");

    let body = json!({"uuid": addon, "plan": "dev", "region": "us"});
    let resources = format!("{}/heroku/resources", service.base);
    for (password, status) in [
        ("new-password", StatusCode::CREATED),
        ("another", StatusCode::UNAUTHORIZED),
    ] {
        let asked = http.post(&resources).basic_auth("larder", Some(password));
        let answer = asked.json(&body).send().await.expect("an answer");
        assert_eq!(answer.status(), status, "{password}");
    }
    let old = service.sandbox.repeat_provision(addon).await;
    assert_eq!(old.expect("an answer").status, 201);

    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = since_1970.expect("a clock that is right").as_secs();
    let sign_on = format!("{}/heroku/sso", service.base);
    for (salt, status) in [
        ("another", StatusCode::FORBIDDEN),
        ("new-salt", StatusCode::SEE_OTHER),
    ] {
        let asked = http.post(&sign_on).form(&signed(addon, now, salt));
        let answer = asked.send().await.expect("an answer");
        assert_eq!(answer.status(), status, "{salt}");
    }
    // The marketplace has the old one still.
    Dashboard::open(&service.sandbox, addon, &service.base).await;
    service.stop().await;
}

/// Shop's access token is revoked early, which costs one refresh. Later the platform takes no token at all.
async fn a_token_that_ends_early_is_refreshed_once_and_a_lasting_refusal_told(database: Database) {
    let metrics = format!("127.0.0.1:{}", free_port());
    let wishes = Wishes {
        settings: vec![("LARDER_METRICS_ADDR".to_owned(), metrics.clone())],
        ..Wishes::default()
    };
    let service = FullService::start(database, wishes).await;
    let (shop, addon) = provision(&service).await;
    let answered = |method: &str, path_end: &str, status: u16| {
        service
            .sandbox
            .read(|market| market.requests().count(method, path_end, status))
    };
    // The last call with the first token: from here on nobody but the push needs one.
    eventually("the attached apps are read", async || {
        answered("GET", "/addon-attachments", 200) == 1
    })
    .await;
    let mut owner = Dashboard::open(&service.sandbox, addon, &service.base).await;
    let new = owner.add_credentials().await;
    service.sandbox.expire_tokens();
    assert!(owner.promote(&new).await.status.is_redirection());
    arrives(&service, shop, &new).await;
    says(&mut owner, "Config vars: Applied").await;
    assert_eq!(answered("PATCH", "/config", 401), 1);
    assert_eq!(answered("POST", "/oauth/token", 200), 2, "and one refresh");
    assert_eq!(answered("PATCH", "/config", 200), 1);

    let dead_before = dead_pushes(&metrics).await;
    let config = EndpointGroup::Config;
    service.sandbox.set_fault(config, Some(Fault::Unauthorized));
    let newer = owner.add_credentials().await;
    assert!(owner.promote(&newer).await.status.is_redirection());
    says(&mut owner, "Config vars: Refused").await;
    assert_eq!(answered("PATCH", "/config", 401), 3, "repeated once");
    assert_eq!(answered("POST", "/oauth/token", 200), 3);
    eventually("the operator sees it", async || {
        dead_pushes(&metrics).await > dead_before
    })
    .await;
    service.stop().await;
}

/// How many pushes ended as a case for a person, as `/metrics` counts them.
async fn dead_pushes(metrics: &str) -> u64 {
    let answer = reqwest::get(format!("http://{metrics}/metrics")).await;
    let text = answer.expect("an answer").text().await.expect("a body");
    let dead = text.lines().find(|line| {
        line.starts_with("larder_outbox_attempts_total{")
            && line.contains("kind=\"config_push\"")
            && line.contains("outcome=\"dead\"")
    });
    let count = dead.and_then(|line| line.rsplit_once(' '));
    count.map_or(0, |(_, count)| count.parse().expect("a count"))
}

/// Shop's client is refused a flush, opens too many connections and fills its cache; its owner promotes a credential.
async fn what_happens_to_a_cache_is_told_in_its_app_s_log(database: Database) {
    let wishes = Wishes {
        file: Some(small()),
        ..Wishes::default()
    };
    let service = FullService::start(database, wishes).await;
    let (shop, addon) = provision(&service).await;
    let vars = service.sandbox.config_vars(shop);
    let (servers, user) = (&vars["MEMCACHIER_SERVERS"], &vars["MEMCACHIER_USERNAME"]);
    let password = &vars["MEMCACHIER_PASSWORD"];
    let mut owner = Dashboard::open(&service.sandbox, addon, &service.base).await;
    let line = async |start: &str| {
        let found = service.sandbox.wait_for_line(shop, start, PATIENCE).await;
        found.unwrap_or_else(|_| panic!("no line {start}")).text
    };

    let boxes = format!("credentials/{user}/capabilities");
    let restricted = owner.act(&boxes, &[("write", "on"), ("api", "on")]).await;
    assert!(restricted.status.is_redirection());
    let mut client = Plain::connect(servers).await;
    assert_eq!(client.login(user, password).await, "STORED");
    client.say("flush_all\r\n").await;
    assert_eq!(client.line().await, "CLIENT_ERROR flush not permitted");
    let refused = line("event=flush_refused").await;
    let by = format!("credential={user} remote=127.0.0.1");
    assert!(refused.contains(&by), "{refused}");

    let mut second = Plain::connect(servers).await;
    assert_eq!(second.login(user, password).await, "STORED");
    let mut third = Plain::connect(servers).await;
    assert_ne!(third.login(user, password).await, "STORED");
    let over = line("event=connections_over_limit").await;
    assert!(over.contains("limit=2 refused=1"), "{over}");

    let value = "v".repeat(10_000);
    for number in 0..300 {
        client
            .say(&format!("set k{number} 0 0 10000\r\n{value}\r\n"))
            .await;
        assert_eq!(client.line().await, "STORED");
    }
    let full = line("event=memory_full").await;
    assert!(full.contains(" evictions="), "{full}");
    let bought = format!(" limit={} ", 1 << 20);
    assert!(full.contains(&bought), "as the plan says: {full}");
    assert!(owner.page().await.contains(&bought), "in the timeline too");

    let new = owner.add_credentials().await;
    assert!(owner.promote(&new).await.status.is_redirection());
    let promoted = line("event=credentials_promoted").await;
    assert!(
        promoted.ends_with(&format!("credential={new}")),
        "{promoted}"
    );
    for told in service.sandbox.log_lines(shop) {
        assert!(!told.text.contains(password.as_str()), "{}", told.text);
    }
    service.stop().await;
}

/// Shop moves to a plan that its data is too large for. That is no reason to refuse: what is above the limit goes.
async fn a_smaller_plan_keeps_what_fits(database: Database) {
    let wishes = Wishes {
        // The larger one holds several of the small.
        file: Some([small(), plan("100", 8, 2)].concat()),
        ..Wishes::default()
    };
    let service = FullService::start(database, wishes).await;
    let (shop, addon) = provision_on(&service, "100").await;
    let vars = service.sandbox.config_vars(shop);
    let (user, password) = (&vars["MEMCACHIER_USERNAME"], &vars["MEMCACHIER_PASSWORD"]);
    let mut client = Plain::connect(&vars["MEMCACHIER_SERVERS"]).await;
    assert_eq!(client.login(user, password).await, "STORED");
    let value = "v".repeat(10_000);
    for number in 0..300 {
        client
            .say(&format!("set k{number} 0 0 10000\r\n{value}\r\n"))
            .await;
        assert_eq!(client.line().await, "STORED");
    }
    assert_eq!(stat(&mut client, "curr_items").await, 300);
    assert_eq!(stat(&mut client, "limit_maxbytes").await, limit_of(8));

    let changed = service.sandbox.change_plan(addon, "dev").await;
    assert_eq!(changed.expect("changed").plan, "dev");
    let path = format!("/heroku/resources/{addon}");
    let sandbox = &service.sandbox;
    let answered = sandbox.read(|market| market.requests().count("PUT", &path, 200));
    assert_eq!(answered, 1);
    assert_eq!(stat(&mut client, "limit_maxbytes").await, limit_of(1));
    eventually("the data fits", async || {
        stat(&mut client, "bytes").await <= limit_of(1)
    })
    .await;
    let kept = stat(&mut client, "curr_items").await;
    assert!((1..300).contains(&kept), "{kept}");
    client.say(&format!("set k 0 0 10000\r\n{value}\r\n")).await;
    assert_eq!(client.line().await, "STORED", "it is as usable as before");
    service.stop().await;
}

/// The engine's limit of a plan of so much memory: a tenth above what was bought.
fn limit_of(mib: u64) -> u64 {
    let bought = mib << 20;
    bought + bought / 10
}

/// One number of the cache's own figures.
async fn stat(client: &mut Plain, name: &str) -> u64 {
    client.say("stats\r\n").await;
    let start = format!("STAT {name} ");
    let mut found = None;
    loop {
        let line = client.line().await;
        if line == "END" {
            return found.expect("the figure is told");
        }
        assert!(line.starts_with("STAT "), "{line}");
        if let Some(number) = line.strip_prefix(&start) {
            found = Some(number.parse().expect("a number"));
        }
    }
}

/// Somebody holds the database for longer than anybody waits. Heroku is told when to come back, and finds one cache.
async fn a_database_that_hangs_is_a_503_and_nothing_is_half_made(database: Database) {
    let service = FullService::start(database, Wishes::default()).await;
    let store = service.store().await;
    let mut held = store.begin().await.expect("a transaction");
    // Every change of the installation needs this row, or on SQLite the only writer.
    let nobody = larder::domain::CacheId(4_711);
    held.bump(nobody).await.expect("held");
    let shop = service.sandbox.create_app("shop").expect("a new name");
    let options = ProvisionOptions::default();
    let addon = service.sandbox.prepare_provision(shop, "dev", options);
    let addon = addon.expect("an order");
    let body = json!({"uuid": addon, "plan": "dev", "region": "us"});
    let asked = Client::new()
        .post(format!("{}/heroku/resources", service.base))
        .basic_auth("larder", Some(PASSWORD))
        .json(&body)
        .send();
    let answer = asked.await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.headers()["retry-after"], "5");
    drop(held);
    let made = service
        .sandbox
        .repeat_provision(addon)
        .await
        .expect("an answer");
    let again = service
        .sandbox
        .repeat_provision(addon)
        .await
        .expect("an answer");
    assert_eq!((made.status, again.status), (201, 201));
    assert_eq!(made.body, again.body);
    store.close().await;
    service.stop().await;
}
