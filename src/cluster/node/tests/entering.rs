use tokio::time::Instant;

use super::*;

fn not_admitted<T>() -> Result<T, LinkError> {
    Err(LinkError::NotAdmitted("no such token".to_owned()))
}

/// A client must be able to log in within three seconds of a start.
#[tokio::test(start_paused = true)]
async fn a_node_whose_control_plane_is_away_serves_from_its_snapshot_and_catches_up_by_revision() {
    let machine = Machine::that_has_run().await;
    let begun = Instant::now();
    let (agent, plane) = machine.start().await;
    assert!(begun.elapsed() < Duration::from_secs(2));
    assert_eq!(agent.id().as_str(), "node_a");
    agent.informed().await;
    assert_eq!(plane.told(), ["apply 1"]);
    agent
        .open()
        .await
        .expect("it does not need the control plane");
    assert!(machine.link.reports.lock().is_empty(), "it has not joined");

    let mut changed = changes(4, false, &[2]);
    changed.usernames.push("B0B000".to_owned());
    let link = &machine.link;
    run_while(&agent, async {
        link.welcome(welcome("node_a", 7));
        link.was_reported(|report| report.snapshot && report.applied == 0)
            .await;
        let known = link.queries.lock()[0].known;
        assert_eq!(known, 0, "a backup may have been restored meanwhile");
        link.tell(changed);
        link.was_reported(|report| !report.snapshot && report.applied == 4)
            .await;
    })
    .await;
    assert_eq!(plane.told(), ["apply 1", "know B0B000", "apply 2"]);
    let (_, restored) = machine.start().await;
    assert_eq!(restored.told(), ["know B0B000", "apply 1", "apply 2"]);
}

/// Its token may have been taken out at the control plane by mistake: that is no reason to stop customers' caches.
#[tokio::test(start_paused = true)]
async fn a_node_that_is_not_admitted_serves_from_its_snapshot_too() {
    let machine = Machine::that_has_run().await;
    for _ in 0..100 {
        machine.link.welcome(not_admitted());
    }
    assert_eq!(machine.enter().await.standing, Standing::OnSnapshot);
}

#[tokio::test(start_paused = true)]
async fn a_node_without_a_snapshot_waits_until_it_is_admitted() {
    let machine = Machine::new();
    let link = &machine.link;
    let refused = LinkError::Refused("another region".to_owned());
    for answer in [away(), not_admitted(), Err(refused), welcome("node_a", 7)] {
        link.welcome(answer);
    }
    let entry = machine.enter().await;
    assert_eq!(entry.standing, Standing::Joined);
    assert!(entry.verifier_key.is_some() && entry.snapshot.is_none());
    assert_eq!(link.joins.lock().len(), 4);

    let other = Machine::new();
    let (settings, snapshots) = (other.settings(), other.snapshots());
    let stop = CancellationToken::new();
    let entering = enter(&settings, other.link.as_ref(), &snapshots, &stop);
    let stopping = async {
        tokio::time::sleep(Duration::from_secs(600)).await;
        stop.cancel();
    };
    let (entered, ()) = tokio::join!(entering, stopping);
    assert!(entered.unwrap().is_none());
    let tries = other.link.joins.lock().len();
    assert!((100..=160).contains(&tries), "{tries} tries in ten minutes");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_joins_begins_with_its_snapshot() {
    let machine = Machine::that_has_run().await;
    machine.link.welcome(welcome("node_a", 7));
    let entry = machine.enter().await;
    assert_eq!(entry.standing, Standing::Joined);
    let known_as = machine.link.joins.lock()[1].known_as.clone();
    assert_eq!(known_as.as_deref(), Some("node_a"));
    assert_eq!(entry.snapshot.expect("its own").revision, Revision(3));
}

/// It was retired, or its folder is a copy; or another installation took it over.
#[tokio::test(start_paused = true)]
async fn who_joins_as_another_node_or_elsewhere_drops_the_snapshot() {
    for other in [welcome("node_b", 7), welcome("node_a", 8)] {
        let machine = Machine::that_has_run().await;
        machine.link.welcome(other);
        assert!(machine.enter().await.snapshot.is_none());
        assert!(machine.snapshots().read().unwrap().is_none());
    }
}

/// Such a process ends and starts anew: its engine holds the caches of the other one.
#[tokio::test(start_paused = true)]
async fn a_node_on_its_snapshot_that_turns_out_to_be_another_one_ends() {
    let machine = Machine::that_has_run().await;
    let (agent, _) = machine.start().await;
    machine.link.welcome(welcome("node_b", 7));
    let end = agent.run(CancellationToken::new()).await;
    let other: NodeId = "node_b".parse().unwrap();
    assert_eq!(end, RunEnd::IsAnother(other.clone()));
    assert!(machine.snapshots().read().unwrap().is_none());
    assert_eq!(
        identity::read(&machine.settings().id_file()).unwrap(),
        Some(other)
    );
    assert!(machine.link.reports.lock().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_damaged_snapshot_and_that_of_another_node_are_not_entered_with() {
    let damaged = Machine::that_has_run().await;
    std::fs::write(damaged.path().join("snapshot.sealed"), b"no snapshot").unwrap();
    let foreign = Machine::that_has_run().await;
    std::fs::write(foreign.path().join("node-id"), "node_c\n").unwrap();
    for machine in [damaged, foreign] {
        machine.link.welcome(welcome("node_a", 7));
        let entry = machine.enter().await;
        assert!(entry.standing == Standing::Joined && entry.snapshot.is_none());
    }
}
