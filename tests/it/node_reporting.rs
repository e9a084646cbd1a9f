//! How often a node reports when it has nothing to tell, and when nobody takes its reports. Time is tokio's own and
//! runs as fast as the node sleeps.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use larder::cluster::link::wire::{Changes, ChangesQuery, Introduction, Report, Welcome};
use larder::cluster::{ControlLink, EventBuffer, LinkError};
use larder::domain::{BoxFuture, NodeId};
use tokio_util::sync::CancellationToken;

use crate::support::control_plane::{FakePlane, TestClock, join_by, node_settings};

/// A control plane that has no changes to tell, and takes reports or does not answer.
#[derive(Default)]
struct QuietLink {
    reports: AtomicU32,
    is_away: AtomicBool,
}

impl ControlLink for QuietLink {
    fn join(&self, _: Introduction) -> BoxFuture<'_, Result<Welcome, LinkError>> {
        let id: NodeId = "node_quiet".parse().expect("an id");
        Box::pin(async move { Ok(Welcome::new(&id, None)) })
    }

    fn changes_since<'a>(
        &'a self,
        _: &'a NodeId,
        query: ChangesQuery,
    ) -> BoxFuture<'a, Result<Changes, LinkError>> {
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(query.wait_ms)).await;
            Ok(Changes {
                revision: query.known,
                complete: query.known == 0,
                caches: Vec::new(),
                authorities: Vec::new(),
                usernames: Vec::new(),
                more_after: None,
                plans: 0,
            })
        })
    }

    fn report<'a>(&'a self, _: &'a NodeId, _: &'a Report) -> BoxFuture<'a, Result<(), LinkError>> {
        self.reports.fetch_add(1, Ordering::SeqCst);
        let answer = match self.is_away.load(Ordering::SeqCst) {
            true => Err(LinkError::Away("a test".to_owned())),
            false => Ok(()),
        };
        Box::pin(std::future::ready(answer))
    }
}

#[tokio::test(start_paused = true)]
async fn a_quiet_node_reports_every_three_seconds_and_tries_less_often_while_nobody_answers() {
    let link = Arc::new(QuietLink::default());
    let folder = tempfile::tempdir().expect("a directory");
    let event_buffer = Arc::new(EventBuffer::default());
    let plane = FakePlane::new(event_buffer.clone());
    let settings = node_settings(folder.path());
    let clock = TestClock::new();
    let node = join_by(&settings, link.clone(), plane, event_buffer, clock).await;
    let (node, stop) = (Arc::new(node.expect("joined")), CancellationToken::new());
    let running = tokio::spawn({
        let (node, stop) = (Arc::clone(&node), stop.clone());
        async move { node.run(stop).await }
    });
    let in_a_minute = async || {
        link.reports.store(0, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_secs(60)).await;
        link.reports.load(Ordering::SeqCst)
    };
    in_a_minute().await;
    let quiet = in_a_minute().await;
    assert!(
        (19..=21).contains(&quiet),
        "{quiet} reports of a quiet node"
    );

    link.is_away.store(true, Ordering::SeqCst);
    let first = in_a_minute().await;
    let later = in_a_minute().await;
    assert!(
        (12..=20).contains(&first),
        "{first} tries in the first minute"
    );
    assert!((11..=13).contains(&later), "{later} tries in a later one");

    link.is_away.store(false, Ordering::SeqCst);
    in_a_minute().await;
    let back = in_a_minute().await;
    assert!((19..=21).contains(&back), "{back} reports afterwards");
    stop.cancel();
    running.await.expect("no panic");
}
