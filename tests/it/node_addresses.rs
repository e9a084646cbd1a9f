//! Ids and addresses of machines that join, and reports of processes that were replaced.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use larder::cluster::link::wire::Report;
use larder::cluster::{EventBuffer, LinkError, LocalLink, NodeSettings};
use larder::domain::{Clock as _, NodeId, NodePhase, Revision};
use larder::store::fleet::nodes::{Heartbeat, NodeProgress, NodeRecord};

use crate::support::control_plane::{ControlPlane, FakePlane, join_by, node_settings};
use crate::support::db::on_each;

async fn join(control: &ControlPlane, dir: &Path, host: &str) -> Result<NodeId, String> {
    join_in(control, dir, "c1", host).await
}

async fn join_in(
    control: &ControlPlane,
    dir: &Path,
    cluster: &str,
    host: &str,
) -> Result<NodeId, String> {
    let settings = NodeSettings {
        cluster: cluster.parse().expect("a name"),
        proxy_hostname: host.to_owned(),
        ..node_settings(dir)
    };
    let link = Arc::new(LocalLink(control.cluster.clone()));
    let event_buffer = Arc::new(EventBuffer::default());
    let plane = FakePlane::new(event_buffer.clone());
    let clock = control.clock.clone();
    let joined = join_by(&settings, link, plane, event_buffer, clock).await;
    joined
        .map(|node| node.id().clone())
        .map_err(|error| error.to_string())
}

/// A node that another folder on another machine runs.
async fn other_machine(
    control: &ControlPlane,
    id: &str,
    host: &str,
    phase: NodePhase,
) -> NodeRecord {
    let record = NodeRecord {
        id: id.parse().expect("an id"),
        cluster: "c1".parse().expect("a name"),
        region: "us".to_owned(),
        proxy_hostname: host.to_owned(),
        proxy_port: 11211,
        memory_bytes: 1 << 30,
        home_id: "elsewhere:1:2".to_owned(),
        home_path: "/var/lib/larder".to_owned(),
    };
    let now = control.clock.now();
    let mut tx = control.store.begin().await.expect("a transaction");
    tx.register_node(&record, now).await.expect("written");
    tx.commit().await.expect("a commit");
    beat(control, &record, phase).await;
    record
}

async fn beat(control: &ControlPlane, node: &NodeRecord, phase: NodePhase) {
    let mut tx = control.store.begin().await.expect("a transaction");
    let now = control.clock.now();
    let progress = NodeProgress {
        phase,
        applied: Revision::default(),
        on_snapshot: false,
    };
    let heard = tx.record_heartbeat(&node.id, &node.home_id, progress, now);
    assert_eq!(heard.await.expect("written"), Heartbeat::Noted);
    tx.commit().await.expect("a commit");
}

/// The address of a node that has stopped is free: who takes it stays who it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_that_takes_the_address_of_a_stopped_node_keeps_its_id() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let dir = tempfile::tempdir().expect("a directory");
        let own = join(&control, dir.path(), "p7.example.net").await;
        let own = own.expect("joined");
        let stopped = NodePhase::Stopped;
        let other = other_machine(&control, "node_other", "p8.example.net", stopped).await;
        let moved = join(&control, dir.path(), "p8.example.net").await;
        assert_eq!(moved, Ok(own.clone()));
        assert_ne!(own, other.id);
    })
    .await;
}

/// The address of a node that is heard of is not. (A SQLite file has one process, so nobody else can be heard of.)
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_machine_takes_the_address_of_a_node_that_lives() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let serving = NodePhase::Serving;
        let other = other_machine(&control, "node_other", "p8.example.net", serving).await;
        let dir = tempfile::tempdir().expect("a directory");
        let joining = join(&control, dir.path(), "p8.example.net");
        let beating = async {
            loop {
                tokio::time::sleep(Duration::from_millis(50)).await;
                beat(&control, &other, serving).await;
            }
        };
        if !db.is_postgres() {
            assert_eq!(joining.await.as_ref(), Ok(&other.id));
            return;
        }
        tokio::select! {
            joined = joining => {
                let refused = joined.expect_err("it lives");
                assert!(refused.contains("is announced by node node_other"), "{refused}");
            }
            () = beating => {}
        }
    })
    .await;
}

/// Nor in another cluster or in other letters: customers of the one would reach the other. Of a node that is gone only a
/// machine of its own cluster takes the place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_is_one_in_all_clusters_and_in_all_letters() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let serving = NodePhase::Serving;
        let other = other_machine(&control, "node_other", "p8.example.net", serving).await;
        for (cluster, host) in [
            ("c2", "p8.example.net"),
            ("c2", "P8.EXAMPLE.NET"),
            ("c1", "P8.Example.net"),
        ] {
            let dir = tempfile::tempdir().expect("a directory");
            let joining = join_in(&control, dir.path(), cluster, host);
            if !db.is_postgres() {
                let joined = joining.await.expect("nobody else can be heard of");
                assert_eq!(joined == other.id, cluster == "c1", "{cluster} {host}");
                continue;
            }
            let beating = async {
                loop {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    beat(&control, &other, serving).await;
                }
            };
            tokio::select! {
                joined = joining => {
                    let refused = joined.expect_err("it lives");
                    let why = format!("{host}:11211 is announced by node node_other of cluster c1");
                    assert!(refused.contains(&why), "{refused}");
                }
                () = beating => {}
            }
        }
    })
    .await;
}

/// A process whose node is run from another folder by now is told so, and so is one whose node was retired.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_was_replaced_is_told_by_its_next_report() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let serving = NodePhase::Serving;
        let node = other_machine(&control, "node_other", "p8.example.net", serving).await;
        let report = async |home: &str| {
            let report = Report {
                home: home.to_owned(),
                ..Report::default()
            };
            control.cluster.take_report(&node.id, &report).await
        };
        report(&node.home_id).await.expect("taken");
        let replaced = report("elsewhere:3:4").await;
        let Err(LinkError::Gone(why)) = replaced else {
            panic!("{replaced:?}");
        };
        assert!(why.contains("another data folder"), "{why}");

        beat(&control, &node, NodePhase::Stopped).await;
        control
            .cluster
            .retire_node(&node.id)
            .await
            .expect("retired");
        let retired = report(&node.home_id).await;
        let Err(LinkError::Gone(why)) = retired else {
            panic!("{retired:?}");
        };
        assert!(why.contains("was retired"), "{why}");
    })
    .await;
}
