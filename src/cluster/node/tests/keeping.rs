use super::*;
use crate::domain::{FlushId, FlushOrder, Origin};

impl Machine {
    /// The user names of the cache 1 in the file.
    fn kept_usernames(&self) -> Vec<String> {
        let Some(snapshot) = self.snapshots().read().unwrap() else {
            return Vec::new();
        };
        let credentials = &snapshot.caches[&CacheId(1)].credentials;
        credentials
            .iter()
            .map(|credential| credential.username.to_string())
            .collect()
    }
}

fn with_credentials(revision: i64, usernames: &[&str]) -> Changes {
    Changes {
        caches: vec![CacheChange::Serve(spec(1, usernames))],
        ..changes(revision, revision == 1, &[])
    }
}

#[tokio::test(start_paused = true)]
async fn a_credential_that_was_removed_leaves_the_file_while_the_node_runs() {
    let machine = Machine::new();
    machine.link.welcome(welcome("node_a", 7));
    machine
        .link
        .tell(with_credentials(1, &["4F2A90", "B0B000"]));
    let (agent, _) = machine.start().await;
    run_while(&agent, async {
        let both = ["4F2A90", "B0B000"];
        eventually("both", || machine.kept_usernames() == both).await;
        machine.link.tell(with_credentials(2, &["4F2A90"]));
        eventually("one", || machine.kept_usernames() == ["4F2A90"]).await;
    })
    .await;
    let kept = machine.snapshots().read().unwrap().expect("a snapshot");
    assert_eq!(kept.revision, Revision(2));
    assert_eq!(kept.taken_at, AT);
}

/// One that was deprovisioned, and one that a complete list leaves out.
#[tokio::test(start_paused = true)]
async fn a_cache_that_has_ended_leaves_the_file() {
    let machine = Machine::new();
    machine.link.welcome(welcome("node_a", 7));
    machine.link.tell(changes(1, true, &[1, 2, 3]));
    let (agent, _) = machine.start().await;
    let kept = || {
        let snapshot = machine.snapshots().read().unwrap();
        snapshot.map_or(Vec::new(), |snapshot| {
            snapshot.caches.keys().map(|cache| cache.0).collect()
        })
    };
    run_while(&agent, async {
        eventually("all", || kept() == [1, 2, 3]).await;
        let ended = vec![CacheChange::Forget { cache: 1 }];
        machine.link.tell(Changes {
            caches: ended,
            ..changes(2, false, &[])
        });
        eventually("two", || kept() == [2, 3]).await;
        machine.link.tell(changes(3, true, &[3]));
        eventually("one", || kept() == [3]).await;
    })
    .await;
}

/// Else an order that was carried out before a crash and not reported would never be reported.
#[tokio::test(start_paused = true)]
async fn the_file_has_no_revision_whose_events_are_not_stored_and_no_flush_order() {
    let machine = Machine::new();
    machine.link.welcome(welcome("node_a", 7));
    machine.link.takes_no_reports.store(true, Ordering::Relaxed);
    let mut ordered = with_credentials(1, &["4F2A90"]);
    if let CacheChange::Serve(spec) = &mut ordered.caches[0] {
        spec.flush_orders.push((&an_order()).into());
    }
    machine.link.tell(ordered);
    let (agent, _) = machine.start().await;
    run_to(&agent, 1).await;
    let kept = machine.snapshots().read().unwrap().expect("a snapshot");
    assert_eq!(kept.revision, Revision(0));
    assert!(kept.caches[&CacheId(1)].flush_orders.is_empty());
}

fn an_order() -> FlushOrder {
    FlushOrder {
        id: FlushId::generate(AT),
        origin: Origin::WebInterface,
        reason: None,
    }
}

/// A disk may be full for a while.
#[tokio::test(start_paused = true)]
async fn a_write_that_failed_is_tried_again() {
    let machine = Machine::new();
    machine.link.welcome(welcome("node_a", 7));
    machine.link.tell(with_credentials(1, &["4F2A90"]));
    let (agent, _) = machine.start().await;
    let in_the_way = machine.path().join("snapshot.new");
    std::fs::create_dir(&in_the_way).unwrap();
    run_while(&agent, async {
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert!(machine.kept_usernames().is_empty());
        std::fs::remove_dir(&in_the_way).unwrap();
        eventually("a snapshot", || machine.kept_usernames() == ["4F2A90"]).await;
    })
    .await;
}

/// In one process the engine has the key, and the node asks for everything when it starts.
#[tokio::test(start_paused = true)]
async fn a_node_in_the_control_planes_own_process_keeps_no_snapshot() {
    let machine = Machine::new();
    let node: NodeId = "node_a".parse().unwrap();
    machine.link.welcome(Ok(Welcome::new(&node, None)));
    machine.link.tell(changes(3, true, &[1]));
    let entry = join(&machine.settings(), machine.link.as_ref()).await;
    let agent = NodeAgent::new(
        entry.unwrap(),
        &machine.settings(),
        machine.link.clone(),
        Arc::new(FakePlane::default()),
        Arc::default(),
        Arc::new(FixedClock),
        None,
    );
    run_to(&agent, 3).await;
    let names = std::fs::read_dir(machine.path()).unwrap();
    let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["node-id"]);
}
