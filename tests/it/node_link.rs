//! Nodes following the control plane and reporting to it, with a link that fails in between.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use larder::access::{DONE_WAIT, FlushResult};
use larder::cluster::link::wire::{
    CacheChange, Changes, ChangesQuery, Introduction, Login, Report, Welcome,
};
use larder::cluster::{
    Cluster, ClusterSettings, ControlLink, EventBuffer, LinkError, LocalLink, NodeAgent,
};
use larder::domain::credential::LastUse;
use larder::domain::{
    BoxFuture, CacheId, Clock as _, FlushEvent, FlushId, NodeId, NodePhase, Origin, Plan, Plans,
    Timestamp,
};

use larder::engine::{EngineEvent, EventSink as _};

use crate::support::control_plane::{
    ControlPlane, FakePlane, eventually, join_by, node_settings, plans,
};
use crate::support::db::{TestDb, on_each};

/// A link that breaks: the first `lost` reports do not arrive, the next `unanswered` arrive without the node
/// hearing of it.
struct BadLink {
    link: LocalLink,
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
    fn join(&self, node: Introduction) -> BoxFuture<'_, Result<Welcome, LinkError>> {
        self.link.join(node)
    }

    fn changes_since<'a>(
        &'a self,
        node: &'a NodeId,
        query: ChangesQuery,
    ) -> BoxFuture<'a, Result<Changes, LinkError>> {
        self.link.changes_since(node, query)
    }

    fn report<'a>(
        &'a self,
        node: &'a NodeId,
        report: &'a Report,
    ) -> BoxFuture<'a, Result<(), LinkError>> {
        Box::pin(async move {
            let away = || Err(LinkError::Away("a test".to_owned()));
            if report.events.is_empty() {
                return self.link.report(node, report).await;
            }
            if once_less(&self.lost) {
                return away();
            }
            self.link.report(node, report).await?;
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
        let control = ControlPlane::start_with(db, |cluster| {
            Arc::new(BadLink {
                link: LocalLink(cluster),
                lost: 2.into(),
                unanswered: 2.into(),
            })
        })
        .await;
        let cache = control.provision("r-1").await.resource.cache;
        let at = control.clock.now();
        let refusing = "4F2A90".parse().expect("a name");
        control.event_buffer.record(flush(cache, at, 5));
        control.event_buffer.record(EngineEvent::FlushRefused {
            cache,
            proxy: "p1".to_owned(),
            credential: refusing,
            remote: None,
            at,
        });
        control.event_buffer.record(EngineEvent::MemoryFull {
            cache,
            used: 1,
            limit: 1,
            evictions: 1,
            window_secs: 60,
            at,
        });
        // Reports are stored in order, so when this one is there, so are all before it.
        eventually("the last event is stored", async || {
            control
                .history(cache)
                .await
                .contains(&"memory_full".to_owned())
        })
        .await;
        let later = at.plus(Duration::from_secs(1));
        control.event_buffer.record(flush(cache, later, 6));
        eventually("a later report is stored", async || {
            control.store.flush_count(cache).await.expect("a count") == 2
        })
        .await;
        let kinds = control.history(cache).await;
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
        let control = ControlPlane::start(db).await;
        let cache = control.provision("r-1").await.resource.cache;
        let at = control.clock.now();
        for _ in 0..1_000 {
            control.event_buffer.record(flush(cache, at, 2));
        }
        control.clock.advance(Duration::from_secs(1));
        eventually("all are counted", async || {
            control.store.flush_count(cache).await.expect("a count") == 1_000
        })
        .await;
        let events = control.store.events(cache, 100).await.expect("events");
        assert_eq!(
            events.len(),
            12,
            "provisioned, ten flushes, and one for the rest"
        );
        let of_flushes = events.iter().filter(|event| event.id.starts_with("fl_"));
        assert_eq!(of_flushes.count(), 11, "each has the id of its flushes");
        let mut details = events.iter().map(|event| event.detail());
        let summed = details.find(|detail| detail.contains("repeated"));
        let line = summed.expect("one for the rest");
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
        let control = ControlPlane::start(db).await;
        let made = control.provision("r-1").await;
        let cache = made.resource.cache;
        let last = LastUse {
            at: control.clock.now(),
            from: "10.0.4.17".to_owned(),
        };
        control.event_buffer.record(EngineEvent::LoggedIn {
            cache,
            username: made.values.username,
            from: Some([10, 0, 4, 17].into()),
            at: last.at,
        });
        eventually("the login is stored", async || {
            let credentials = control.store.credentials(cache).await.expect("a list");
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
        let control = ControlPlane::start(db).await;
        let made = control.provision("r-1").await;
        let cache = made.resource.cache;
        let now = control.clock.now();
        for order in [[7, 9], [12, 11]] {
            let last = |secs: u64| LastUse {
                at: now.plus(Duration::from_secs(secs)),
                from: secs.to_string(),
            };
            let login = |secs| Login::new(cache, &made.values.username, last(secs));
            let run = control.store.node_run(control.node.id()).await;
            let home = run.expect("a row").expect("a node").home;
            let report = Report {
                home: home.expect("it was started").0,
                applied: control.node.applied().borrow().0,
                logins: order.map(login).to_vec(),
                ..Report::default()
            };
            let taken = control
                .cluster
                .take_report(control.node.id(), &report)
                .await;
            taken.expect("stored");
            let credentials = control.store.credentials(cache).await.expect("a list");
            let latest = order.into_iter().max().map(last);
            assert_eq!(credentials[0].last_used, latest);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_engine_told_before_a_stop_is_stored() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let cache = control.provision("r-1").await.resource.cache;
        let at = control.clock.now();
        for _ in 0..30 {
            control.event_buffer.record(flush(cache, at, 1));
        }
        control.clock.advance(Duration::from_secs(1));
        control.stop.cancel();
        eventually("the farewell is stored", async || {
            control.store.flush_count(cache).await.expect("a count") == 30
        })
        .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_keeps_its_identity() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let cache = control.provision("r-1").await.resource.cache;
        let join = async |dir: &std::path::Path, port: u16| {
            let mut settings = node_settings(dir);
            settings.proxy_port = port;
            let link = Arc::new(LocalLink(control.cluster.clone()));
            let event_buffer = Arc::new(EventBuffer::default());
            let plane = FakePlane::new(event_buffer.clone());
            let node = join_by(&settings, link, plane, event_buffer, control.clock.clone()).await;
            node.expect("joined").id().clone()
        };
        control.stop.cancel();
        eventually("the first machine has ended", async || {
            let run = control.store.node_run(control.node.id()).await;
            run.expect("a row").expect("a node").status.phase == NodePhase::Stopped
        })
        .await;
        let dir = tempfile::tempdir().expect("a directory");
        let known_by_name = join(dir.path(), 11211).await;
        assert_eq!(&known_by_name, control.node.id(), "a lost data directory");
        let known_by_file = join(dir.path(), 11999).await;
        assert_eq!(known_by_file, known_by_name, "another port");
        let servers = control.cluster.servers(cache).await.expect("servers");
        assert_eq!(servers, "p1.example.net:11999", "the new port is announced");

        let other = tempfile::tempdir().expect("a directory");
        assert_ne!(join(other.path(), 12000).await, known_by_name);
        std::fs::write(other.path().join("node-id"), "not an id\n").expect("written");
        let link = Arc::new(LocalLink(control.cluster.clone()));
        let event_buffer = Arc::new(EventBuffer::default());
        let plane = FakePlane::new(event_buffer.clone());
        let settings = node_settings(other.path());
        let refused = join_by(&settings, link, plane, event_buffer, control.clock.clone()).await;
        assert!(refused.is_err());
    })
    .await;
}

/// A second node on another machine: it talks through a cluster of its own over the same database. It does not run yet.
async fn second_node(control: &ControlPlane, db: &TestDb) -> (Arc<NodeAgent>, Arc<FakePlane>) {
    let far = Cluster::new(
        db.opened_again().await,
        plans(),
        control.clock.clone(),
        larder::cluster::ClusterSettings::default(),
    );
    let folder = tempfile::tempdir().expect("a directory");
    let mut settings = node_settings(folder.path());
    settings.proxy_hostname = "p2.example.net".to_owned();
    let event_buffer = Arc::new(EventBuffer::default());
    let plane = FakePlane::new(event_buffer.clone());
    let link = Arc::new(LocalLink(far));
    let clock = control.clock.clone();
    let node = join_by(&settings, link, plane.clone(), event_buffer, clock).await;
    (Arc::new(node.expect("joined")), plane)
}

fn run_node(control: &ControlPlane, node: &Arc<NodeAgent>) {
    let (node, stop) = (Arc::clone(node), control.stop.clone());
    tokio::spawn(async move { node.run(stop).await });
}

/// Those that it finds at its start, and those that come later. What a cache of its own has, it learns with the cache.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_learns_the_user_names_of_caches_on_other_nodes() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let made = control.provision("r-1").await;
        let cache = made.resource.cache;
        let (node, plane) = second_node(&control, db).await;
        run_node(&control, &node);
        let first = made.values.username.clone();
        eventually("the second node knows the first name", async || {
            *plane.elsewhere.lock() == [first.clone()]
        })
        .await;
        let owner = control.owner(cache, "proof").await;
        let (second, _) = control.access.create(&owner).await.expect("created");
        eventually("the second node knows the second name", async || {
            plane.elsewhere.lock().contains(&second.username)
        })
        .await;
        assert!(plane.spec(cache).is_none(), "it serves no cache");
        assert!(control.plane.elsewhere.lock().is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_of_a_cache_are_both_waited_for_and_flush_once() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let made = control.provision("r-1").await;
        let cache = made.resource.cache;
        let (node, plane) = second_node(&control, db).await;
        let mut tx = control.store.begin().await.expect("a transaction");
        tx.place(cache, node.id()).await.expect("placed");
        let revision = tx.bump(cache).await.expect("bumped");
        tx.commit().await.expect("committed");
        control.cluster.wake();

        let short = Duration::from_millis(50);
        let reach = control.cluster.caught_up(cache, revision, short).await;
        assert_eq!(reach.expect("a reach").nodes, 2);
        assert!(!control.cluster.wait_applied(cache, revision, short).await);
        run_node(&control, &node);
        let long = Duration::from_secs(60);
        assert!(control.cluster.wait_applied(cache, revision, long).await);
        assert_eq!(plane.usernames(cache), [made.values.username.to_string()]);

        let owner = control.owner(cache, "proof").await;
        let flushed = control
            .access
            .flush(&owner, None, DONE_WAIT)
            .await
            .expect("flushed");
        eventually("both have reported", async || {
            control.store.flush_count(cache).await.expect("a count") == 1
        })
        .await;
        let both = FlushResult::Done {
            items: 6,
            bytes: 600,
        };
        assert!(flushed == both || flushed == FlushResult::Ordered);
        let line = control.store.events(cache, 1).await.expect("events")[0].detail();
        assert!(line.ends_with("items=6 bytes=600"), "{line}");
        assert_eq!(plane.flushed.lock().len(), 1);
    })
    .await;
}

/// A restored backup has fewer revisions than the nodes have seen. They get the whole truth and drop the rest.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_from_another_history_starts_over() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let cache = control.provision("r-1").await.resource.cache;
        let asked = async |known: i64, plans: u32| {
            let query = ChangesQuery {
                known,
                plans,
                ..ChangesQuery::default()
            };
            let answer = control.cluster.changes_since(control.node.id(), query);
            answer.await.expect("an answer")
        };
        let plans = asked(0, 0).await.plans;
        assert!(!asked(1, plans).await.complete);
        let answer = asked(1_000, plans).await;
        assert!(answer.complete);
        assert_eq!(answer.revision, 1);
        let [CacheChange::Serve(spec)] = &answer.caches[..] else {
            panic!("{answer:?}");
        };
        assert_eq!(spec.cache, cache.0);
    })
    .await;
}

/// No revision tells of another table of plans, with which a control process was started anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_knows_the_limits_of_another_table_of_plans_starts_over() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let cache = control.provision("r-1").await.resource.cache;
        let ask = async |cluster: &Cluster, query: ChangesQuery| {
            let answer = cluster.changes_since(control.node.id(), query).await;
            answer.expect("an answer")
        };
        let first = ask(&control.cluster, ChangesQuery::default()).await;
        let query = ChangesQuery {
            known: first.revision,
            plans: first.plans,
            ..ChangesQuery::default()
        };
        assert!(!ask(&control.cluster, query).await.complete, "it knows all");

        let mut table: Vec<Plan> = plans().iter().cloned().collect();
        table[0].memory_bytes *= 2;
        let other = Arc::new(Plans::new(table).expect("a good table"));
        let (store, settings) = (db.opened_again().await, ClusterSettings::default());
        let started_anew = Cluster::new(store, other, control.clock.clone(), settings);
        let again = ask(&started_anew, query).await;
        assert!(again.complete);
        let limits = |changes: &Changes| {
            let [CacheChange::Serve(spec)] = &changes.caches[..] else {
                panic!("{changes:?}");
            };
            assert_eq!(spec.cache, cache.0);
            spec.limit_bytes
        };
        assert_eq!(limits(&again), 2 * limits(&first));
        let query = ChangesQuery {
            plans: again.plans,
            ..query
        };
        assert!(!ask(&started_anew, query).await.complete, "once");
    })
    .await;
}
