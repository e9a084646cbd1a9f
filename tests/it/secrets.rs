//! P9: no secret in a log, an error body, a metric, a process list, or a copy of the database without its key; nor in
//! what is sent to a PostgreSQL server, whose own log may have every statement (security.md G-1).
//!
//! The service runs as its own process at trace level, with secrets that can be recognised, and everything it has is
//! used: provisioning, sign-on, reveal, promotion, flush, failed logins, a provider in trouble, deprovisioning. Then
//! every place that somebody may get to see is searched for every secret, in several disguises. Where a secret has to
//! be, because that is what the place is for, is said by name with [`Sweep::permit`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use larder::domain::Timestamp;
use larder::sandbox::{
    AddonId, AppId, EndpointGroup, Fault, ProvisionOptions, Sandbox, SandboxSettings, User,
};
use larder::store::db::seal::MasterKey;
use larder::store::{Schema, Store, StoreSettings};
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::certificates::tls_settings;
use crate::engine_tls::make_certificate;
use crate::support::authority::{Identity, TlsClient};
use crate::support::control_plane::eventually;
use crate::support::dashboard::Dashboard;
use crate::support::database_wire::DatabaseWire;
use crate::support::db::{Database, grants};
use crate::support::full_service::{
    CLIENT_SECRET, MASTER_KEY, PASSWORD, PATIENCE, SALT, free_port, sandbox_settings, setting,
    settings,
};
use crate::support::markers::Markers;
use crate::support::on_both_databases;
use crate::support::plain::Plain;
use crate::support::process::Process;

on_both_databases!(no_secret_is_found_where_it_must_not_be);

/// The service's role at PostgreSQL, and its password.
const ROLE: &str = "larder_test_secrets";
const DATABASE_PASSWORD: &str = "marker-database-password";

async fn no_secret_is_found_where_it_must_not_be(database: Database) {
    let mut fixture = SecretsFixture::start(database).await;
    let (shop, addon) = fixture.provision().await;
    fixture.own(shop, addon).await;
    fixture.certify(addon).await;
    fixture.try_every_route_without_login(addon).await;
    fixture.use_the_cache(shop).await;
    fixture.storm(shop, addon).await;
    fixture.search("at work").await;
    fixture.part(addon).await;
    fixture.search("at the end").await;
    fixture.judge(addon).await;
}

/// Everything that takes part, and everything seen so far.
struct SecretsFixture {
    process: Process,
    /// What the operator gave to the process in its environment.
    settings: Vec<(String, String)>,
    sandbox: Sandbox,
    database: Database,
    /// Between the process and PostgreSQL.
    wire: Option<DatabaseWire>,
    base: String,
    metrics: String,
    master_key: MasterKey,
    tls: u16,
    http: Client,
    log: PathBuf,
    sweep: Sweep,
    folder: tempfile::TempDir,
}

/// What to look for, and where.
#[derive(Default)]
struct Sweep {
    markers: Markers,
    places: BTreeMap<String, Vec<u8>>,
    permitted: Vec<String>,
}

impl Sweep {
    fn place(&mut self, name: impl Into<String>, bytes: impl AsRef<[u8]>) {
        let place = self.places.entry(name.into()).or_default();
        place.extend(bytes.as_ref());
        place.push(b'\n');
    }

    /// What was sent to PostgreSQL. The add-on's id is no secret and has to be there, or the search is blind.
    fn place_statements(&mut self, sent: &[Vec<u8>], addon: AddonId) {
        let id = addon.to_string();
        let has_id = |bytes: &Vec<u8>| bytes.windows(id.len()).any(|part| part == id.as_bytes());
        assert!(sent.iter().any(has_id), "statements are recorded");
        for (number, bytes) in sent.iter().enumerate() {
            self.place(format!("sent to PostgreSQL on connection {number}"), bytes);
        }
    }

    /// This place exists to hold secrets of this kind. It must: otherwise the search sees nothing.
    fn permit(&mut self, place: &str, kind: &str) {
        self.permitted.push(format!("{place}: {kind} (plain)"));
    }
}

impl SecretsFixture {
    async fn start(database: Database) -> SecretsFixture {
        let folder = tempfile::tempdir().expect("a folder");
        let sandbox = Sandbox::start(SandboxSettings {
            rotate_refresh_tokens: true,
            ..sandbox_settings(None)
        });
        let sandbox = sandbox.await.expect("the sandbox starts");
        let base = format!("http://127.0.0.1:{}", free_port());
        let metrics = format!("127.0.0.1:{}", free_port());
        sandbox.set_provider(
            &format!("{base}/heroku/resources"),
            &format!("{base}/heroku/sso"),
        );

        let mut sweep = Sweep::default();
        sweep.markers.add("master key", MASTER_KEY);
        sweep.markers.add("manifest password", PASSWORD);
        sweep.markers.add("sso salt", SALT);
        sweep.markers.add("client secret", CLIENT_SECRET);
        sweep.markers.add("database password", DATABASE_PASSWORD);

        make_certificate(folder.path(), "server");
        let tls = free_port();
        let mut all = settings(&base, sandbox.url(), &database, &folder);
        all.extend(tls_settings(folder.path(), tls));
        let all = setting(&all, "LARDER_METRICS_ADDR", &metrics);
        let all = setting(&all, "LARDER_LOG", "trace");
        // Whoever is not root reads the environment of a process only if it may be dumped.
        let all = setting(&all, "LARDER_ALLOW_DUMPS", "on");
        let (url, wire) = way_to(&database).await;
        let all = setting(&all, "LARDER_DATABASE_URL", &url);
        let log = folder.path().join("log");
        let process = Process::start_logging(&base, &all, &log).await;
        SecretsFixture {
            process,
            settings: all,
            sandbox,
            database,
            wire,
            base,
            metrics,
            master_key: MasterKey::from_base64(&STANDARD.encode(MASTER_KEY)).expect("32 bytes"),
            tls,
            http: client(),
            log,
            sweep,
            folder,
        }
    }

    async fn provision(&mut self) -> (AppId, AddonId) {
        let shop = self.sandbox.create_app("shop").expect("a new app");
        let options = ProvisionOptions::default();
        let addon = self.sandbox.prepare_provision(shop, "dev", options);
        let addon = addon.expect("an order");
        self.note_tokens();
        let reply = self
            .sandbox
            .repeat_provision(addon)
            .await
            .expect("an answer");
        assert_eq!(reply.status, 201);
        let body: Value = serde_json::from_str(&reply.body).expect("JSON");
        let password = body["config"]["MEMCACHIER_PASSWORD"].as_str();
        let password = password.expect("a password");
        self.sweep.markers.add("credential password", password);
        self.sweep.place("answer to a provision", &reply.body);
        self.sweep
            .permit("answer to a provision", "credential password");
        (shop, addon)
    }

    /// The owner comes in, looks at everything, and rotates.
    async fn own(&mut self, shop: AppId, addon: AddonId) {
        let mut owner = self.sign_in(addon).await;
        let new = owner.add_credentials().await;
        let password = owner.reveal(&new).await;
        self.sweep.markers.add("credential password", &password);
        let revealed = owner.act(&format!("credentials/{new}/reveal"), &[]).await;
        self.sweep.place("answer to reveal", &revealed.body);
        self.sweep.permit("answer to reveal", "credential password");
        self.sweep.permit("answer to reveal", "csrf token");
        let address = owner.act("dashboard-url/reveal", &[]).await;
        let hash = dashboard_hash(&address.body);
        self.sweep.markers.add("dashboard address", hash);
        self.sweep
            .place("answer to the address's reveal", &address.body);
        self.sweep
            .permit("answer to the address's reveal", "dashboard address");
        self.sweep
            .permit("answer to the address's reveal", "csrf token");

        assert!(owner.promote(&new).await.status.is_redirection());
        let pushed = self
            .sandbox
            .wait_for_var(shop, "MEMCACHIER_USERNAME", &new, PATIENCE);
        pushed.await.expect("the push arrives");
        self.note_tokens();
        assert!(owner.flush().await.status.is_redirection());
        let line = self
            .sandbox
            .wait_for_line(shop, "event=flush ", PATIENCE)
            .await;
        line.expect("the app hears of it");

        let rotated = owner.act("sso-secret/rotate", &[]).await;
        let location = rotated.location.expect("the new address");
        self.sweep
            .markers
            .add("dashboard address", dashboard_hash(&location));
        self.sweep.place("where rotating leads", &location);
        self.sweep
            .permit("where rotating leads", "dashboard address");
        let entered = owner.get(&location).await;
        assert!(entered.status.is_redirection());
        self.note_session(&mut owner).await;
        let page = owner.page().await;
        self.sweep.place("dashboard", page);
        self.sweep.permit("dashboard", "csrf token");
    }

    /// A client comes in by a certificate, whose key only its owner and the one answer hold; and the CA's key only
    /// the database, sealed.
    async fn certify(&mut self, addon: AddonId) {
        let mut owner = self.sign_in(addon).await;
        let primary = owner.usernames().await.remove(0);
        let pem = owner.issue_certificate(&primary).await;
        let key = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).expect("a key");
        let lines: Vec<&str> = pem.lines().collect();
        let begin = lines.iter().position(|line| line.contains("BEGIN PRIVATE"));
        // all lines but the last hold some of the secret number
        let begin = begin.expect("a key");
        self.sweep.markers.add("certificate key", lines[begin + 1]);
        self.sweep.markers.add("certificate key", lines[begin + 2]);
        self.sweep
            .markers
            .add("certificate key", secret_number(key.secret_pkcs8_der()));
        self.sweep.place("answer to issue", &pem);
        self.sweep.permit("answer to issue", "certificate key");
        let list = owner.certificates_page(&primary).await;
        self.sweep.place("dashboard", list);

        let store = StoreSettings {
            url: self.database.url().to_owned().into(),
            master_key: self.master_key.clone(),
            previous_keys: vec![],
            connections_max: 1,
        };
        let store = Store::open(&store, Schema::Expect, Timestamp::from_secs(0)).await;
        let store = store.expect("the database opens a second time");
        let mut tx = store.begin().await.expect("a transaction");
        let ca = tx.newest_authority().await.expect("opens");
        let ca = ca.expect("a CA");
        self.sweep
            .markers
            .add("ca key", secret_number(ca.key.expose_secret()));
        drop(tx);
        store.close().await;

        let trusted = self.folder.path().join("server.pem");
        let identity = Identity::from_pem(&pem);
        let client = TlsClient::new(&trusted, Some(&identity));
        let mut talk = client.connect(([127, 0, 0, 1], self.tls).into());
        talk.talk("mn\r\n", "MN\r\n");
        let fingerprint = identity.fingerprint().to_string();
        let action = format!("credentials/{primary}/certificates/revoke");
        let form = [("fingerprint", fingerprint.as_str()), ("confirmed", "yes")];
        let revoked = owner.act(&action, &form).await;
        assert!(revoked.status.is_redirection());
        talk.closed();
        let mut refused = client.connect(([127, 0, 0, 1], self.tls).into());
        refused.refusal();
        let action = format!("credentials/{primary}/certificates");
        let file = owner.act(&action, &[("after", ""), ("file", "pem")]).await;
        assert!(
            file.body.starts_with("-----BEGIN CERTIFICATE"),
            "{}",
            file.body
        );
        let key = PrivatePkcs8KeyDer::from_pem_slice(file.body.as_bytes()).expect("a key");
        self.sweep
            .markers
            .add("certificate key", secret_number(key.secret_pkcs8_der()));
    }

    async fn sign_in(&mut self, addon: AddonId) -> Dashboard {
        let mut owner = Dashboard::open(&self.sandbox, addon, &self.base).await;
        self.note_session(&mut owner).await;
        owner
    }

    async fn note_session(&mut self, owner: &mut Dashboard) {
        for (name, value) in owner.cookies() {
            if !name.ends_with("notice") {
                self.sweep.markers.add("session cookie", value);
            }
        }
        self.sweep
            .markers
            .add("csrf token", owner.csrf_token().await);
    }

    /// Whatever the marketplace has handed out so far.
    fn note_tokens(&mut self) {
        let market = self.sandbox.read(|market| serde_json::to_value(market));
        let market = market.expect("the market as JSON");
        for (list, kind) in [
            ("codes", "grant code"),
            ("access", "access token"),
            ("refresh", "refresh token"),
        ] {
            for token in market["grants"][list].as_object().expect("a table").keys() {
                self.sweep.markers.add(kind, token);
            }
        }
        for addon in market["addons"].as_object().expect("a table").values() {
            for attachment in addon["attachments"].as_array().expect("a list") {
                let token = attachment["log_token"].as_str().expect("a token");
                self.sweep.markers.add("log input token", token);
            }
        }
    }

    /// Clients without a login bring guesses and mistakes. What they bring may be nearly right, so it is as secret. The
    /// name of a plan is no secret: a refusal names the plan that was asked for.
    async fn try_every_route_without_login(&mut self, addon: AddonId) {
        let (url, form) = self
            .sandbox
            .sso_form(addon, &User::default())
            .expect("a form");
        for (name, value) in &form {
            if name.ends_with("token") {
                self.sweep.markers.add("sign-on token", value);
            }
        }
        let guess = |what: &str| format!("marker-guess-{what}-0123456789abcdef0123456789");
        self.sweep.markers.add("guess", "marker-guess-");
        let (http, base) = (self.http.clone(), self.base.clone());
        let resources = format!("{base}/heroku/resources");
        let mut wrong_form = form.clone();
        wrong_form.retain(|(name, _)| name != "timestamp");
        let broken = format!(
            "{{\"plan\": \"dev\", \"oauth_grant\": {{\"code\": \"{}\"",
            guess("code")
        );
        let wrong_type = json!({"plan": 7, "log_input_url": guess("log"), "oauth_grant": {"code": guess("code")}});
        let wrong_plan = json!({
            "uuid": AddonId::generate(), "plan": "no-such-plan", "region": "x", "log_input_url": guess("log"),
        });
        let wrong_log = json!({
            "uuid": AddonId::generate(), "plan": "dev", "region": "amazon-web-services::us-east-1",
            "log_input_url": format!("https://token:{}@logs.example.com/{}", guess("log"), guess("path")),
            "oauth_grant": {"code": guess("code"), "expires_at": "2026-11-22T10:35:00-0800"},
        });
        let ours = |request: RequestBuilder| request.basic_auth("larder", Some(PASSWORD));
        let cookie = format!("larder-1={}", guess("cookie"));
        let attempts = [
            http.post(&resources)
                .basic_auth("larder", Some(guess("password"))),
            http.post(&resources).bearer_auth(guess("bearer")),
            ours(http.post(&resources)).body(broken),
            ours(http.post(&resources)).json(&wrong_type),
            ours(http.post(&resources)).json(&wrong_plan),
            ours(http.put(format!("{resources}/{addon}"))).json(&json!({"plan": "no-such-plan"})),
            ours(http.get(format!("{resources}/{addon}?token={}", guess("query")))),
            http.post(&url).form(&wrong_form),
            http.post(&url)
                .form(&[("id", guess("id")), ("token", guess("token"))]),
            http.get(format!("{base}/d/{}", guess("hash"))),
            http.get(format!("{base}/D/{}", guess("hash"))),
            http.get(format!("{base}/heroku/sso/{}", guess("hash"))),
            http.get(format!("{base}/caches/1?session={}", guess("query")))
                .header("cookie", &cookie),
            http.get(format!("{base}/caches/1"))
                .header("cookie", &cookie)
                .header("referer", guess("referer")),
            http.post(format!("{base}/caches/1/flush"))
                .header("cookie", &cookie)
                .form(&[("csrf", guess("csrf"))]),
        ];
        for attempt in attempts {
            let answer = attempt.send().await.expect("an answer");
            assert!(answer.status().is_client_error(), "{}", answer.status());
            self.sweep
                .place("refusals", format!("{:?}", answer.headers()));
            self.sweep
                .place("refusals", answer.text().await.expect("a body"));
        }
        // taken, but its log input is one we may not call
        let answer = ours(http.post(&resources))
            .json(&wrong_log)
            .send()
            .await
            .expect("an answer");
        assert_eq!(answer.status(), 201);
        let body: Value = answer.json().await.expect("JSON");
        let password = body["config"]["MEMCACHIER_PASSWORD"].as_str();
        self.sweep
            .markers
            .add("credential password", password.expect("a password"));
    }

    /// A client stores something private, and anonymous_clients fail to log in.
    async fn use_the_cache(&mut self, shop: AppId) {
        let vars = self.sandbox.config_vars(shop);
        let servers = &vars["MEMCACHIER_SERVERS"];
        let (user, password) = (&vars["MEMCACHIER_USERNAME"], &vars["MEMCACHIER_PASSWORD"]);
        self.sweep.markers.add("cached key", "marker-cached-key");
        self.sweep
            .markers
            .add("cached value", "marker-cached-value");
        let mut client = Plain::connect(servers).await;
        assert_eq!(client.login(user, password).await, "STORED");
        client
            .say("set marker-cached-key 0 0 19\r\nmarker-cached-value\r\n")
            .await;
        assert_eq!(client.line().await, "STORED");
        client
            .say("incr marker-cached-key marker-cached-value\r\nflush_all\r\n")
            .await;
        assert!(client.line().await.starts_with("CLIENT_ERROR"));
        assert_eq!(client.line().await, "OK");
        for name in [user.as_str(), "anonymous"] {
            let mut anonymous = Plain::connect(servers).await;
            let said = anonymous.login(name, "marker-guess-password").await;
            assert_ne!(said, "STORED");
        }
    }

    /// The provider has every kind of trouble, while credentials are promoted and lines sent.
    async fn storm(&mut self, shop: AppId, addon: AddonId) {
        let mut owner = self.sign_in(addon).await;
        let faults = [Fault::ServerError, Fault::Unauthorized, Fault::LostReply];
        self.sandbox
            .queue_faults(EndpointGroup::Config, faults.map(Some));
        self.sandbox
            .queue_faults(EndpointGroup::Token, [Some(Fault::ServerError), None]);
        let log_faults = [Fault::ServerError, Fault::LostReply, Fault::Unauthorized];
        self.sandbox
            .queue_faults(EndpointGroup::Logs, log_faults.map(Some));
        self.sandbox
            .queue_faults(EndpointGroup::Api, [Some(Fault::ServerError)]);
        self.sandbox.expire_tokens();
        let new = owner.add_credentials().await;
        let password = owner.reveal(&new).await;
        self.sweep.markers.add("credential password", password);
        assert!(owner.promote(&new).await.status.is_redirection());
        assert!(owner.flush().await.status.is_redirection());
        let pushed = self
            .sandbox
            .wait_for_var(shop, "MEMCACHIER_USERNAME", &new, PATIENCE);
        pushed.await.expect("the push arrives");
        let line = self
            .sandbox
            .wait_for_line(shop, "origin=\"web interface\"", PATIENCE)
            .await;
        line.expect("the app hears of it");
        self.note_tokens();

        // the partner portal gave us another secret, and nobody told this service: what it has is refused
        let other = "marker-other-client-secret".to_owned();
        self.sandbox.reset_client_secret(other.into());
        let former = owner.usernames().await.remove(1);
        assert!(owner.promote(&former).await.status.is_redirection());
        eventually("the dashboard tells of the refusal", async || {
            let page = owner.page().await;
            page.contains("Config vars: Refused") || page.contains("Reason: ")
        })
        .await;
        let page = owner.page().await;
        self.sweep.place("dashboard", page);
        self.note_tokens();
    }

    /// Shop gives its cache back.
    async fn part(&mut self, addon: AddonId) {
        let reply = self.sandbox.deprovision(addon).await.expect("an answer");
        assert_eq!(reply.status, 204);
        for reply in [
            self.sandbox.repeat_provision(addon).await,
            self.sandbox.deprovision(addon).await,
        ] {
            let reply = reply.expect("an answer");
            assert_eq!(reply.status, 410);
            self.sweep.place("refusals", &reply.body);
        }
    }

    /// Takes a copy of what a thief, an operator or a neighbour could see now.
    async fn search(&mut self, when: &str) {
        self.search_process();
        for (name, bytes) in self.database.contents().await {
            self.sweep.place(format!("database {name} {when}"), bytes);
        }
        for entry in std::fs::read_dir(self.folder.path()).expect("the data folder") {
            let path = entry.expect("an entry").path();
            let name = path
                .file_name()
                .expect("a name")
                .to_string_lossy()
                .into_owned();
            // The log is looked at in the end, and the server's key is the operator's own.
            if path.is_file() && name != "log" && !name.starts_with("server.") {
                let bytes = std::fs::read(&path).expect("a file");
                self.sweep
                    .place(format!("data folder {name} {when}"), bytes);
            }
        }
        let metrics = self
            .http
            .get(format!("http://{}/metrics", self.metrics))
            .send()
            .await;
        let metrics = metrics.expect("an answer").text().await.expect("a body");
        assert!(metrics.contains("\nlarder_panics_total 0\n"), "{metrics}");
        self.sweep.place("metrics", metrics);
        let apps: Vec<AppId> = self
            .sandbox
            .read(|market| market.apps().iter().map(|app| app.id).collect());
        for app in apps {
            for line in self.sandbox.log_lines(app) {
                self.sweep.place("app log", line.text);
            }
        }
    }

    /// What the system shows of the process: its command line, and its environment, where the operator put settings and
    /// nobody anything else.
    fn search_process(&mut self) {
        let process = self.process.id();
        let read = |file: &str| {
            let bytes = std::fs::read(format!("/proc/{process}/{file}"));
            bytes.expect("our own process")
        };
        let command_line = read("cmdline");
        assert!(command_line.ends_with(b"\0serve\0"), "{command_line:?}");
        self.sweep.place("process list", command_line);
        let settings = self.settings.iter();
        let settings = settings.map(|(name, value)| format!("{name}={value}").into_bytes());
        let settings: BTreeSet<Vec<u8>> = settings.collect();
        let environment = read("environ");
        let entries = environment.split(|byte| *byte == 0).map(<[u8]>::to_vec);
        let entries: BTreeSet<Vec<u8>> = entries.filter(|entry| !entry.is_empty()).collect();
        assert!(entries.is_superset(&settings), "the environment is there");
        for more in entries.difference(&settings) {
            self.sweep.place("environment", more);
        }
    }

    async fn judge(mut self, addon: AddonId) {
        assert!(self.process.terminate().await.success());
        let log = std::fs::read(&self.log).expect("the log");
        let text = String::from_utf8_lossy(&log);
        for word in ["TRACE", "DEBUG", "answered", "config push failed", "sqlx"] {
            assert!(
                text.contains(word),
                "the log is not what it should be: no {word}"
            );
        }
        self.sweep.place("log", &log);
        if let Some(wire) = &self.wire {
            self.sweep.place_statements(&wire.sent(), addon);
        }
        self.sandbox.stop().await;
        self.database.drop().await;

        let markers = &self.sweep.markers;
        for (kind, least) in [
            ("credential password", 4),
            ("session cookie", 3),
            ("csrf token", 3),
            ("dashboard address", 2),
            ("grant code", 1),
            ("access token", 2),
            ("refresh token", 2),
            ("log input token", 1),
            ("certificate key", 4),
            ("ca key", 1),
        ] {
            assert!(markers.count(kind) >= least, "{kind}: too few were used");
        }
        let mut found = markers.found_in(&self.sweep.places);
        for permitted in &self.sweep.permitted {
            assert!(
                found.remove(permitted),
                "{permitted} must be found, or the search is blind"
            );
        }
        assert!(
            found.is_empty(),
            "secrets where they must not be:\n{found:#?}{}",
            excerpt(&found, &log, markers)
        );
    }
}

/// The service's address of its database. That of PostgreSQL has a password that can be recognised, and leads over a wire
/// that records what is sent.
async fn way_to(database: &Database) -> (String, Option<DatabaseWire>) {
    if !database.url().starts_with("postgres") {
        return (database.url().to_owned(), None);
    }
    // It stays for the next run.
    let role = format!(
        "DO $$ BEGIN CREATE ROLE {ROLE} LOGIN PASSWORD '{DATABASE_PASSWORD}'; \
         EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
    );
    for sql in [role, grants(ROLE)] {
        let done = database.try_execute(&sql).await;
        done.expect("the owner may give rights");
    }
    let (_, place) = database.url().split_once('@').expect("a role");
    let wire = DatabaseWire::to(&format!("postgres://{ROLE}:{DATABASE_PASSWORD}@{place}")).await;
    (wire.url.clone(), Some(wire))
}

/// The number that makes a P-256 key, as it stands in PKCS#8 behind what is the same in all of them.
fn secret_number(pkcs8: &[u8]) -> &[u8] {
    &pkcs8[36..68]
}

/// The first lines of the log that hold one of the secrets found, so that a failure says where to look.
fn excerpt(found: &std::collections::BTreeSet<String>, log: &[u8], markers: &Markers) -> String {
    const SHOWN: usize = 12;
    if !found.iter().any(|what| what.starts_with("log: ")) {
        return String::new();
    }
    let lines = log.split(|byte| *byte == b'\n');
    let guilty = lines.filter(|line| {
        let places = BTreeMap::from([("line".to_owned(), line.to_vec())]);
        !markers.found_in(&places).is_empty()
    });
    let shown = guilty
        .take(SHOWN)
        .map(|line| String::from_utf8_lossy(line).into_owned());
    format!("\nin the log:\n{}", shown.collect::<Vec<_>>().join("\n"))
}

/// The part behind `/d/`.
fn dashboard_hash(text: &str) -> String {
    let start = text.find("/d/").expect("the address") + 3;
    let hash: String = text[start..]
        .chars()
        .take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
        .collect();
    assert!(hash.len() >= 32, "{hash}");
    hash
}

fn client() -> Client {
    let builder = Client::builder().redirect(Policy::none()).no_proxy();
    builder
        .timeout(Duration::from_secs(30))
        .build()
        .expect("a client")
}
