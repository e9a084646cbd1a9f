//! The node link over HTTP, between a control plane in this process and nodes that know no more than its addresses.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use larder::cluster::link::wire::{CacheChange, Changes, ChangesQuery, Login, NodeEvent, Report};
use larder::cluster::{
    ControlLink as _, EnrolmentTokens, HttpLink, HttpLinkSettings, LinkError, link_routes,
};
use larder::domain::credential::LastUse;
use larder::domain::secret::BearerSecret;
use larder::domain::{
    CacheId, Clock as _, FlushEvent, FlushId, NodeId, NodePhase, Origin, ResourceId,
};
use larder::http::outbound::Url;
use larder::provisioning::Ready;
use larder::store::caches::resources::NewResource;
use parking_lot::Mutex;
use reqwest::StatusCode;
use secrecy::SecretString;
use tokio::net::TcpListener;

use crate::store_battery::add;
use crate::support::HEROKU;
use crate::support::control_plane::ControlPlane;
use crate::support::db::on_each;
use crate::support::full_service::free_port;
use crate::support::link_calls::{LinkCaller, introduction, report};

const TOKEN: &str = "5d1c7e0b94a2f86d3e57b1c08f492a6bd7e3f015";
const PREVIOUS: &str = "a0c9e2417b58d36f0e91c7a45d2b8f6303e7d519";
const WRONG: &str = "00000000000000000000000000000000000000ff";

/// The host name and the data folder of the node in these tests.
const HOST: &str = "p2.example.net";
const HOME: &str = "m:9:1";

/// One more than a part of a list has.
const MORE_THAN_A_PART: u32 = 1_001;

/// A control plane that takes nodes over HTTP. Its tasks end with the test.
struct Served {
    url: String,
    /// From where it was called with a token that is not good.
    refused: Arc<Mutex<Vec<Option<IpAddr>>>>,
}

impl Served {
    async fn start(control: &ControlPlane) -> Served {
        let refused: Arc<Mutex<Vec<Option<IpAddr>>>> = Arc::default();
        let noted = Arc::clone(&refused);
        let tokens = [TOKEN, PREVIOUS].map(|token| SecretString::from(token.to_owned()));
        let router = link_routes(
            control.cluster.clone(),
            EnrolmentTokens::new(tokens.into()),
            Arc::new(move |from: Option<IpAddr>| noted.lock().push(from)),
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("an address");
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(async move { axum::serve(listener, service).await });
        Served {
            url: format!("http://{addr}"),
            refused,
        }
    }
}

/// A node's link to these control processes.
fn link_to(urls: &[&str], enrolment: &str) -> HttpLink {
    let urls = urls.iter().map(|url| Url::parse(url).expect("a URL"));
    let settings = HttpLinkSettings {
        control_urls: urls.collect(),
        ca_pem: None,
        enrolment: vec![enrolment.to_owned().into()],
        allow_http: true,
    };
    HttpLink::new(settings).expect("a link")
}

async fn joined(link: &HttpLink) -> NodeId {
    let welcome = link.join(introduction(HOST, HOME)).await;
    welcome.expect("admitted").node().expect("an id")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_is_given_what_it_checks_passwords_with() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let served = Served::start(&control).await;
        let link = link_to(&[&served.url], TOKEN);
        let welcome = link.join(introduction(HOST, HOME)).await.expect("admitted");
        let key = welcome.verifier_key.as_ref().expect("a key");
        let bytes = key.key_bytes().expect("32 bytes");
        assert_eq!(&bytes, control.store.verifier_key().expose_bytes());
        let shown = format!("{welcome:?}");
        assert!(!shown.contains(key.expose()), "{shown}");

        // The token that came with it is good for its reports.
        let node = welcome.node().expect("an id");
        link.report(&node, &report(HOME)).await.expect("stored");
        let run = control.store.node_run(&node).await.expect("answers");
        assert_eq!(run.expect("a node").status.phase, NodePhase::Serving);
        assert!(served.refused.lock().is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_goes_on_to_the_control_process_that_answers() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let served = Served::start(&control).await;
        let dead = format!("http://127.0.0.1:{}", free_port());
        let link = link_to(&[&dead, &served.url], TOKEN);
        let node = joined(&link).await;
        link.report(&node, &report(HOME)).await.expect("stored");
        let changes = link.changes_since(&node, ChangesQuery::default()).await;
        assert!(changes.expect("an answer").complete);

        let nobody = link_to(&[&dead], TOKEN);
        let away = nobody.join(introduction(HOST, HOME)).await;
        assert!(matches!(away, Err(LinkError::Away(_))), "{away:?}");
    })
    .await;
}

/// Caches on this node, each with a credential, in one transaction.
async fn place_many(control: &ControlPlane, node: &NodeId) {
    let (plan, cluster) = ("dev".parse(), "c1".parse());
    let (plan, cluster) = (plan.expect("a plan"), cluster.expect("a cluster"));
    let now = control.clock.now();
    let mut tx = control.store.begin().await.expect("a transaction");
    for number in 0..MORE_THAN_A_PART {
        let username = format!("{:06X}", 0xA0_0000 + number);
        let external_id = format!("many-{number}").parse().expect("an id");
        let sso = BearerSecret::generate();
        let new = NewResource {
            id: ResourceId::generate(now),
            marketplace: HEROKU,
            external_id: &external_id,
            name: "acme",
            label: &username,
            plan: &plan,
            region: "us",
            cluster: &cluster,
            callback_url: None,
            sso: &sso,
            provisioning: false,
        };
        let cache = tx.insert_resource(&new, now).await.expect("written");
        let cache = cache.expect("a new id");
        let added = add(&mut tx, &control.store, cache, &username, true).await;
        assert!(added.expect("written"), "a new user name");
        tx.place(cache, node).await.expect("placed");
        tx.bump(cache).await.expect("written");
    }
    tx.commit().await.expect("a commit");
}

/// The numbers of the caches that a node is to serve, in the order in which they came.
fn served_in(part: &Changes) -> Vec<i64> {
    let cache = |change: &CacheChange| match change {
        CacheChange::Serve(spec) => spec.cache,
        CacheChange::Forget { cache } => panic!("cache {cache} is to be forgotten"),
    };
    part.caches.iter().map(cache).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_list_arrives_whole_in_parts() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let served = Served::start(&control).await;
        let link = link_to(&[&served.url], TOKEN);
        let node = joined(&link).await;
        place_many(&control, &node).await;

        let (mut query, mut caches, mut parts) = (ChangesQuery::default(), Vec::new(), 0);
        loop {
            let part = link.changes_since(&node, query).await.expect("a part");
            assert!(part.complete, "part {parts}");
            caches.extend(served_in(&part));
            parts += 1;
            let Some(after) = part.more_after else {
                break;
            };
            query.after = after;
        }
        assert!(parts > 1, "one part holds everything");
        assert_eq!(caches.len(), MORE_THAN_A_PART as usize);
        let in_order = caches.is_sorted_by(|cache, next| cache < next);
        assert!(in_order, "each once, in the order of their numbers");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_has_ended_is_replaced() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let served = Served::start(&control).await;
        let caller = LinkCaller::to(&served.url);
        let raw = caller.join(TOKEN, "p3.example.net", "m:9:2").await;
        let other = caller.join(TOKEN, "p4.example.net", "m:9:3").await;
        let link = link_to(&[&served.url], TOKEN);
        let node = joined(&link).await;
        assert_eq!(caller.renew(&raw, &raw.token).await, StatusCode::OK);
        assert_eq!(
            caller.renew(&raw, &other.token).await,
            StatusCode::FORBIDDEN
        );

        control.clock.advance(Duration::from_secs(2 * 3_600));
        let ended = caller.report(&raw, Some(&raw.token)).await;
        assert_eq!(ended, StatusCode::UNAUTHORIZED);
        let ended = caller.renew(&raw, &raw.token).await;
        assert_eq!(ended, StatusCode::UNAUTHORIZED);
        assert_eq!(caller.renew(&raw, PREVIOUS).await, StatusCode::OK);
        // A node sees to that by itself.
        let reported = link.report(&node, &report(HOME)).await;
        reported.expect("stored with another token");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retired_node_is_refused_for_good() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let served = Served::start(&control).await;
        let caller = LinkCaller::to(&served.url);
        let raw = caller.join(TOKEN, "p3.example.net", "m:9:2").await;
        let link = link_to(&[&served.url], TOKEN);
        let node = joined(&link).await;
        control.clock.advance(Duration::from_secs(60));
        for id in [node.clone(), raw.id.parse().expect("an id")] {
            control.cluster.retire_node(&id).await.expect("retired");
        }
        for token in [raw.token.as_str(), TOKEN] {
            assert_eq!(caller.renew(&raw, token).await, StatusCode::GONE);
        }
        let refused = link.report(&node, &report(HOME)).await;
        assert!(matches!(refused, Err(LinkError::Gone(_))), "{refused:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_good_token_nothing_is_read() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let served = Served::start(&control).await;
        let stranger = link_to(&[&served.url], WRONG);
        let refused = stranger.join(introduction(HOST, HOME)).await;
        let Err(LinkError::NotAdmitted(why)) = refused else {
            panic!("{refused:?}");
        };
        assert!(!why.contains(WRONG), "{why}");
        let here = Some(IpAddr::V4(Ipv4Addr::LOCALHOST));
        assert_eq!(*served.refused.lock(), [here]);
        joined(&link_to(&[&served.url], PREVIOUS)).await;

        let caller = LinkCaller::to(&served.url);
        for (token, status) in [
            (None, StatusCode::UNAUTHORIZED),
            (Some(WRONG), StatusCode::UNAUTHORIZED),
            (Some(TOKEN), StatusCode::BAD_REQUEST),
        ] {
            let answer = caller.call_with("/join", token, b"{".to_vec()).await;
            assert_eq!(answer.status, status);
            assert!(answer.body["error"].is_string(), "{answer:?}");
        }
    })
    .await;
}

/// A login and a flush of a cache, as a node tells them.
fn told_of(control: &ControlPlane, made: &Ready) -> Report {
    let (cache, at) = (made.resource.cache, control.clock.now());
    let last = LastUse {
        at,
        from: "10.0.4.17".to_owned(),
    };
    let flush = FlushEvent {
        id: FlushId::generate(at),
        cache,
        origin: Origin::MemcacheClient,
        proxy: HOST.to_owned(),
        credential: None,
        remote: None,
        reason: None,
        items: 1,
        bytes: 1,
        at,
    };
    Report {
        logins: vec![Login::new(cache, &made.values.username, last)],
        events: vec![NodeEvent::flushed(&flush, 1)],
        ..report(HOME)
    }
}

/// Whether the only credential of a cache was used, and how often the cache was flushed, as far as it is stored.
async fn stored(control: &ControlPlane, cache: CacheId) -> (bool, u64) {
    let credentials = control.store.credentials(cache).await.expect("a list");
    let flushes = control.store.flush_count(cache).await.expect("a count");
    (credentials[0].last_used.is_some(), flushes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_speaks_for_its_own_caches_alone() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let served = Served::start(&control).await;
        let made = control.provision("r-1").await;
        let cache = made.resource.cache;
        let link = link_to(&[&served.url], TOKEN);
        let node = joined(&link).await;
        let of_others = link.report(&node, &told_of(&control, &made)).await;
        of_others.expect("taken");
        assert_eq!(stored(&control, cache).await, (false, 0));

        let mut tx = control.store.begin().await.expect("a transaction");
        tx.place(cache, &node).await.expect("placed");
        tx.commit().await.expect("a commit");
        let of_its_own = link.report(&node, &told_of(&control, &made)).await;
        of_its_own.expect("taken");
        assert_eq!(stored(&control, cache).await, (true, 1));
    })
    .await;
}
