//! Figures of caches on nodes of other processes: the nodes report them, and every control process shows them.

use std::sync::Arc;
use std::time::Duration;

use larder::cluster::link::wire::{
    Changes, ChangesQuery, Figures, Introduction, Phase, Report, Welcome,
};
use larder::cluster::{
    Cluster, ClusterSettings, ControlLink, EventBuffer, FiguresSource, LinkError, LocalLink,
};
use larder::domain::{BoxFuture, CacheId, Clock as _, NodeId};

use crate::support::HEROKU;
use crate::support::control_plane::{
    ControlPlane, FakePlane, eventually, join_by, node_settings, plans,
};
use crate::support::db::on_each;

/// The link of a node on another machine, whose figures come to the control plane by reports on either database.
struct FarLink(LocalLink);

impl ControlLink for FarLink {
    fn join(&self, node: Introduction) -> BoxFuture<'_, Result<Welcome, LinkError>> {
        self.0.join(node)
    }

    fn changes_since<'a>(
        &'a self,
        node: &'a NodeId,
        query: ChangesQuery,
    ) -> BoxFuture<'a, Result<Changes, LinkError>> {
        self.0.changes_since(node, query)
    }

    fn report<'a>(
        &'a self,
        node: &'a NodeId,
        report: &'a Report,
    ) -> BoxFuture<'a, Result<(), LinkError>> {
        self.0.report(node, report)
    }
}

/// Takes a cache from this process's node to these.
async fn move_to(control: &ControlPlane, cache: CacheId, nodes: &[&NodeId]) {
    let mut tx = control.store.begin().await.expect("a transaction");
    let taken = tx.unplace(cache, control.node.id()).await;
    assert!(taken.expect("written"));
    for node in nodes {
        tx.place(cache, node).await.expect("placed");
    }
    tx.bump(cache).await.expect("bumped");
    tx.commit().await.expect("committed");
    control.cluster.wake();
    eventually("this process's node has forgotten it", async || {
        control.plane.spec(cache).is_none()
    })
    .await;
}

/// Takes a report of a node that [`ControlPlane::serving_node`] made. It has every change in force.
async fn report(control: &ControlPlane, node: &NodeId, figures: Vec<Figures>) {
    let report = Report {
        home: "m:1:2".to_owned(),
        phase: Phase::Serving,
        applied: 1_000,
        figures,
        ..Report::default()
    };
    let taken = control.cluster.take_report(node, &report).await;
    taken.expect("taken");
}

fn figures(cache: CacheId, items: u64) -> Figures {
    Figures {
        cache: cache.0,
        items,
        by_credential: vec![("ABCDEF".to_owned(), items)],
        ..Figures::default()
    }
}

async fn source(control: &ControlPlane, cache: CacheId) -> FiguresSource {
    let source = control.cluster.figures(cache).await;
    source.expect("an answer")
}

async fn items(control: &ControlPlane, cache: CacheId) -> Option<u64> {
    let source = source(control, cache).await;
    source.known().map(|figures| figures.items)
}

async fn connections(control: &ControlPlane, cache: CacheId) -> Option<u64> {
    let username = "ABCDEF".parse().expect("a name");
    let counted = control.cluster.connections_with(cache, &username).await;
    counted.expect("an answer")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_figures_of_a_node_elsewhere_are_shown_here() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let made = control.provision("r-1").await;
        let cache = made.resource.cache;
        assert!(source(&control, cache).await.here().is_some());

        let clock = control.clock.clone();
        let (store, settings) = (db.opened_again().await, ClusterSettings::default());
        let far = LocalLink(Cluster::new(store, plans(), clock.clone(), settings));
        assert_eq!(far.takes_figures(), db.is_postgres(), "others may read it");
        let folder = tempfile::tempdir().expect("a directory");
        let mut settings = node_settings(folder.path());
        settings.proxy_hostname = "p2.example.net".to_owned();
        let told = Arc::new(EventBuffer::default());
        let plane = FakePlane::new(told.clone());
        let link = Arc::new(FarLink(far));
        let node = join_by(&settings, link, plane.clone(), told, clock).await;
        let node = Arc::new(node.expect("joined"));
        node.open().await.expect("the node serves");
        let username = made.values.username;
        plane.connected.lock().insert(username.to_string(), 3);
        move_to(&control, cache, &[node.id()]).await;
        tokio::spawn({
            let (node, stop) = (node.clone(), control.stop.clone());
            async move { node.run(stop).await }
        });
        eventually("its figures are shown", async || {
            let source = source(&control, cache).await;
            matches!(source, FiguresSource::Reported { .. })
        })
        .await;
        let FiguresSource::Reported { figures, node, .. } = source(&control, cache).await else {
            panic!("figures that were reported");
        };
        assert_eq!(node, "p2.example.net:11211");
        let limit_bytes = plane.spec(cache).expect("it serves it").limit_bytes;
        assert_eq!(figures.limit_bytes, limit_bytes);
        assert_eq!(figures.connections_by_credential, [(username.clone(), 3)]);
        let counted = control.cluster.connections_with(cache, &username).await;
        assert_eq!(counted.expect("an answer"), Some(3));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn figures_hold_while_the_node_is_heard_of_and_end_with_its_life_and_the_cache() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let cache = control.provision("r-1").await.resource.cache;
        let far = control.serving_node("node_far", "p9.example.net").await;
        move_to(&control, cache, &[&far]).await;
        let elsewhere = FiguresSource::Elsewhere {
            node: "p9.example.net:11211".to_owned(),
        };
        assert_eq!(source(&control, cache).await, elsewhere);
        report(&control, &far, vec![figures(cache, 5)]).await;
        assert_eq!(items(&control, cache).await, Some(5));
        assert_eq!(connections(&control, cache).await, Some(5));

        control.clock.advance(Duration::from_secs(31));
        assert_eq!(items(&control, cache).await, None, "the node is away");
        report(&control, &far, vec![]).await;
        assert_eq!(items(&control, cache).await, Some(5));
        assert_eq!(connections(&control, cache).await, Some(5));
        let FiguresSource::Reported { at, .. } = source(&control, cache).await else {
            panic!("figures that were reported");
        };
        let age = control.clock.now().since(at);
        assert!(age < Duration::from_secs(11), "what did not change is new");
        control.serving_node("node_far", "p9.example.net").await;
        assert_eq!(source(&control, cache).await, elsewhere, "it starts anew");
        assert_eq!(connections(&control, cache).await, None);

        report(&control, &far, vec![figures(cache, 6)]).await;
        assert_eq!(items(&control, cache).await, Some(6));
        let id = "r-1".parse().expect("an id");
        let ended = control.provisioning.deprovision(HEROKU, &id).await;
        ended.expect("ended");
        assert_eq!(items(&control, cache).await, None);
        report(&control, &far, vec![figures(cache, 7)]).await;
        assert_eq!(items(&control, cache).await, None);
        let left = control.store.figures_of(cache).await;
        assert!(left.expect("an answer").is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_figures_of_two_nodes_are_summed_once_both_have_reported() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let cache = control.provision("r-1").await.resource.cache;
        let one = control.serving_node("node_one", "p8.example.net").await;
        let other = control.serving_node("node_other", "p9.example.net").await;
        move_to(&control, cache, &[&one, &other]).await;
        report(&control, &one, vec![figures(cache, 5)]).await;
        assert_eq!(items(&control, cache).await, None);
        report(&control, &other, vec![figures(cache, 6)]).await;
        assert_eq!(items(&control, cache).await, Some(11));
        assert_eq!(connections(&control, cache).await, Some(11));
    })
    .await;
}

/// Whoever has broken into a node shows nothing on the dashboards of others, and fills no database.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn figures_of_others_and_figures_that_are_none_are_not_stored() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let cache = control.provision("r-1").await.resource.cache;
        let far = control.serving_node("node_far", "p9.example.net").await;
        let by_far = async || {
            let rows = control.store.figures_of(cache).await.expect("an answer");
            rows.iter().filter(|row| row.node == far).count()
        };
        report(&control, &far, vec![figures(cache, 5)]).await;
        assert_eq!(by_far().await, 0, "it is on another node");

        move_to(&control, cache, &[&far]).await;
        let mut unreadable = figures(cache, 5);
        unreadable.by_credential[0].0 = "<b>".to_owned();
        let mut long = figures(cache, 5);
        long.counters = vec![("x".repeat(70_000).into(), 1)];
        report(&control, &far, vec![unreadable, long]).await;
        assert_eq!(by_far().await, 0);
        let twice = vec![figures(cache, 5), figures(cache, 6)];
        report(&control, &far, twice).await;
        assert_eq!((by_far().await, items(&control, cache).await), (1, Some(6)));
    })
    .await;
}
