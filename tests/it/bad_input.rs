//! Bad input of every kind gets a clear refusal that tells nothing about the inside, and changes nothing (P12).

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use larder::domain::secret::digest_hex;
use larder::sandbox::{AddonId, ProvisionOptions, User};
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use crate::support::db::Database;
use crate::support::full_service::{
    FullService, PASSWORD, SALT, Wishes, free_port, setting, settings,
};
use crate::support::on_both_databases;
use crate::support::process::{Process, larder};

on_both_databases!(a_marketplace_s_mistakes_are_refused);
on_both_databases!(sign_ons_that_prove_nothing_are_refused);
on_both_databases!(a_wrong_master_key_opens_and_changes_nothing);
on_both_databases!(another_program_s_schema_is_left_alone);

/// Somebody who is not the marketplace, and a marketplace that sends rubbish.
async fn a_marketplace_s_mistakes_are_refused(database: Database) {
    let service = FullService::start(database, Wishes::default()).await;
    let http = client();
    let url = format!("{}/heroku/resources", service.base);
    let post = |password: &str| http.post(&url).basic_auth("larder", Some(password));
    let sound = json!({
        "uuid": "01234567-89ab-cdef-0123-456789abcdef", "plan": "dev", "region": "amazon-web-services::us-east-1",
        "name": "shop-cache",
    });
    let with = |member: &str, value: Value| {
        let mut body = sound.clone();
        body[member] = value;
        body
    };
    let large = format!("{{\"plan\": \"{}\"}}", "x".repeat(64 * 1024));
    let nested = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));

    for (what, request, status) in [
        ("no login", http.post(&url).json(&sound), 401),
        ("a wrong password", post("wrong").json(&sound), 401),
        (
            "a wrong user",
            http.post(&url)
                .basic_auth("lorder", Some(PASSWORD))
                .json(&sound),
            401,
        ),
        (
            "64 KiB without a login",
            http.post(&url).body(large.clone()),
            401,
        ),
        ("rubbish without a login", http.post(&url).body("{"), 401),
        ("cut-off JSON", post(PASSWORD).body("{\"plan\": "), 400),
        ("no JSON", post(PASSWORD).body("plan=dev"), 400),
        ("nothing", post(PASSWORD), 400),
        ("deep JSON", post(PASSWORD).body(nested), 400),
        (
            "bytes",
            post(PASSWORD).body(b"{\"plan\": \"\xff\xfe\"}".to_vec()),
            400,
        ),
        ("a list", post(PASSWORD).json(&json!([sound])), 400),
        (
            "a plan that is a number",
            post(PASSWORD).json(&with("plan", json!(7))),
            422,
        ),
        (
            "a plan nobody offers",
            post(PASSWORD).json(&with("plan", json!("gold"))),
            422,
        ),
        (
            "a plan in capitals",
            post(PASSWORD).json(&with("plan", json!("DEV"))),
            422,
        ),
        (
            "a plan made of SQL",
            post(PASSWORD).json(&with("plan", json!("dev' OR 1=1 --"))),
            422,
        ),
        (
            "a region nobody serves",
            post(PASSWORD).json(&with("region", json!("moon"))),
            422,
        ),
        (
            "no uuid",
            post(PASSWORD).json(&with("uuid", json!("7"))),
            422,
        ),
        ("more than 64 KiB", post(PASSWORD).body(large), 413),
        (
            "another method",
            http.patch(&url).basic_auth("larder", Some(PASSWORD)),
            405,
        ),
        (
            "an unknown resource",
            http.delete(format!("{url}/0"))
                .basic_auth("larder", Some(PASSWORD)),
            404,
        ),
    ] {
        let body = refused(what, request, status).await;
        let body: Value = serde_json::from_str(&body).unwrap_or_else(|_| panic!("{what}: {body}"));
        let message = body["message"].as_str().unwrap_or_default();
        assert!(
            message.ends_with('.') && message.len() > 10,
            "{what}: {body}"
        );
    }
    let resources = service.database.number("SELECT count(*) FROM resources");
    assert_eq!(resources.await, 0, "none of it left anything behind");

    let answer = post(PASSWORD).json(&sound).send().await.expect("an answer");
    assert_eq!(
        answer.status(),
        StatusCode::CREATED,
        "and what is sound still works"
    );
    service.stop().await;
}

/// Mallory has a sign-on form of Shop's owner, and tries what can be done with it.
async fn sign_ons_that_prove_nothing_are_refused(database: Database) {
    let service = FullService::start(database, Wishes::default()).await;
    let shop = service.sandbox.create_app("shop").expect("a new app");
    let addon = service
        .sandbox
        .provision(shop, "dev", ProvisionOptions::default())
        .await;
    let addon = addon.expect("a cache").id;
    let http = client();
    let url = format!("{}/heroku/sso", service.base);
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_secs();
    let anonymous = AddonId::generate();

    let refusals = [
        ("forged", signed(addon, now, "not-the-salt")),
        (
            "changed user",
            changed(signed(addon, now, SALT), "email", "mallory@example.com"),
        ),
        (
            "changed cache",
            changed(
                signed(addon, now, SALT),
                "resource_id",
                &anonymous.to_string(),
            ),
        ),
        (
            "changed time",
            changed(signed(addon, now - 1, SALT), "timestamp", &now.to_string()),
        ),
        ("old", signed(addon, now - 310, SALT)),
        ("from the future", signed(addon, now + 120, SALT)),
        (
            "no token",
            changed(signed(addon, now, SALT), "user_scoped_resource_token", ""),
        ),
        ("nothing", vec![]),
    ];
    let mut pages = Vec::new();
    for (what, form) in refusals {
        pages.push(refused(what, http.post(&url).form(&form), 403).await);
    }
    assert!(
        pages.windows(2).all(|pair| pair[0] == pair[1]),
        "all refusals look the same"
    );

    let (_, form) = service
        .sandbox
        .sso_form(addon, &User::default())
        .expect("a form");
    let first = http.post(&url).form(&form).send().await.expect("an answer");
    assert_eq!(first.status(), StatusCode::SEE_OTHER);
    let again = refused("reused", http.post(&url).form(&form), 403).await;
    assert_eq!(again, pages[0]);
    let sessions = service.database.number("SELECT count(*) FROM sessions");
    assert_eq!(sessions.await, 1, "only the first opened a session");

    let large = vec![("email", "x".repeat(64 * 1024))];
    let page = refused("more than 64 KiB", http.post(&url).form(&large), 413).await;
    assert!(page.contains("That was too much"), "{page}");
    let dashboard = format!("{}/caches/1", service.base);
    refused("no session", http.get(&dashboard), 401).await;
    refused(
        "a form from nowhere",
        http.post(format!("{dashboard}/flush")),
        401,
    )
    .await;
    refused(
        "a guessed address",
        http.get(format!("{}/d/guess", service.base)),
        404,
    )
    .await;
    refused(
        "no such page",
        http.get(format!("{}/../etc/passwd", service.base)),
        404,
    )
    .await;
    service.stop().await;
}

/// An operator misspells things in `larder.toml` and gets many variables wrong: one run tells all of it.
#[tokio::test]
async fn check_config_reports_every_mistake_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let bad = [
        ("LARDER_ALLOW_HTTP", "perhaps"),
        ("LARDER_CLUSTER", "no cluster!"),
        ("LARDER_DATABASE_CONNECTIONS", "many"),
        ("LARDER_DATABASE_URL", "mysql://marker-1@db"),
        ("LARDER_ENGINE_MEMORY", "lots"),
        ("LARDER_ENGINE_THREADS", "-1"),
        ("LARDER_HEROKU_API_URL", "ftp://api.example.com"),
        ("LARDER_HEROKU_ID_URL", "http://id.example.com"),
        ("LARDER_HEROKU_LEGACY", "1"),
        ("LARDER_HEROKU_LOG_HOSTS", "https://logs.example.com/"),
        ("LARDER_HTTP_ADDR", "nowhere"),
        ("LARDER_LOG", "larder=[["),
        ("LARDER_LOG_FORMAT", "xml"),
        ("LARDER_MASTER_KEY", "marker-2"),
        ("LARDER_MASTER_KEY_PREVIOUS", "marker-3"),
        ("LARDER_MEMCACHED_ADDR", "11211"),
        ("LARDER_MEMCACHED_OPEN_ADDR", "0.0.0.0:11212"),
        ("LARDER_MEMCACHED_TLS_ADDR", "0.0.0.0"),
        ("LARDER_METRICS_ADDR", "::"),
        ("LARDER_PROXY_HOSTNAME", "two words"),
        ("LARDER_PROXY_PORT", "70000"),
        ("LARDER_PUBLIC_URL", "http://cache.example.com"),
        ("LARDER_ROTATION_OVERLAP_SECS", "a day"),
        ("LARDER_SANDBOX_ADDR", "x"),
        ("LARDER_SHUTDOWN_SECS", "soon"),
    ];
    let environment = pairs(&bad);
    let toml =
        "colour = 'blue'\nhttp_port = 80\nlog = ['a', 'list']\n\n[[plans]]\nslug = 'No Slug'\n";
    std::fs::write(folder.path().join("larder.toml"), toml).expect("written");
    let ended = larder("check-config", &environment, folder.path()).await;
    assert!(!ended.success, "{ended:?}");
    for (name, _) in bad {
        assert!(
            ended.stderr.contains(&format!("- {name} (environment): ")),
            "{name} in\n{}",
            ended.stderr
        );
    }
    for word in [
        "unknown key colour",
        "unknown key http_port",
        "log must be",
        "plans: ",
    ] {
        assert!(ended.stderr.contains(word), "{word} in\n{}", ended.stderr);
    }
    for secret in ["marker-1", "marker-2", "marker-3"] {
        assert!(!ended.stderr.contains(secret), "{}", ended.stderr);
    }
    let serve = larder("serve", &environment, folder.path()).await;
    assert!(
        !serve.success && serve.stderr == ended.stderr,
        "serve tells the same"
    );

    // with a manifest that cannot be read, the rest is told all the same
    let no_manifest = pairs(&[
        ("LARDER_MANIFEST", "nowhere.json"),
        ("LARDER_HEROKU_LEGACY", "1"),
    ]);
    let ended = larder("check-config", &no_manifest, std::env::temp_dir().as_path()).await;
    for name in [
        "LARDER_MANIFEST (nowhere.json): ",
        "LARDER_HEROKU_LEGACY (environment): ",
        "LARDER_MASTER_KEY or ",
    ] {
        assert!(ended.stderr.contains(name), "{name} in\n{}", ended.stderr);
    }
}

#[tokio::test]
async fn check_config_passes_what_is_sound() {
    let folder = tempfile::tempdir().expect("a folder");
    let toml = "http_addr = '127.0.0.1:18080'\nshutdown_secs = 7\nallow_http = true\n";
    std::fs::write(folder.path().join("larder.toml"), toml).expect("written");
    let database = Database::sqlite();
    let sound = settings(
        "http://127.0.0.1:18080",
        "http://127.0.0.1:18090",
        &database,
        &folder,
    );
    let ended = larder("check-config", &sound, folder.path()).await;
    assert!(ended.success, "{ended:?}");
    assert!(
        ended.stdout.starts_with("The configuration is sound."),
        "{}",
        ended.stdout
    );
    assert!(!ended.stdout.contains("warning"), "{}", ended.stdout);
    assert!(
        !Path::new(database.url().trim_start_matches("sqlite:")).exists(),
        "nothing was opened"
    );
}

/// An operator starts the service with the key of another installation.
async fn a_wrong_master_key_opens_and_changes_nothing(database: Database) {
    let folder = tempfile::tempdir().expect("a folder");
    let base = format!("http://127.0.0.1:{}", free_port());
    let sound = settings(&base, "http://127.0.0.1:9", &database, &folder);
    let provisioned = {
        let process = Process::start(&base, &sound).await;
        let url = format!("{base}/heroku/resources");
        let body = json!({
            "uuid": AddonId::generate(), "plan": "dev", "region": "amazon-web-services::us-east-1",
        });
        let request = client()
            .post(url)
            .basic_auth("larder", Some(PASSWORD))
            .json(&body);
        let status = request.send().await.expect("an answer").status();
        assert!(process.terminate().await.success());
        status
    };
    assert_eq!(provisioned, StatusCode::CREATED);
    let before = database.contents().await;

    let other_key = setting(
        &sound,
        "LARDER_MASTER_KEY",
        "T3RoZXIga2V5LCAzMiBieXRlcyBsb25nLCB3cm9uZyE=",
    );
    let ended = larder("serve", &other_key, folder.path()).await;
    assert!(!ended.success);
    assert!(
        ended
            .stderr
            .contains("the master key does not belong to this database; nothing was changed"),
        "{}",
        ended.stderr
    );
    assert_unchanged(&before, &database).await;

    let process = Process::start(&base, &sound).await;
    assert!(
        process.terminate().await.success(),
        "the right key still opens it"
    );
    database.drop().await;
}

/// An operator starts this program on the database of an older and of a newer one.
async fn another_program_s_schema_is_left_alone(database: Database) {
    let folder = tempfile::tempdir().expect("a folder");
    let base = format!("http://127.0.0.1:{}", free_port());
    let sound = settings(&base, "http://127.0.0.1:9", &database, &folder);
    let process = Process::start(&base, &sound).await;
    assert!(process.terminate().await.success());

    for (change, undo, message) in [
        (
            "UPDATE _sqlx_migrations SET version = version + 1000",
            "UPDATE _sqlx_migrations SET version = version - 1000",
            "the database schema is newer than this program",
        ),
        (
            "UPDATE _sqlx_migrations SET version = version - 1000",
            "UPDATE _sqlx_migrations SET version = version + 1000",
            "the database schema is older than this program",
        ),
    ] {
        database.execute(change).await;
        let before = database.contents().await;
        let ended = larder("serve", &sound, folder.path()).await;
        assert!(!ended.success, "{message}");
        assert!(ended.stderr.contains(message), "{}", ended.stderr);
        let advice = if message.contains("older") {
            "`larder migrate`"
        } else {
            "newer larder"
        };
        assert!(ended.stderr.contains(advice), "{}", ended.stderr);
        assert_unchanged(&before, &database).await;
        database.execute(undo).await;
    }
    let process = Process::start(&base, &sound).await;
    assert!(
        process.terminate().await.success(),
        "put right, it starts again"
    );
    database.drop().await;
}

async fn assert_unchanged(
    before: &std::collections::BTreeMap<String, Vec<u8>>,
    database: &Database,
) {
    let after = database.contents().await;
    let names: Vec<_> = after.keys().collect();
    assert_eq!(before.keys().collect::<Vec<_>>(), names);
    for (name, bytes) in &after {
        assert!(before[name] == *bytes, "{name} has changed");
    }
}

/// Sends it, checks the status, and that the answer tells nothing about the inside; its body.
async fn refused(what: &str, request: RequestBuilder, status: u16) -> String {
    const INSIDE: [&str; 16] = [
        "sqlx",
        "sqlite",
        "postgres",
        "select ",
        "insert ",
        "update ",
        ".rs",
        "src/",
        "panicked",
        "backtrace",
        "thread '",
        "larder::",
        "axum",
        "serde",
        "/tmp",
        "expected value",
    ];
    let answer = request.send().await.expect("an answer");
    assert_eq!(answer.status().as_u16(), status, "{what}");
    for header in ["server", "x-powered-by"] {
        assert!(!answer.headers().contains_key(header), "{what}: {header}");
    }
    let body = answer.text().await.expect("a body");
    let lower = body.to_lowercase();
    for word in INSIDE {
        assert!(!lower.contains(word), "{what}: {word} in {body}");
    }
    body
}

/// The form that the marketplace would send, made here because it must be old, early or wrong.
pub fn signed(addon: AddonId, timestamp: u64, salt: &str) -> Vec<(String, String)> {
    let User { id, email } = User::default();
    let token = digest_hex(format!("{addon}:{salt}:{timestamp}:{id}:{email}").as_bytes());
    pairs(&[
        ("resource_id", &addon.to_string()),
        ("timestamp", &timestamp.to_string()),
        ("user_id", &id),
        ("email", &email),
        ("user_scoped_resource_token", &token),
    ])
}

fn changed(form: Vec<(String, String)>, name: &str, value: &str) -> Vec<(String, String)> {
    form.into_iter()
        .map(|(field, old)| {
            if field == name {
                (field, value.to_owned())
            } else {
                (field, old)
            }
        })
        .collect()
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn client() -> Client {
    let builder = Client::builder().redirect(Policy::none()).no_proxy();
    builder
        .timeout(Duration::from_secs(30))
        .build()
        .expect("a client")
}
