use super::*;

fn asked(link: &ScriptedLink) -> Vec<(i64, i64)> {
    let queries = link.queries.lock();
    queries
        .iter()
        .map(|query| (query.known, query.after))
        .collect()
}

async fn joined() -> (Machine, NodeAgent, Arc<FakePlane>) {
    let machine = Machine::new();
    machine.link.welcome(welcome("node_a", 7));
    let (agent, plane) = machine.start().await;
    (machine, agent, plane)
}

/// What commits while the parts are read has a higher revision than the first part, and comes again.
#[tokio::test(start_paused = true)]
async fn parts_come_into_force_in_order_and_the_node_stands_at_the_revision_of_the_first() {
    let (machine, agent, plane) = joined().await;
    machine.link.tell(part(5, true, &[1, 2], 2));
    machine.link.tell(changes(7, true, &[3]));
    run_to(&agent, 5).await;
    assert_eq!(*agent.applied().borrow(), Revision(5));
    assert_eq!(plane.told(), ["apply 1", "apply 2", "apply 3"]);
    assert_eq!(asked(&machine.link)[..2], [(0, 0), (0, 2)]);
    let waits: Vec<u64> = machine.link.queries.lock()[..2]
        .iter()
        .map(|query| query.wait_ms)
        .collect();
    assert_eq!(waits, [0, 0]);
}

/// The node was away for too long, which the control plane found out after the first part.
#[tokio::test(start_paused = true)]
async fn a_list_that_becomes_complete_on_the_way_is_begun_anew() {
    let (machine, agent, plane) = joined().await;
    machine.link.tell(part(5, false, &[1], 1));
    machine.link.tell(changes(6, true, &[9]));
    machine.link.tell(changes(6, true, &[2]));
    run_to(&agent, 6).await;
    assert_eq!(plane.told(), ["apply 1", "apply 2", "forget 1"]);
    assert_eq!(asked(&machine.link)[..3], [(0, 0), (0, 1), (0, 0)]);
}

#[tokio::test(start_paused = true)]
async fn a_part_that_cannot_be_read_puts_nothing_in_force_and_the_list_is_asked_for_again() {
    let (machine, agent, plane) = joined().await;
    let mut bad = changes(5, true, &[2, 3]);
    if let CacheChange::Serve(spec) = &mut bad.caches[1] {
        spec.credentials[0].verifier.push('A');
    }
    machine.link.tell(part(5, true, &[1], 1));
    machine.link.tell(bad);
    machine.link.tell(changes(5, true, &[1, 4]));
    run_to(&agent, 5).await;
    assert_eq!(plane.told(), ["apply 1", "apply 1", "apply 4"]);
    assert_eq!(asked(&machine.link)[..3], [(0, 0), (0, 1), (0, 0)]);
}

/// A control plane that names the same part again and again would keep the node busy for ever.
#[tokio::test(start_paused = true)]
async fn a_next_part_must_lie_behind_this_one() {
    let (machine, agent, _) = joined().await;
    machine.link.tell(part(5, true, &[1], 1));
    machine.link.tell(part(5, true, &[1], 1));
    machine.link.tell(changes(5, true, &[1]));
    run_to(&agent, 5).await;
    assert_eq!(asked(&machine.link)[..3], [(0, 0), (0, 1), (0, 0)]);
}

#[tokio::test(start_paused = true)]
async fn what_a_complete_list_leaves_out_is_forgotten_and_what_other_lists_leave_out_stays() {
    let (machine, agent, plane) = joined().await;
    machine.link.tell(changes(1, true, &[1, 2]));
    machine.link.tell(changes(2, false, &[3]));
    machine.link.tell(changes(9, true, &[2]));
    run_to(&agent, 9).await;
    let mut told = plane.told();
    told[4..].sort();
    assert_eq!(
        told,
        [
            "apply 1", "apply 2", "apply 3", "apply 2", "forget 1", "forget 3"
        ]
    );
}

/// It was retired while it was cut off. Else credentials that are removed meanwhile would be good there for ever.
#[tokio::test(start_paused = true)]
async fn a_node_that_is_told_that_it_is_gone_forgets_everything_and_ends() {
    let (machine, agent, plane) = joined().await;
    machine.link.tell(changes(1, true, &[1]));
    let stop = CancellationToken::new();
    let running = tokio::time::timeout(Duration::from_secs(600), agent.run(stop.clone()));
    let (end, ()) = tokio::join!(running, async {
        eventually("a snapshot", || {
            machine.snapshots().read().unwrap().is_some()
        })
        .await;
        machine.link.is_gone.store(true, Ordering::Relaxed);
        machine.link.more_changes.notify_one();
    });
    assert_eq!(end.expect("it ends"), RunEnd::Gone);
    assert!(!stop.is_cancelled(), "that is the process's");
    assert_eq!(plane.told(), ["apply 1", "forget 1"]);
    assert!(machine.snapshots().read().unwrap().is_none());
}
