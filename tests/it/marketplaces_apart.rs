//! One marketplace can neither see nor change what belongs to another (security.md PA-5): an id of another is an id of nobody.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use larder::domain::secret::hex_lower;
use larder::domain::{ExternalId, Marketplace};
use larder::sandbox::{AddonId, ProvisionOptions};
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::json;

use crate::bad_input::signed;
use crate::support::control_plane::{ControlPlane, ready, request};
use crate::support::corner_market::{CornerMarket, PASSPHRASE};
use crate::support::db::{Database, on_each};
use crate::support::full_service::{FullService, PASSWORD, SALT, Wishes};
use crate::support::{HEROKU, on_both_databases};

on_both_databases!(a_sign_on_for_a_resource_of_another_marketplace_finds_none);

const OTHER: Marketplace = Marketplace::named("corner");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_of_another_marketplace_is_an_id_of_nobody() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let provisioning = &control.provisioning;
        let made = control.provision("r-1").await;
        let cache = made.resource.cache;
        let before = control.store.resource(cache).await.expect("read");
        let id = |text: &str| -> ExternalId { text.parse().expect("an id") };
        let told = async |text: &str| {
            let id = id(text);
            let found = provisioning.find(OTHER, &id).await.expect("answers");
            let change = provisioning.change_plan(OTHER, &id, "100").await.map(drop);
            let end = provisioning.deprovision(OTHER, &id).await;
            format!("{found:?} {change:?} {end:?}").replace(text, "ID")
        };
        assert_eq!(told("r-1").await, told("never").await);
        assert_eq!(control.store.resource(cache).await.expect("read"), before);

        // Its own order of the same id is a cache of its own. The id of one that was ended early is refused to it alone.
        let mut ask = request("r-2");
        ask.marketplace = OTHER;
        let mine = control.provision("r-2").await;
        let theirs = ready(provisioning.provision(ask).await.expect("a cache"));
        assert!(theirs.created && theirs.resource.cache != mine.resource.cache);
        assert_ne!(theirs.values.username, mine.values.username);
        provisioning
            .deprovision(OTHER, &id("r-2"))
            .await
            .expect("ended");
        let still = provisioning
            .find(HEROKU, &id("r-2"))
            .await
            .expect("answers");
        assert!(still.is_some_and(|resource| resource.state.is_live()));
    })
    .await;
}

/// Each marketplace has a cache, and each sends a customer with a valid proof to the other's.
async fn a_sign_on_for_a_resource_of_another_marketplace_finds_none(database: Database) {
    let wishes = Wishes {
        marketplaces: vec![Arc::new(CornerMarket)],
        settings: vec![("LARDER_HEROKU_LEGACY".to_owned(), "on".to_owned())],
        ..Wishes::default()
    };
    let service = FullService::start(database, wishes).await;
    let shop = service.sandbox.create_app("shop").expect("a new app");
    let options = ProvisionOptions::default();
    let made = service.sandbox.provision(shop, "dev", options).await;
    let of_heroku = made.expect("a cache").id;
    let callers = Callers::of(&service);
    let of_corner = callers.order_at_corner().await;

    let nobody = AddonId::generate();
    let secs = std::time::SystemTime::UNIX_EPOCH.elapsed();
    let secs = secs.expect("after 1970").as_secs();
    let at_heroku = |id| callers.sign_ons_at_heroku(id, secs);
    let foreign = at_heroku(of_corner).into_iter();
    for (foreign, unknown) in foreign.zip(at_heroku(nobody)) {
        are_told_the_same((foreign, of_corner), (unknown, nobody)).await;
    }
    let foreign = callers.sign_on_at_corner(of_heroku, "ticket-1");
    let unknown = callers.sign_on_at_corner(nobody, "ticket-2");
    are_told_the_same((foreign, of_heroku), (unknown, nobody)).await;
    let sessions = service.database.number("SELECT count(*) FROM sessions");
    assert_eq!(sessions.await, 0);

    let foreign = callers.calls_of_heroku(of_corner).into_iter();
    for (foreign, unknown) in foreign.zip(callers.calls_of_heroku(nobody)) {
        are_told_the_same((foreign, of_corner), (unknown, nobody)).await;
    }
    let (foreign, unknown) = (
        callers.end_at_corner(of_heroku),
        callers.end_at_corner(nobody),
    );
    are_told_the_same((foreign, of_heroku), (unknown, nobody)).await;

    // The same proofs are good where they belong. One is good once, so each is of a second of its own.
    for (kind, before) in (1..=4).enumerate() {
        let proof = callers.sign_ons_at_heroku(of_heroku, secs - before);
        enters(proof.into_iter().nth(kind).expect("four kinds")).await;
    }
    enters(callers.sign_on_at_corner(of_corner, "ticket-3")).await;
    service.stop().await;
}

/// What both marketplaces and their customers' browsers send.
struct Callers {
    http: Client,
    base: String,
}

impl Callers {
    fn of(service: &FullService) -> Callers {
        let client = Client::builder().redirect(Policy::none()).no_proxy();
        Callers {
            http: client.build().expect("a client"),
            base: service.base.clone(),
        }
    }

    async fn order_at_corner(&self) -> AddonId {
        let id = AddonId::generate();
        let order = json!({"id": id, "name": "bakery", "plan": "dev"});
        let order = self
            .http
            .post(format!("{}/corner/orders", self.base))
            .json(&order);
        let answer = order.send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::CREATED);
        id
    }

    /// Every kind of sign-on that Heroku has had: with both tokens, and the three that need the weaker one only.
    fn sign_ons_at_heroku(&self, id: AddonId, secs: u64) -> Vec<RequestBuilder> {
        let (url, secs_text) = (format!("{}/heroku/sso", self.base), secs.to_string());
        let joined = format!("{id}:{SALT}:{secs}");
        let weaker = hex_lower(digest(&SHA1_FOR_LEGACY_USE_ONLY, joined.as_bytes()).as_ref());
        let form = |id_name: &str, token_name: &str| {
            let fields = [
                (id_name, id.to_string()),
                ("timestamp", secs_text.clone()),
                (token_name, weaker.clone()),
            ];
            self.http.post(&url).form(&fields)
        };
        let address = format!("{}/heroku/resources/{id}", self.base);
        let link = [("timestamp", &secs_text), ("token", &weaker)];
        vec![
            self.http.post(&url).form(&signed(id, secs, SALT)),
            form("resource_id", "resource_token"),
            form("id", "token"),
            self.http.get(address).query(&link),
        ]
    }

    fn sign_on_at_corner(&self, id: AddonId, ticket: &str) -> RequestBuilder {
        let id = id.to_string();
        let fields = [
            ("id", id.as_str()),
            ("passphrase", PASSPHRASE),
            ("ticket", ticket),
            ("person", "ada@example.com"),
        ];
        self.http
            .post(format!("{}/corner/enter", self.base))
            .form(&fields)
    }

    fn calls_of_heroku(&self, id: AddonId) -> Vec<RequestBuilder> {
        let url = format!("{}/heroku/resources/{id}", self.base);
        vec![
            self.http.put(&url).json(&json!({"plan": "100"})),
            self.http.post(format!("{url}/sso")),
            self.http.delete(&url),
        ]
        .into_iter()
        .map(|call| call.basic_auth("larder", Some(PASSWORD)))
        .collect()
    }

    fn end_at_corner(&self, id: AddonId) -> RequestBuilder {
        self.http
            .delete(format!("{}/corner/orders/{id}", self.base))
    }
}

/// A request for another's resource and one for nobody's get the same answer, to the byte.
async fn are_told_the_same(foreign: (RequestBuilder, AddonId), unknown: (RequestBuilder, AddonId)) {
    let foreign = told(foreign).await;
    assert_eq!(foreign, told(unknown).await);
    assert!(foreign.starts_with("404 "), "{foreign}");
    assert!(!foreign.contains("set-cookie"), "{foreign}");
}

/// A whole answer, but for when it was given, the number of its request, and the id that was asked for.
async fn told((request, id): (RequestBuilder, AddonId)) -> String {
    let answer = request.send().await.expect("an answer");
    let mut told = format!("{}\n", answer.status());
    for (name, value) in answer.headers() {
        if name != "date" && name != "x-request-id" {
            told += &format!("{name}: {value:?}\n");
        }
    }
    told += &answer.text().await.expect("a body");
    told.replace(&id.to_string(), "ID")
}

async fn enters(sign_on: RequestBuilder) {
    let answer = sign_on.send().await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::SEE_OTHER);
}
