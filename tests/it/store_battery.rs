//! Every function of the store, on SQLite and on PostgreSQL. A store function without a place here does not merge.
//! (Those of the outbox have a battery of their own.)

mod figures;
mod nodes;
mod parts;

use std::collections::HashMap;
use std::time::Duration;

use larder::domain::credential::LastUse;
use larder::domain::ids::EventId;
use larder::domain::secret::{BearerSecret, Password};
use larder::domain::{
    Actor, CacheId, Capabilities, CredentialId, Event, FlushEvent, FlushId, FlushOrder, Identity,
    Marketplace, NodeId, NodePhase, Origin, RecordedEvent, ResourceId, ResourceState, Revision,
    Timestamp, Username,
};
use larder::store::caches::credentials::NewCredential;
use larder::store::caches::last_used::Use;
use larder::store::caches::resources::NewResource;
use larder::store::fleet::changes::{CacheChange, Part};
use larder::store::fleet::nodes::{Heartbeat, NodeAt, NodeProgress, NodeRecord, Registered};
use larder::store::service::audit::{AuditEntry, AuditRecord};
use larder::store::service::sessions::{NewSessionRow, OpenedBy};
use larder::store::{Store, StoreError, Tx};
use secrecy::ExposeSecret as _;
use sqlx::{AssertSqlSafe, Connection as _};

use crate::support::HEROKU;
use crate::support::control_plane::plans;
use crate::support::db::{Kind, START, TestDb, on_each};

/// The data folder of a test's nodes.
const HOME: &str = "m:1:2";

fn node(id: &str, host: &str) -> NodeRecord {
    NodeRecord {
        id: id.parse().unwrap(),
        cluster: "c1".parse().unwrap(),
        region: "us".to_owned(),
        proxy_hostname: host.to_owned(),
        proxy_port: 11211,
        memory_bytes: 1 << 30,
        home_id: HOME.to_owned(),
        home_path: "/var/lib/larder".to_owned(),
    }
}

fn node_id() -> NodeId {
    "node_1".parse().unwrap()
}

/// The first part of a list, which is all of it in these tests.
fn first_part() -> Part {
    Part::behind(CacheId(0))
}

fn progress(phase: NodePhase, applied: i64) -> NodeProgress {
    NodeProgress {
        phase,
        applied: Revision(applied),
        on_snapshot: false,
    }
}

async fn insert(tx: &mut Tx, external: &str, sso: &BearerSecret) -> Option<CacheId> {
    let new = NewResource {
        id: ResourceId::generate(START),
        marketplace: HEROKU,
        external_id: &external.parse().unwrap(),
        name: "acme",
        label: "4F2A90",
        plan: &"dev".parse().unwrap(),
        region: "us",
        cluster: &"c1".parse().unwrap(),
        callback_url: Some("https://api.example.com/x"),
        sso,
        provisioning: false,
    };
    tx.insert_resource(&new, START).await.unwrap()
}

pub async fn add(
    tx: &mut Tx,
    store: &Store,
    cache: CacheId,
    name: &str,
    primary: bool,
) -> Result<bool, StoreError> {
    let (username, password): (Username, _) = (name.parse().unwrap(), Password::generate());
    let new = NewCredential {
        id: CredentialId::generate(START),
        cache,
        username: &username,
        password: &password,
        verifier: &password.verifier(store.verifier_key(), &username),
        capabilities: Capabilities::ALL,
        primary,
    };
    tx.insert_credential(&new, START).await
}

/// A node with one cache on it, whose primary has this name.
pub async fn cache(store: &Store, external: &str, username: &str) -> CacheId {
    let mut tx = store.begin().await.unwrap();
    tx.register_node(&node("node_1", "p1"), START)
        .await
        .unwrap();
    let cache = insert(&mut tx, external, &BearerSecret::generate())
        .await
        .unwrap();
    assert!(add(&mut tx, store, cache, username, true).await.unwrap());
    tx.place(cache, &node_id()).await.unwrap();
    tx.bump(cache).await.unwrap();
    tx.commit().await.unwrap();
    cache
}

#[tokio::test]
async fn resources() {
    on_each(async |db| {
        let store = &db.store;
        let mut tx = store.begin().await.unwrap();
        tx.register_node(&node("node_1", "p1"), START)
            .await
            .unwrap();
        let sso = BearerSecret::generate();
        let cache = insert(&mut tx, "r-1", &sso).await.unwrap();
        assert_eq!(
            insert(&mut tx, "r-1", &BearerSecret::generate()).await,
            None,
            "taken"
        );
        assert!(tx.has_sso(cache, &sso.digest()).await.unwrap());
        tx.commit().await.unwrap();

        let id = "r-1".parse().unwrap();
        let resource = store.resource(cache).await.unwrap().unwrap();
        let found = store.resource_by_external(HEROKU, &id).await.unwrap();
        assert_eq!(found, Some(resource.clone()));
        let found = store
            .resource_by_external(Marketplace::named("manifold"), &id)
            .await
            .unwrap();
        assert_eq!(found, None, "ids are the marketplace's own");
        assert_eq!(
            (resource.name.as_str(), resource.plan.as_str()),
            ("acme", "dev")
        );
        assert_eq!(
            (resource.state, resource.created_at),
            (ResourceState::Provisioned, START)
        );
        assert_eq!(
            store.resource_by_sso(&sso.digest()).await.unwrap(),
            Some(resource.clone())
        );
        assert_eq!(
            store.sso_secret(cache).await.unwrap().unwrap().expose(),
            sso.expose()
        );
        let callback = store.callback_url(cache).await.unwrap();
        assert_eq!(callback.as_deref(), Some("https://api.example.com/x"));
        assert_eq!(store.resource(CacheId(99)).await.unwrap(), None);

        let mut tx = store.begin().await.unwrap();
        assert_eq!(
            tx.lock_resource(cache).await.unwrap(),
            Some(resource.clone())
        );
        tx.set_plan(cache, &"100".parse().unwrap()).await.unwrap();
        let second = BearerSecret::generate();
        tx.set_sso(&resource, &second).await.unwrap();
        assert!(!tx.has_sso(cache, &sso.digest()).await.unwrap());
        tx.commit().await.unwrap();
        assert_eq!(store.resource_by_sso(&sso.digest()).await.unwrap(), None);
        assert_eq!(
            store.sso_secret(cache).await.unwrap().unwrap().expose(),
            second.expose()
        );
        assert_eq!(
            store.resource(cache).await.unwrap().unwrap().plan.as_str(),
            "100"
        );

        let mut tx = store.begin().await.unwrap();
        tx.end_resource(cache, START).await.unwrap();
        tx.commit().await.unwrap();
        let buried = store.resource(cache).await.unwrap().unwrap();
        assert_eq!(buried.state, ResourceState::Deprovisioned { at: START });
        assert_eq!(store.resource_by_sso(&second.digest()).await.unwrap(), None);
        assert!(store.sso_secret(cache).await.unwrap().is_none());
        assert_eq!(store.callback_url(cache).await.unwrap(), None);
        let mut tx = store.begin().await.unwrap();
        assert_eq!(
            insert(&mut tx, "r-1", &sso).await,
            None,
            "a tombstone holds its id"
        );
    })
    .await;
}

#[tokio::test]
async fn credentials() {
    on_each(async |db| {
        let store = &db.store;
        let one = cache(store, "r-1", "AAAAAA").await;
        let other = cache(store, "r-2", "BBBBBB").await;
        let mut tx = store.begin().await.unwrap();
        assert!(add(&mut tx, store, one, "CCCCCC", false).await.unwrap());
        assert!(
            !add(&mut tx, store, one, "BBBBBB", false).await.unwrap(),
            "another cache's name"
        );
        assert_eq!(tx.count_credentials(one).await.unwrap(), 2);
        tx.commit().await.unwrap();

        let mut tx = store.begin().await.unwrap();
        let second_primary = add(&mut tx, store, one, "DDDDDD", true).await;
        let Err(StoreError::Taken(rule)) = second_primary else {
            panic!("a second primary: {second_primary:?}");
        };
        assert!(
            rule.contains("one_primary_per_cache") || rule.contains("credentials.cache_id"),
            "{rule}"
        );
        drop(tx);

        let (first, second): (Username, Username) =
            ("AAAAAA".parse().unwrap(), "CCCCCC".parse().unwrap());
        let mut tx = store.begin().await.unwrap();
        let credential = tx.credential(one, &second).await.unwrap().unwrap();
        assert_eq!(tx.credential(other, &second).await.unwrap(), None);
        tx.move_primary(&credential, START).await.unwrap();
        tx.set_capabilities(credential.id, Capabilities::WRITE)
            .await
            .unwrap();
        tx.commit().await.unwrap();
        let list = store.credentials(one).await.unwrap();
        let names: Vec<(&str, bool)> = list
            .iter()
            .map(|c| (c.username.as_str(), c.primary))
            .collect();
        assert_eq!(names, [("CCCCCC", true), ("AAAAAA", false)]);
        assert_eq!(list[0].capabilities, Capabilities::WRITE);
        let (username, password) = store.primary(one).await.unwrap().unwrap();
        assert_eq!(username, second);
        let same = store.password(one, &second).await.unwrap().unwrap();
        assert_eq!(same.expose(), password.expose());
        assert!(store.password(other, &second).await.unwrap().is_none());

        let used = |secs| LastUse {
            at: Timestamp::from_secs(secs),
            from: format!("10.0.0.{secs}"),
        };
        let mut tx = store.begin().await.unwrap();
        for secs in [5, 9, 7] {
            let seen = Use {
                cache: one,
                username: &second,
                last: &used(secs),
            };
            tx.record_last_used(&[seen]).await.unwrap();
        }
        let loser = tx.credential(one, &first).await.unwrap().unwrap();
        assert!(!tx.was_removed(one, &first).await.unwrap());
        tx.remove_credential(loser.id, START).await.unwrap();
        assert!(tx.was_removed(one, &first).await.unwrap());
        assert!(!tx.was_removed(other, &first).await.unwrap());
        assert!(
            !add(&mut tx, store, one, "AAAAAA", false).await.unwrap(),
            "never given out again"
        );
        tx.commit().await.unwrap();
        let list = store.credentials(one).await.unwrap();
        assert_eq!(list.len(), 1);
        assert_eq!(list[0].last_used, Some(used(9)));
        assert!(store.password(one, &first).await.unwrap().is_none());

        let mut tx = store.begin().await.unwrap();
        tx.end_resource(one, START).await.unwrap();
        tx.commit().await.unwrap();
        assert!(store.credentials(one).await.unwrap().is_empty());
        assert!(store.primary(one).await.unwrap().is_none());
        assert!(store.primary(other).await.unwrap().is_some());
    })
    .await;
}

#[tokio::test]
async fn nodes() {
    on_each(async |db| {
        let store = &db.store;
        let cache = cache(store, "r-1", "AAAAAA").await;
        let mut tx = store.begin().await.unwrap();
        tx.register_node(&node("node_2", "p0"), START)
            .await
            .unwrap();
        tx.place(cache, &"node_2".parse().unwrap()).await.unwrap();
        tx.place(cache, &"node_2".parse().unwrap()).await.unwrap();
        heard_of(&mut tx, "node_1", 7, START).await;
        tx.commit().await.unwrap();
        let placed = store.nodes_of(cache).await.unwrap();
        let seen: Vec<_> = placed
            .iter()
            .map(|n| (n.proxy_hostname.as_str(), n.applied.0))
            .collect();
        assert_eq!(seen, [("p0", 0), ("p1", 7)], "in the order of SERVERS");
        let between = store.placed_between(CacheId(0), cache).await.unwrap();
        let second: NodeId = "node_2".parse().unwrap();
        assert_eq!(between, [(cache, node_id()), (cache, second)]);
        let behind = store.placed_between(cache, CacheId(cache.0 + 9)).await;
        assert!(behind.unwrap().is_empty());

        let at = async |host, port| store.nodes_at(host, port).await.unwrap();
        let there = NodeAt {
            id: node_id(),
            cluster: "c1".parse().unwrap(),
        };
        assert_eq!(at("p1", 11211).await, std::slice::from_ref(&there));
        assert_eq!(at("P1", 11211).await, [there]);
        assert_eq!(at("p1", 11212).await, []);
        assert_eq!(at("p", 11211).await, []);

        let loads = store.node_loads().await.unwrap();
        assert_eq!(loads.len(), 2);
        assert_eq!(loads[0].caches, [("dev".parse().unwrap(), 1)]);
        assert_eq!(
            (loads[0].region.as_str(), loads[0].memory_bytes),
            ("us", 1 << 30)
        );

        // The same node starts again, on another port: it knows nothing any more.
        let moved = NodeRecord {
            proxy_port: 11999,
            ..node("node_1", "p1")
        };
        let mut tx = store.begin().await.unwrap();
        tx.register_node(&moved, START).await.unwrap();
        tx.end_resource(cache, START).await.unwrap();
        tx.commit().await.unwrap();
        let placed = store.nodes_of(cache).await.unwrap();
        assert_eq!(
            (placed[1].proxy_port, placed[1].applied),
            (11999, Revision(0))
        );
        let loads = store.node_loads().await.unwrap();
        assert!(
            loads.iter().all(|load| load.caches.is_empty()),
            "the dead take no room"
        );
    })
    .await;
}

/// The region of a cluster follows its only node, and no node takes the others along.
#[tokio::test]
async fn a_cluster_is_in_one_region() {
    on_each(async |db| {
        let store = &db.store;
        let in_eu = |id, host| NodeRecord {
            region: "eu".to_owned(),
            ..node(id, host)
        };
        let register = async |node: &NodeRecord| {
            let mut tx = store.begin().await.unwrap();
            let registered = tx.register_node(node, START).await.unwrap();
            tx.commit().await.unwrap();
            registered
        };
        let regions = async || store.regions_served().await.unwrap();
        assert_eq!(register(&node("node_1", "p1")).await, Registered::Done);
        assert_eq!(register(&in_eu("node_1", "p1")).await, Registered::Done);
        assert_eq!(regions().await, ["eu"], "it was alone");
        let us = node("node_2", "p2");
        let refused = Registered::ClusterIsIn("eu".to_owned());
        assert_eq!(register(&us).await, refused);
        assert_eq!(store.node_run(&us.id).await.unwrap(), None);
        assert_eq!(register(&in_eu("node_2", "p2")).await, Registered::Done);
        assert_eq!(register(&us).await, refused, "node 1 is still there");
        assert_eq!(regions().await, ["eu"]);

        let mut tx = store.begin().await.unwrap();
        assert!(tx.retire_node(&node_id(), START).await.unwrap());
        tx.commit().await.unwrap();
        assert_eq!(register(&us).await, Registered::Done);
        assert_eq!(regions().await, ["us"]);
    })
    .await;
}

#[tokio::test]
async fn changes_say_all_that_a_node_must_know() {
    on_each(async |db| {
        let store = &db.store;
        let plans = plans();
        let (one, two) = (
            cache(store, "r-1", "AAAAAA").await,
            cache(store, "r-2", "BBBBBB").await,
        );
        let since = async |revision| {
            store
                .changes_since(&node_id(), Revision(revision), first_part(), &plans)
                .await
                .unwrap()
        };

        let all = since(0).await;
        assert_eq!(
            (all.revision, all.complete, all.caches.len()),
            (Revision(2), true, 2)
        );
        assert_eq!(store.revision().await.unwrap(), Revision(2));
        assert_eq!(store.last_change(one).await.unwrap(), Revision(1));
        let CacheChange::Serve(spec) = &all.caches[0] else {
            panic!("{all:?}")
        };
        assert_eq!(
            (spec.cache, spec.label.as_str(), spec.limit_bytes),
            (one, "4F2A90", 28_835_840)
        );
        assert_eq!(spec.credentials[0].username.as_str(), "AAAAAA");
        assert!(spec.flush_orders.is_empty());
        let none = since(2).await;
        assert_eq!(
            (none.revision, none.complete, none.caches.len()),
            (Revision(2), false, 0)
        );

        let order = FlushOrder {
            id: FlushId::generate(START),
            origin: Origin::WebInterface,
            reason: None,
        };
        let mut tx = store.begin().await.unwrap();
        let operator = Actor::local(Identity::Operator);
        tx.order_flush(one, &order, &operator, START).await.unwrap();
        tx.bump(one).await.unwrap();
        tx.end_resource(two, START).await.unwrap();
        tx.bump(two).await.unwrap();
        tx.commit().await.unwrap();
        let update = since(2).await;
        assert_eq!((update.revision, update.complete), (Revision(4), false));
        let [CacheChange::Serve(spec), CacheChange::Forget(gone)] = &update.caches[..] else {
            panic!("{update:?}")
        };
        assert_eq!(
            (spec.flush_orders.as_slice(), *gone),
            (&[order.clone()][..], two)
        );
        assert_eq!(since(0).await.caches.len(), 1, "a new node need not forget");

        // A node that does not hold the cache is told to forget it.
        let mut tx = store.begin().await.unwrap();
        tx.register_node(&node("node_2", "p2"), START)
            .await
            .unwrap();
        tx.commit().await.unwrap();
        let other = store
            .changes_since(
                &"node_2".parse().unwrap(),
                Revision(3),
                first_part(),
                &plans,
            )
            .await
            .unwrap();
        assert!(matches!(other.caches[..], [CacheChange::Forget(cache)] if cache == two));
        let other = store
            .changes_since(
                &"node_2".parse().unwrap(),
                Revision(2),
                first_part(),
                &plans,
            )
            .await
            .unwrap();
        assert!(matches!(other.caches[0], CacheChange::Forget(cache) if cache == one));

        // Tombstones go once every node has applied them.
        let prune = async || {
            let mut tx = store.begin().await.unwrap();
            let heard_since = START.minus(Duration::from_secs(10));
            let pruned = tx.prune_forgotten(heard_since).await.unwrap();
            tx.commit().await.unwrap();
            pruned
        };
        assert_eq!(prune().await, 0);
        let mut tx = store.begin().await.unwrap();
        for id in ["node_1", "node_2"] {
            heard_of(&mut tx, id, 4, START).await;
        }
        tx.commit().await.unwrap();
        assert_eq!(prune().await, 1);
        assert!(store.nodes_of(two).await.unwrap().is_empty());
        assert_eq!(store.nodes_of(one).await.unwrap().len(), 1);
    })
    .await;
}

async fn heard_of(tx: &mut Tx, id: &str, applied: i64, at: Timestamp) {
    let (id, serving) = (id.parse().unwrap(), progress(NodePhase::Serving, applied));
    let noted = tx.record_heartbeat(&id, HOME, serving, at);
    assert_eq!(noted.await.unwrap(), Heartbeat::Noted);
}

/// A node that is gone holds nothing up, and comes back to the whole list of its caches.
#[tokio::test]
async fn what_only_a_node_that_is_gone_has_not_heard_is_dropped() {
    on_each(async |db| {
        let store = &db.store;
        let (one, two) = (
            cache(store, "r-1", "AAAAAA").await,
            cache(store, "r-2", "BBBBBB").await,
        );
        let mut tx = store.begin().await.unwrap();
        for (id, host) in [("node_2", "p2"), ("node_3", "p3")] {
            tx.register_node(&node(id, host), START).await.unwrap();
        }
        for id in ["node_1", "node_2", "node_3"] {
            heard_of(&mut tx, id, 2, START).await;
        }
        tx.end_resource(two, START).await.unwrap();
        tx.bump(two).await.unwrap();
        tx.bump(one).await.unwrap();
        // Node 1 follows, node 2 falls silent, node 3 ends in good order.
        let later = START.plus(Duration::from_secs(20));
        heard_of(&mut tx, "node_1", 4, later).await;
        let third = "node_3".parse().unwrap();
        let stopped = tx.record_heartbeat(&third, HOME, progress(NodePhase::Stopped, 2), later);
        assert_eq!(stopped.await.unwrap(), Heartbeat::Noted);
        let heard_since = later.minus(Duration::from_secs(10));
        assert_eq!(tx.prune_forgotten(heard_since).await.unwrap(), 1);
        tx.commit().await.unwrap();

        let plans = plans();
        let id = node_id();
        let since = async |known| {
            let changes = store.changes_since(&id, Revision(known), first_part(), &plans);
            changes.await.unwrap()
        };
        let missed = since(2).await;
        assert!(missed.complete, "it stands below what was dropped");
        assert_eq!(missed.caches.len(), 1);
        assert!(!since(3).await.complete);
        assert!(!since(4).await.complete);
    })
    .await;
}

#[tokio::test]
async fn a_node_is_heard_from_the_folder_that_it_was_started_in() {
    on_each(async |db| {
        let mut tx = db.store.begin().await.unwrap();
        let id = node_id();
        tx.register_node(&node("node_1", "p1"), START)
            .await
            .unwrap();
        let other = tx.record_heartbeat(&id, "m:1:3", progress(NodePhase::Serving, 1), START);
        assert_eq!(other.await.unwrap(), Heartbeat::TakenOver);
        heard_of(&mut tx, "node_1", 1, START).await;
        tx.commit().await.unwrap();
        let run = db.store.node_run(&id).await.unwrap().unwrap();
        assert_eq!(
            run.home,
            Some((HOME.to_owned(), "/var/lib/larder".to_owned()))
        );
        assert_eq!(run.status.phase, NodePhase::Serving);
        assert_eq!(
            db.store.node_run(&"node_9".parse().unwrap()).await.unwrap(),
            None
        );
    })
    .await;
}

#[tokio::test]
async fn a_retired_node_is_no_node_any_more() {
    on_each(async |db| {
        let store = &db.store;
        let lost = cache(store, "r-1", "AAAAAA").await;
        let mut tx = store.begin().await.unwrap();
        heard_of(&mut tx, "node_1", 0, START).await;
        let before = START.minus(Duration::from_secs(1));
        assert!(
            !tx.retire_node(&node_id(), before).await.unwrap(),
            "it lives"
        );
        assert!(tx.retire_node(&node_id(), START).await.unwrap());
        let id = node_id();
        let late = tx.record_heartbeat(&id, HOME, progress(NodePhase::Serving, 1), START);
        assert_eq!(late.await.unwrap(), Heartbeat::Retired);
        assert!(!tx.set_drained(&node_id(), false).await.unwrap());
        tx.commit().await.unwrap();
        assert!(store.is_retired(&node_id()).await.unwrap());
        assert_eq!(store.nodes_at("p1", 11211).await.unwrap(), []);
        let stranded = store.stranded(CacheId(0), 10).await.unwrap();
        assert_eq!(stranded.len(), 1);
        assert_eq!(
            (stranded[0].cache, stranded[0].node.address.as_str()),
            (lost, "p1:11211")
        );
        assert!(store.stranded(lost, 10).await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test]
async fn the_table_of_changes_stays_bounded() {
    on_each(async |db| {
        let cache = cache(&db.store, "r-1", "AAAAAA").await;
        for _ in 0..20 {
            let mut tx = db.store.begin().await.unwrap();
            tx.bump(cache).await.unwrap();
            tx.commit().await.unwrap();
        }
        assert_eq!(db.store.last_change(cache).await.unwrap(), Revision(21));
        let rows = everything(db)
            .await
            .lines()
            .filter(|row| row.starts_with("changes: "))
            .count();
        assert_eq!(rows, 1);
    })
    .await;
}

/// Writers change their caches as fast as they can while a reader follows. If a revision could be read before a
/// lower one is committed, the reader would pass it by and end with an old state of some cache.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_misses_nothing() {
    on_each(async |db| {
        let store = &db.store;
        let plans = plans();
        let mut caches = Vec::new();
        for at in 0..6 {
            caches.push(cache(store, &format!("r-{at}"), &format!("{at}00000")).await);
        }
        let writers: Vec<_> = caches
            .iter()
            .enumerate()
            .map(|(writer, cache)| {
                let (store, cache) = (store.clone(), *cache);
                tokio::spawn(async move {
                    for round in 1..=20 {
                        let mut tx = store.begin().await.unwrap();
                        tx.lock_resource(cache).await.unwrap();
                        let name = format!("{writer}{round:05}");
                        assert!(add(&mut tx, &store, cache, &name, false).await.unwrap());
                        tx.bump(cache).await.unwrap();
                        // Commits come in another order than begins, if the database lets them.
                        tokio::time::sleep(Duration::from_micros(writer as u64 * 300)).await;
                        tx.commit().await.unwrap();
                    }
                })
            })
            .collect();
        let mut known = Revision(0);
        let mut seen: HashMap<CacheId, usize> = HashMap::new();
        let end = Revision(6 + 6 * 20);
        while known != end {
            let changes = store
                .changes_since(&node_id(), known, first_part(), &plans)
                .await
                .unwrap();
            known = changes.revision;
            for change in changes.caches {
                if let CacheChange::Serve(spec) = change {
                    seen.insert(spec.cache, spec.credentials.len());
                }
            }
            tokio::task::yield_now().await;
        }
        for writer in writers {
            writer.await.unwrap();
        }
        assert!(caches.iter().all(|cache| seen[cache] == 21), "{seen:?}");
    })
    .await;
}

/// The second to draw a revision cannot commit before the first. (SQLite has one writer, so there it is plain.)
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commit_order_is_revision_order() {
    on_each(async |db| {
        if !db.is_postgres() {
            return;
        }
        let store = &db.store;
        let (one, two) = (
            cache(store, "r-1", "AAAAAA").await,
            cache(store, "r-2", "BBBBBB").await,
        );
        let mut first = store.begin().await.unwrap();
        let mut second = store.begin().await.unwrap();
        second.lock_resource(two).await.unwrap();
        first.lock_resource(one).await.unwrap();
        assert_eq!(first.bump(one).await.unwrap(), Revision(3));
        let hasty = tokio::spawn(async move {
            let revision = second.bump(two).await.unwrap();
            second.commit().await.unwrap();
            revision
        });
        assert_eq!(
            store.revision().await.unwrap(),
            Revision(2),
            "nothing to be seen yet"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(!hasty.is_finished(), "it waits for the first");
        first.commit().await.unwrap();
        assert_eq!(hasty.await.unwrap(), Revision(4));
        let update = store
            .changes_since(&node_id(), Revision(2), first_part(), &plans())
            .await
            .unwrap();
        assert_eq!(update.caches.len(), 2);
    })
    .await;
}

#[tokio::test]
async fn flushes() {
    on_each(async |db| {
        let store = &db.store;
        let cache = cache(store, "r-1", "AAAAAA").await;
        let mut tx = store.begin().await.unwrap();
        tx.register_node(&node("node_2", "p2"), START)
            .await
            .unwrap();
        tx.place(cache, &"node_2".parse().unwrap()).await.unwrap();
        let order = FlushOrder {
            id: FlushId::generate(START),
            origin: Origin::AdminOperation,
            reason: Some("cluster switch".to_owned()),
        };
        let operator = Actor {
            identity: Identity::Operator,
            remote: Some([10, 0, 0, 9].into()),
        };
        tx.order_flush(cache, &order, &operator, START)
            .await
            .unwrap();
        let open = tx.open_order(cache, &order).await.unwrap();
        assert_eq!(open, Some(order.id));
        let by_other_way = FlushOrder {
            origin: Origin::WebInterface,
            ..order.clone()
        };
        assert_eq!(tx.open_order(cache, &by_other_way).await.unwrap(), None);
        let for_other_reason = FlushOrder {
            reason: None,
            ..order.clone()
        };
        assert_eq!(tx.open_order(cache, &for_other_reason).await.unwrap(), None);
        tx.commit().await.unwrap();
        assert_eq!(store.flush_result(order.id).await.unwrap(), None);

        let done = |node: &str, items| FlushEvent {
            id: order.id,
            cache,
            origin: order.origin,
            proxy: node.replace("node_", "p"),
            credential: None,
            remote: None,
            reason: order.reason.clone(),
            items,
            bytes: items * 10,
            at: START,
        };
        let (one, two): (NodeId, NodeId) = (node_id(), "node_2".parse().unwrap());
        let mut tx = store.begin().await.unwrap();
        for _ in 0..2 {
            let half = tx
                .report_order(&one, &done("node_1", 3), START)
                .await
                .unwrap();
            assert_eq!(half, None, "the other node has still to report");
        }
        let open = tx.open_order(cache, &order).await.unwrap();
        assert_eq!(open, None, "begun");
        let (event, actor) = tx
            .report_order(&two, &done("node_2", 4), START)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(
            (event.items, event.bytes, event.proxy.as_str()),
            (7, 70, "p2")
        );
        assert_eq!(event.reason.as_deref(), Some("cluster switch"));
        assert_eq!(actor, operator, "who ordered it");
        let again = tx
            .report_order(&two, &done("node_2", 4), START)
            .await
            .unwrap();
        assert_eq!(again, None, "told once");
        let unordered = FlushEvent {
            id: FlushId::generate(START),
            ..done("node_1", 5)
        };
        let taken = tx.report_order(&one, &unordered, START).await.unwrap();
        let service = Actor::local(Identity::Service);
        let expected = Some((unordered.clone(), service));
        assert_eq!(taken, expected, "a flush of the node's own");
        let again = tx.report_order(&one, &unordered, START).await.unwrap();
        assert_eq!(again, None, "told once");
        tx.commit().await.unwrap();
        assert_eq!(store.flush_result(order.id).await.unwrap(), Some((7, 70)));

        let by_client = FlushEvent {
            id: FlushId::generate(START),
            cache,
            origin: Origin::MemcacheClient,
            proxy: "p1".to_owned(),
            credential: Some("AAAAAA".parse().unwrap()),
            remote: Some([10, 0, 0, 1].into()),
            reason: None,
            items: 1,
            bytes: 10,
            at: START,
        };
        let mut tx = store.begin().await.unwrap();
        assert!(tx.record_flush(&by_client, 40).await.unwrap());
        assert!(
            !tx.record_flush(&by_client, 40).await.unwrap(),
            "once per id"
        );
        let withdrawn = FlushOrder {
            id: FlushId::generate(START),
            ..order.clone()
        };
        tx.order_flush(cache, &withdrawn, &operator, START)
            .await
            .unwrap();
        let half = FlushEvent {
            id: withdrawn.id,
            ..done("node_1", 1)
        };
        assert_eq!(tx.report_order(&one, &half, START).await.unwrap(), None);
        tx.end_resource(cache, START).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(store.flush_count(cache).await.unwrap(), 42);
    })
    .await;
}

#[tokio::test]
async fn sessions_and_proofs() {
    on_each(async |db| {
        let store = &db.store;
        let cache = cache(store, "r-1", "AAAAAA").await;
        let csrf = BearerSecret::generate();
        let open = |digest| NewSessionRow {
            digest,
            cache,
            opened_by: OpenedBy::Link,
            person: Some("ann"),
            context_app: None,
            csrf: &csrf,
        };
        let later = START.plus(Duration::from_secs(60));
        let mut tx = store.begin().await.unwrap();
        for digest in ["a", "b", "c"] {
            tx.insert_session(&open(digest), START).await.unwrap();
        }
        let sso = NewSessionRow {
            opened_by: OpenedBy::Sso,
            person: None,
            context_app: Some("app"),
            ..open("d")
        };
        tx.insert_session(&sso, START).await.unwrap();
        tx.touch_session("a", later).await.unwrap();
        tx.touch_session("a", START).await.unwrap();
        tx.delete_session("b").await.unwrap();
        tx.commit().await.unwrap();
        let session = store.session("a").await.unwrap().unwrap();
        assert_eq!(
            (session.cache, session.created_at, session.seen_at),
            (cache, START, later)
        );
        assert_eq!(session.person.as_deref(), Some("ann"));
        assert_eq!(session.csrf.expose(), csrf.expose());
        assert!(store.session("b").await.unwrap().is_none());
        assert_eq!(
            store
                .session("d")
                .await
                .unwrap()
                .unwrap()
                .context_app
                .as_deref(),
            Some("app")
        );

        let mut tx = store.begin().await.unwrap();
        assert_eq!(tx.delete_sessions_of(cache, Some("a")).await.unwrap(), 2);
        assert!(tx.use_proof("p", START).await.unwrap());
        assert!(!tx.use_proof("p", later).await.unwrap());
        assert_eq!(tx.prune_proofs(START).await.unwrap(), 0);
        assert_eq!(tx.prune_proofs(later).await.unwrap(), 1);
        assert_eq!(tx.prune_sessions(START, START).await.unwrap(), 0);
        assert_eq!(
            tx.prune_sessions(START, later.plus(Duration::from_secs(1)))
                .await
                .unwrap(),
            1
        );
        assert_eq!(tx.delete_sessions_of(cache, None).await.unwrap(), 0);
        tx.commit().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn audit_reports_and_history() {
    on_each(async |db| {
        let store = &db.store;
        let cache = cache(store, "r-1", "AAAAAA").await;
        let entry = |action: &str, cache| AuditEntry {
            cache,
            actor: Actor {
                identity: Identity::Account("ann".to_owned()),
                remote: Some([10, 0, 0, 1].into()),
            },
            action: action.to_owned(),
            detail: "x".to_owned(),
        };
        let later = START.plus(Duration::from_secs(1));
        let audited = |at, times, entry| AuditRecord { at, times, entry };
        let mut tx = store.begin().await.unwrap();
        tx.audit(&entry("first", Some(cache)), START).await.unwrap();
        for _ in 0..2 {
            let second = entry("second", Some(cache));
            tx.audit(&second, later).await.unwrap();
        }
        tx.audit(&entry("elsewhere", None), later).await.unwrap();
        let id = EventId::generate(START);
        assert!(tx.first_report(id, START).await.unwrap());
        assert!(!tx.first_report(id, later).await.unwrap());
        assert_eq!(tx.prune_reports(later).await.unwrap(), 1);
        let operator = Actor::local(Identity::Operator);
        for (reason, at) in [("old", START), ("new", later), ("newest", later)] {
            let event = Event::RotationPutOff {
                reason: reason.to_owned(),
            };
            assert!(tx.insert_event(cache, &event, &operator, at).await.unwrap());
        }
        assert_eq!(tx.prune_history(later).await.unwrap(), 1);
        tx.commit().await.unwrap();
        let audit = store.audit_of(cache, 10).await.unwrap();
        assert_eq!(
            audit,
            [
                audited(later, 2, entry("second", Some(cache))),
                audited(START, 1, entry("first", Some(cache)))
            ]
        );
        assert_eq!(store.audit_of(cache, 1).await.unwrap().len(), 1);
        let left = store.events(cache, 10).await.unwrap();
        assert_eq!(
            left.iter().map(RecordedEvent::detail).collect::<Vec<_>>(),
            ["reason=newest", "reason=new"],
            "in one instant the order of writing counts"
        );
        assert!(
            left.iter()
                .all(|event| event.actor.as_ref() == Some(&operator))
        );
    })
    .await;
}

#[tokio::test]
async fn a_dropped_transaction_leaves_nothing() {
    on_each(async |db| {
        let store = &db.store;
        let cache = cache(store, "r-1", "AAAAAA").await;
        let before = everything(db).await;
        {
            let mut tx = store.begin().await.unwrap();
            tx.lock_resource(cache).await.unwrap();
            insert(&mut tx, "r-2", &BearerSecret::generate())
                .await
                .unwrap();
            add(&mut tx, store, cache, "BBBBBB", false).await.unwrap();
            tx.use_proof("p", START).await.unwrap();
            tx.bump(cache).await.unwrap();
        }
        // The next transaction begins after the dropped one is rolled back.
        let tx = store.begin().await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(everything(db).await, before);
    })
    .await;
}

#[tokio::test]
async fn a_damaged_row_is_an_error() {
    on_each(async |db| {
        let store = &db.store;
        let cache = cache(store, "r-1", "AAAAAA").await;
        let is_bad = |error: StoreError| matches!(error, StoreError::BadRow(_));
        by_hand(db, "UPDATE credentials SET capabilities = 900").await;
        assert!(is_bad(store.credentials(cache).await.unwrap_err()));
        by_hand(
            db,
            "UPDATE credentials SET capabilities = 7, username = 'sly name'",
        )
        .await;
        assert!(is_bad(store.credentials(cache).await.unwrap_err()));
        by_hand(db, "UPDATE resources SET plan = 'NO PLAN'").await;
        assert!(is_bad(store.resource(cache).await.unwrap_err()));
        by_hand(db, "UPDATE nodes SET proxy_port = 70000").await;
        assert!(is_bad(store.nodes_of(cache).await.unwrap_err()));
    })
    .await;
}

/// A sealed value that was moved to another row does not open there.
#[tokio::test]
async fn a_swapped_password_does_not_open() {
    on_each(async |db| {
        let store = &db.store;
        let one = cache(store, "r-1", "AAAAAA").await;
        cache(store, "r-2", "BBBBBB").await;
        by_hand(
            db,
            "UPDATE credentials SET password_sealed = \
             (SELECT password_sealed FROM credentials WHERE username = 'BBBBBB') WHERE username = 'AAAAAA'",
        )
        .await;
        assert!(matches!(store.primary(one).await, Err(StoreError::Seal(_))));
    })
    .await;
}

#[tokio::test]
async fn a_copy_of_the_database_opens_nothing() {
    on_each(async |db| {
        let store = &db.store;
        let cache = cache(store, "r-1", "AAAAAA").await;
        let (cookie, csrf) = (BearerSecret::generate(), BearerSecret::generate());
        let log_url = "https://token:t.marker-in-log-url@logs.example.com/logs".to_owned();
        let mut tx = store.begin().await.unwrap();
        let session = NewSessionRow {
            digest: &cookie.digest(),
            cache,
            opened_by: OpenedBy::Link,
            person: None,
            context_app: None,
            csrf: &csrf,
        };
        tx.insert_session(&session, START).await.unwrap();
        tx.insert_attachment(cache, "app", Some(&log_url.into()), START)
            .await
            .unwrap();
        let code = "marker-in-grant-code".to_owned().into();
        tx.insert_grant(cache, &code, START, START).await.unwrap();
        tx.commit().await.unwrap();
        let (_, password) = store.primary(cache).await.unwrap().unwrap();
        let sso = store.sso_secret(cache).await.unwrap().unwrap();
        let secrets = [
            password.expose(),
            sso.expose(),
            cookie.expose(),
            csrf.expose(),
            "marker-in-log-url",
            "marker-in-grant-code",
        ];

        let mut copy = everything(db).await.into_bytes();
        if let Kind::Sqlite { dir } = &db.kind {
            for file in std::fs::read_dir(dir.path()).unwrap() {
                copy.extend(std::fs::read(file.unwrap().path()).unwrap());
            }
        }
        let holds = |needle: &[u8]| copy.windows(needle.len()).any(|window| window == needle);
        assert!(holds(b"AAAAAA"), "the search finds what is there");
        for secret in secrets {
            let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
            for form in [secret, &hex, &hex.to_uppercase()] {
                assert!(!holds(form.as_bytes()), "a secret stands in the database");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn another_process_sees_the_same() {
    on_each(async |db| {
        let cache = cache(&db.store, "r-1", "AAAAAA").await;
        let other = db.opened_again().await;
        other.ping().await.unwrap();
        let (_, here) = db.store.primary(cache).await.unwrap().unwrap();
        let (name, there) = other.primary(cache).await.unwrap().unwrap();
        assert_eq!(here.expose(), there.expose());
        let verifier = there.verifier(other.verifier_key(), &name);
        assert!(verifier.matches(&here.verifier(db.store.verifier_key(), &name)));
        other.close().await;
    })
    .await;
}

/// Every row of every table as text, in a fixed order; bytes as hexadecimal.
async fn everything(db: &TestDb) -> String {
    let mut rows = Vec::new();
    let url = db.settings.url.expose_secret();
    match db.kind {
        Kind::Sqlite { .. } => {
            let mut c = sqlx::SqliteConnection::connect(url).await.unwrap();
            let tables: Vec<String> =
                sqlx::query_scalar("SELECT name FROM sqlite_master WHERE type = 'table'")
                    .fetch_all(&mut c)
                    .await
                    .unwrap();
            for table in tables {
                let columns: Vec<String> =
                    sqlx::query_scalar("SELECT name FROM pragma_table_info($1)")
                        .bind(&table)
                        .fetch_all(&mut c)
                        .await
                        .unwrap();
                let quoted: Vec<String> = columns
                    .iter()
                    .map(|column| format!("quote({column})"))
                    .collect();
                let sql = format!(
                    "SELECT '{table}: ' || {} FROM {table}",
                    quoted.join(" || ',' || ")
                );
                rows.extend(
                    sqlx::query_scalar::<_, String>(AssertSqlSafe(sql))
                        .fetch_all(&mut c)
                        .await
                        .unwrap(),
                );
            }
        }
        Kind::Postgres { .. } => {
            let mut c = sqlx::PgConnection::connect(url).await.unwrap();
            let tables: Vec<String> = sqlx::query_scalar(
                "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'",
            )
            .fetch_all(&mut c)
            .await
            .unwrap();
            for table in tables {
                let sql = format!("SELECT '{table}: ' || t::text FROM {table} t");
                rows.extend(
                    sqlx::query_scalar::<_, String>(AssertSqlSafe(sql))
                        .fetch_all(&mut c)
                        .await
                        .unwrap(),
                );
            }
        }
    }
    rows.sort();
    rows.join("\n")
}

pub async fn by_hand(db: &TestDb, sql: &'static str) {
    let url = db.settings.url.expose_secret();
    match db.kind {
        Kind::Sqlite { .. } => {
            let mut c = sqlx::SqliteConnection::connect(url).await.unwrap();
            sqlx::query(sql).execute(&mut c).await.unwrap();
        }
        Kind::Postgres { .. } => {
            let mut c = sqlx::PgConnection::connect(url).await.unwrap();
            sqlx::query(sql).execute(&mut c).await.unwrap();
        }
    }
}
