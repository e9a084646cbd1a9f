//! Nodes following the control plane and reporting to it, with a link that fails in between.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use larder::cluster::link::{
    CacheChange, Changes, ControlLink, Introduction, LinkError, Login, Report,
};
use larder::cluster::{Cluster, Handover, Node};
use larder::domain::credential::LastUse;
use larder::domain::{
    BoxFuture, CacheId, Clock as _, FlushEvent, FlushId, NodeId, Origin, Revision, Timestamp,
};

use larder::engine::{EngineEvent, EventSink as _};

use crate::support::db::on_each;
use crate::support::world::{FakePlane, World, eventually, node_settings, plans};

/// A link that breaks: the first `lost` reports do not arrive, the next `unanswered` arrive without the node
/// hearing of it.
struct BadLink {
    cluster: Cluster,
    lost: AtomicU32,
    unanswered: AtomicU32,
}

fn once_less(count: &AtomicU32) -> bool {
    let lower = |left: u32| left.checked_sub(1);
    count
        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, lower)
        .is_ok()
}

impl ControlLink for BadLink {
    fn join(&self, node: Introduction) -> BoxFuture<'_, Result<NodeId, LinkError>> {
        self.cluster.join(node)
    }

    fn changes_since<'a>(
        &'a self,
        node: &'a NodeId,
        known: Revision,
        wait: Duration,
    ) -> BoxFuture<'a, Result<Changes, LinkError>> {
        self.cluster.changes_since(node, known, wait)
    }

    fn report<'a>(
        &'a self,
        node: &'a NodeId,
        report: &'a Report,
    ) -> BoxFuture<'a, Result<(), LinkError>> {
        Box::pin(async move {
            let away = || Err(LinkError::Away("a test".to_owned()));
            if report.events.is_empty() {
                return self.cluster.report(node, report).await;
            }
            if once_less(&self.lost) {
                return away();
            }
            self.cluster.report(node, report).await?;
            if once_less(&self.unanswered) {
                return away();
            }
            Ok(())
        })
    }
}

fn flush(cache: CacheId, at: Timestamp, items: u64) -> EngineEvent {
    EngineEvent::Flushed(FlushEvent {
        id: FlushId::generate(at),
        cache,
        origin: Origin::MemcacheClient,
        proxy: "p1.example.net".to_owned(),
        credential: None,
        remote: Some([10, 0, 4, 17].into()),
        reason: None,
        items,
        bytes: items,
        at,
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_is_repeated_until_it_is_stored_and_counts_once() {
    on_each(async |db| {
        let world = World::start_with(db, |cluster| {
            Arc::new(BadLink {
                cluster,
                lost: 2.into(),
                unanswered: 2.into(),
            })
        })
        .await;
        let cache = world.provision("r-1").await.resource.cache;
        let at = world.clock.now();
        let refusing = "4F2A90".parse().expect("a name");
        world.handover.record(flush(cache, at, 5));
        world.handover.record(EngineEvent::FlushRefused {
            cache,
            proxy: "p1".to_owned(),
            credential: refusing,
            remote: None,
            at,
        });
        world.handover.record(EngineEvent::MemoryFull {
            cache,
            used: 1,
            limit: 1,
            evictions: 1,
            window_secs: 60,
            at,
        });
        // Reports are stored in order, so when this one is there, so are all before it.
        eventually("the last event is stored", async || {
            world
                .history(cache)
                .await
                .contains(&"memory_full".to_owned())
        })
        .await;
        let later = at.plus(Duration::from_secs(1));
        world.handover.record(flush(cache, later, 6));
        eventually("a later report is stored", async || {
            world.store.flush_count(cache).await.expect("a count") == 2
        })
        .await;
        let kinds = world.history(cache).await;
        assert_eq!(
            kinds,
            [
                "provisioned",
                "flush",
                "flush_refused",
                "memory_full",
                "flush"
            ]
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_flushes_adds_up() {
    on_each(async |db| {
        let world = World::start(db).await;
        let cache = world.provision("r-1").await.resource.cache;
        let at = world.clock.now();
        for _ in 0..1_000 {
            world.handover.record(flush(cache, at, 2));
        }
        world.clock.advance(Duration::from_secs(1));
        eventually("all are counted", async || {
            world.store.flush_count(cache).await.expect("a count") == 1_000
        })
        .await;
        let events = world.store.events(cache, 100).await.expect("events");
        assert_eq!(
            events.len(),
            12,
            "provisioned, ten flushes, and one for the rest"
        );
        let summed = events.iter().find(|event| event.line.contains("repeated"));
        let line = &summed.expect("one for the rest").line;
        assert!(
            line.ends_with("items=1980 bytes=1980 repeated=990"),
            "{line}"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logins_are_written_down() {
    on_each(async |db| {
        let world = World::start(db).await;
        let made = world.provision("r-1").await;
        let cache = made.resource.cache;
        let last = LastUse {
            at: world.clock.now(),
            from: "10.0.4.17".to_owned(),
        };
        world.handover.record(EngineEvent::LoggedIn {
            cache,
            username: made.username,
            from: Some([10, 0, 4, 17].into()),
            at: last.at,
        });
        eventually("the login is stored", async || {
            let credentials = world.store.credentials(cache).await.expect("a list");
            credentials[0].last_used == Some(last.clone())
        })
        .await;
    })
    .await;
}

/// A last report holds what an earlier one could not deliver beside what came since.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_logins_in_a_report_the_later_counts() {
    on_each(async |db| {
        let world = World::start(db).await;
        let made = world.provision("r-1").await;
        let cache = made.resource.cache;
        let now = world.clock.now();
        for order in [[7, 9], [12, 11]] {
            let login = |secs| Login {
                cache,
                username: made.username.clone(),
                last: LastUse {
                    at: now.plus(Duration::from_secs(secs)),
                    from: secs.to_string(),
                },
            };
            let report = Report {
                applied: *world.node.applied().borrow(),
                logins: order.map(login).to_vec(),
                events: Vec::new(),
            };
            let taken = world.cluster.report(world.node.id(), &report).await;
            taken.expect("stored");
            let credentials = world.store.credentials(cache).await.expect("a list");
            let latest = order.into_iter().max().map(login).map(|login| login.last);
            assert_eq!(credentials[0].last_used, latest);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_engine_told_before_a_stop_is_stored() {
    on_each(async |db| {
        let world = World::start(db).await;
        let cache = world.provision("r-1").await.resource.cache;
        let at = world.clock.now();
        for _ in 0..30 {
            world.handover.record(flush(cache, at, 1));
        }
        world.clock.advance(Duration::from_secs(1));
        world.stop.cancel();
        eventually("the farewell is stored", async || {
            world.store.flush_count(cache).await.expect("a count") == 30
        })
        .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_keeps_its_identity() {
    on_each(async |db| {
        let world = World::start(db).await;
        let cache = world.provision("r-1").await.resource.cache;
        let join = async |dir: &std::path::Path, port: u16| {
            let mut settings = node_settings(dir);
            settings.proxy_port = port;
            let link = Arc::new(world.cluster.clone());
            let handover = Arc::new(Handover::default());
            let plane = FakePlane::new(handover.clone());
            let node = Node::join(&settings, link, plane, handover, world.clock.clone()).await;
            node.expect("joined").id().clone()
        };
        let dir = tempfile::tempdir().expect("a directory");
        let known_by_name = join(dir.path(), 11211).await;
        assert_eq!(&known_by_name, world.node.id(), "a lost data directory");
        let known_by_file = join(dir.path(), 11999).await;
        assert_eq!(known_by_file, known_by_name, "another port");
        let servers = world.cluster.servers(cache).await.expect("servers");
        assert_eq!(servers, "p1.example.net:11999", "the new port is announced");

        let other = tempfile::tempdir().expect("a directory");
        assert_ne!(join(other.path(), 12000).await, known_by_name);
        std::fs::write(other.path().join("node-id"), "not an id\n").expect("written");
        let link = Arc::new(world.cluster.clone());
        let handover = Arc::new(Handover::default());
        let plane = FakePlane::new(handover.clone());
        let settings = node_settings(other.path());
        let refused = Node::join(&settings, link, plane, handover, world.clock.clone()).await;
        assert!(refused.is_err());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_of_a_cache_are_both_waited_for_and_flush_once() {
    on_each(async |db| {
        let world = World::start(db).await;
        let made = world.provision("r-1").await;
        let cache = made.resource.cache;
        // A second node on another machine: it talks through a cluster of its own over the same database.
        let far = Cluster::new(
            db.opened_again().await,
            plans(),
            world.clock.clone(),
            larder::cluster::ClusterSettings::default(),
        );
        let dir = tempfile::tempdir().expect("a directory");
        let mut settings = node_settings(dir.path());
        settings.proxy_hostname = "p2.example.net".to_owned();
        let handover = Arc::new(Handover::default());
        let plane = FakePlane::new(handover.clone());
        let link = Arc::new(far.clone());
        let node = Node::join(
            &settings,
            link,
            plane.clone(),
            handover,
            world.clock.clone(),
        )
        .await;
        let node = Arc::new(node.expect("joined"));
        let mut tx = world.store.begin().await.expect("a transaction");
        tx.place(cache, node.id()).await.expect("placed");
        let revision = tx.bump(cache).await.expect("bumped");
        tx.commit().await.expect("committed");
        world.cluster.wake();

        let short = Duration::from_millis(50);
        let reach = world.cluster.caught_up(cache, revision, short).await;
        assert_eq!(reach.expect("a reach").nodes, 2);
        assert!(!world.cluster.wait_applied(cache, revision, short).await);
        tokio::spawn({
            let (node, stop) = (Arc::clone(&node), world.stop.clone());
            async move { node.run(stop).await }
        });
        let long = Duration::from_secs(60);
        assert!(world.cluster.wait_applied(cache, revision, long).await);
        assert_eq!(plane.usernames(cache), [made.username.to_string()]);

        let owner = world.owner(cache, "proof").await;
        let flushed = world.access.flush(&owner).await.expect("flushed");
        eventually("both have reported", async || {
            world.store.flush_count(cache).await.expect("a count") == 1
        })
        .await;
        let both = larder::access::FlushResult::Done {
            items: 6,
            bytes: 600,
        };
        assert!(flushed == both || flushed == larder::access::FlushResult::Ordered);
        let line = world.store.events(cache, 1).await.expect("events")[0]
            .line
            .clone();
        assert!(line.ends_with("items=6 bytes=600"), "{line}");
        assert_eq!(plane.flushed.lock().len(), 1);
    })
    .await;
}

/// A restored backup has fewer revisions than the nodes have seen. They get the whole truth and drop the rest.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_from_another_history_starts_over() {
    on_each(async |db| {
        let world = World::start(db).await;
        let cache = world.provision("r-1").await.resource.cache;
        let answer = world
            .cluster
            .changes_since(world.node.id(), Revision(1_000), Duration::ZERO)
            .await
            .expect("an answer");
        assert!(answer.complete);
        assert_eq!(answer.revision, Revision(1));
        let [CacheChange::Serve(spec)] = &answer.caches[..] else {
            panic!("{answer:?}");
        };
        assert_eq!(spec.cache, cache);
    })
    .await;
}
