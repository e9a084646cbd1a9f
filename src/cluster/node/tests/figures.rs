//! Which figures the reports have, and when.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicU64;

use tokio::time::sleep;

use super::*;
use crate::cluster::link::wire::Figures;

/// An engine whose caches all have equally many items.
#[derive(Default)]
struct CountingPlane(AtomicU64);

impl DataPlane for CountingPlane {
    fn apply(&self, _: &CacheSpec) {}

    fn know_usernames(&self, _: &[Username]) {}

    fn trust(&self, _: &[Authority]) {}

    fn forget(&self, _: CacheId) {}

    fn figures(&self, _: CacheId) -> Option<CacheFigures> {
        Some(CacheFigures {
            items: self.0.load(Ordering::Relaxed),
            ..CacheFigures::default()
        })
    }
}

/// Runs the node of these caches while the story is told.
async fn run(caches: &[i64], story: impl AsyncFnOnce(&ScriptedLink, &CountingPlane)) {
    let machine = Machine::new();
    machine.link.welcome(welcome("node_a", 7));
    machine.link.tell(changes(3, true, caches));
    let plane = Arc::new(CountingPlane::default());
    let agent = NodeAgent::new(
        machine.enter().await,
        &machine.settings(),
        machine.link.clone(),
        plane.clone(),
        Arc::default(),
        Arc::new(FixedClock),
        Some(machine.snapshots()),
    );
    run_while(&agent, story(machine.link.as_ref(), plane.as_ref())).await;
}

/// The figures of each report that had some, since the last call.
fn told(link: &ScriptedLink) -> Vec<Vec<Figures>> {
    let reports = std::mem::take(&mut *link.reports.lock());
    let figures = reports.into_iter().map(|report| report.figures);
    figures.filter(|figures| !figures.is_empty()).collect()
}

fn of_cache(cache: i64, items: u64) -> Figures {
    Figures {
        cache,
        items,
        ..Figures::default()
    }
}

async fn seconds(count: u64) {
    sleep(Duration::from_secs(count)).await;
}

#[tokio::test(start_paused = true)]
async fn figures_are_told_when_they_change_and_once_an_hour() {
    run(&[1], async |link, plane| {
        seconds(5).await;
        assert_eq!(told(link), [[of_cache(1, 0)]], "a second after the start");
        plane.0.store(9, Ordering::Relaxed);
        seconds(4).await;
        assert!(told(link).is_empty(), "not before the next pass");
        seconds(6).await;
        assert_eq!(told(link), [[of_cache(1, 9)]], "with the second pass");
        seconds(3_000).await;
        assert!(told(link).is_empty(), "later ones find nothing new");
        seconds(1_000).await;
        assert_eq!(told(link), [[of_cache(1, 9)]], "an hour later");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_report_has_figures_of_a_bounded_number_of_caches() {
    let caches: Vec<i64> = (1..=600).collect();
    run(&caches, async |link, _| {
        seconds(8).await;
        let told = told(link);
        let numbers: Vec<usize> = told.iter().map(Vec::len).collect();
        assert_eq!(numbers, [250, 250, 100]);
        let named: BTreeSet<i64> = told.iter().flatten().map(|one| one.cache).collect();
        assert_eq!(named.len(), 600);
    })
    .await;
}

/// They would count as new when they arrive at last.
#[tokio::test(start_paused = true)]
async fn figures_of_a_report_that_is_repeated_are_not_old() {
    run(&[1], async |link, plane| {
        link.takes_no_reports.store(true, Ordering::Relaxed);
        seconds(60).await;
        plane.0.store(9, Ordering::Relaxed);
        told(link);
        link.takes_no_reports.store(false, Ordering::Relaxed);
        seconds(60).await;
        let told = told(link);
        assert!(!told.is_empty());
        let are_new = |figures: &Vec<Figures>| *figures == [of_cache(1, 9)];
        assert!(told.iter().all(are_new), "{told:?}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_control_plane_that_asks_the_engine_is_told_none() {
    run(&[1], async |link, _| {
        link.reads_no_figures.store(true, Ordering::Relaxed);
        seconds(60).await;
        assert!(told(link).is_empty());
    })
    .await;
}
