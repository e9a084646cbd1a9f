//! The node's side of the link against a control plane that gives prepared answers. Time is tokio's own and runs as fast
//! as the node sleeps.

mod entering;
mod figures;
mod following;
mod keeping;

use std::collections::VecDeque;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::Notify;

use super::*;
use crate::cluster::LinkError;
use crate::cluster::link::wire::{
    CacheChange, CacheSpec as WireSpec, Changes, ChangesQuery, Credential, Introduction, Report,
    Welcome, WireSecret,
};
use crate::domain::BoxFuture;

const AT: Timestamp = Timestamp::from_secs(1_795_372_200);

struct FixedClock;

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        AT
    }
}

/// Without a prepared answer it does not admit anybody, and has no changes to tell.
#[derive(Default)]
struct ScriptedLink {
    welcomes: Mutex<VecDeque<Result<Welcome, LinkError>>>,
    joins: Mutex<Vec<Introduction>>,
    changes: Mutex<VecDeque<Changes>>,
    more_changes: Notify,
    queries: Mutex<Vec<ChangesQuery>>,
    /// The control plane has retired the node.
    is_gone: AtomicBool,
    takes_no_reports: AtomicBool,
    reads_no_figures: AtomicBool,
    reports: Mutex<Vec<Report>>,
}

impl ScriptedLink {
    fn welcome(&self, welcome: Result<Welcome, LinkError>) {
        self.welcomes.lock().push_back(welcome);
    }

    fn tell(&self, changes: Changes) {
        self.changes.lock().push_back(changes);
        self.more_changes.notify_one();
    }

    async fn was_reported(&self, so: impl Fn(&Report) -> bool) {
        eventually("a report", || self.reports.lock().iter().any(&so)).await;
    }
}

fn away<T>() -> Result<T, LinkError> {
    Err(LinkError::Away("a test".to_owned()))
}

impl ControlLink for ScriptedLink {
    fn join(&self, node: Introduction) -> BoxFuture<'_, Result<Welcome, LinkError>> {
        self.joins.lock().push(node);
        let welcome = self.welcomes.lock().pop_front().unwrap_or_else(away);
        Box::pin(std::future::ready(welcome))
    }

    fn changes_since<'a>(
        &'a self,
        _: &'a NodeId,
        query: ChangesQuery,
    ) -> BoxFuture<'a, Result<Changes, LinkError>> {
        Box::pin(async move {
            self.queries.lock().push(query);
            loop {
                let next = self.changes.lock().pop_front();
                if let Some(changes) = next {
                    return Ok(changes);
                }
                if self.is_gone.load(Ordering::Relaxed) {
                    return Err(LinkError::Gone("a test".to_owned()));
                }
                self.more_changes.notified().await;
            }
        })
    }

    fn report<'a>(
        &'a self,
        _: &'a NodeId,
        report: &'a Report,
    ) -> BoxFuture<'a, Result<(), LinkError>> {
        self.reports.lock().push(report.clone());
        let answer = match self.takes_no_reports.load(Ordering::Relaxed) {
            true => away(),
            false => Ok(()),
        };
        Box::pin(std::future::ready(answer))
    }

    fn takes_figures(&self) -> bool {
        !self.reads_no_figures.load(Ordering::Relaxed)
    }
}

/// An engine that remembers what it was told, in order.
#[derive(Default)]
struct FakePlane(Mutex<Vec<String>>);

impl FakePlane {
    fn told(&self) -> Vec<String> {
        self.0.lock().clone()
    }
}

impl DataPlane for FakePlane {
    fn apply(&self, spec: &CacheSpec) {
        self.0.lock().push(format!("apply {}", spec.cache));
    }

    fn know_usernames(&self, names: &[Username]) {
        let known = names.iter().map(|name| format!("know {name}"));
        self.0.lock().extend(known);
    }

    fn trust(&self, authorities: &[Authority]) {
        self.0.lock().push(format!("trust {}", authorities.len()));
    }

    fn forget(&self, cache: CacheId) {
        self.0.lock().push(format!("forget {cache}"));
    }

    fn figures(&self, _: CacheId) -> Option<CacheFigures> {
        None
    }
}

/// A data folder with a control plane that its node may reach.
struct Machine {
    folder: TempDir,
    link: Arc<ScriptedLink>,
}

impl Machine {
    fn new() -> Machine {
        Machine {
            folder: tempfile::tempdir().unwrap(),
            link: Arc::default(),
        }
    }

    /// The machine of the node `node_a`, which has run before and knew the cache 1 as of revision 3.
    async fn that_has_run() -> Machine {
        let machine = Machine::new();
        machine.link.welcome(welcome("node_a", 7));
        machine.link.tell(changes(3, true, &[1]));
        let (agent, _) = machine.start().await;
        run_to(&agent, 3).await;
        machine.link.queries.lock().clear();
        machine.link.reports.lock().clear();
        machine
    }

    fn settings(&self) -> NodeSettings {
        NodeSettings {
            cluster: "c1".parse().unwrap(),
            region: "us".to_owned(),
            proxy_hostname: "p1.example.net".to_owned(),
            proxy_port: 11211,
            memory_bytes: 1 << 30,
            data_dir: self.path().to_owned(),
        }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn snapshots(&self) -> SnapshotFile {
        SnapshotFile::open(self.path()).unwrap()
    }

    async fn enter(&self) -> Entry {
        let (link, never) = (self.link.as_ref(), CancellationToken::new());
        let entered = enter(&self.settings(), link, &self.snapshots(), &never).await;
        entered.unwrap().expect("nobody stops it")
    }

    async fn start(&self) -> (NodeAgent, Arc<FakePlane>) {
        let entry = self.enter().await;
        let plane = Arc::new(FakePlane::default());
        let agent = NodeAgent::new(
            entry,
            &self.settings(),
            self.link.clone(),
            plane.clone(),
            Arc::default(),
            Arc::new(FixedClock),
            Some(self.snapshots()),
        );
        (agent, plane)
    }
}

fn welcome(node: &str, key: u8) -> Result<Welcome, LinkError> {
    let node: NodeId = node.parse().unwrap();
    Ok(Welcome {
        verifier_key: Some(WireSecret::of_bytes(&[key; 32])),
        ..Welcome::new(&node, None)
    })
}

/// Caches with one credential each.
fn changes(revision: i64, complete: bool, caches: &[i64]) -> Changes {
    let serve = |cache: &i64| CacheChange::Serve(spec(*cache, &["4F2A90"]));
    Changes {
        revision,
        complete,
        caches: caches.iter().map(serve).collect(),
        authorities: Vec::new(),
        usernames: Vec::new(),
        more_after: None,
        plans: 0,
    }
}

fn part(revision: i64, complete: bool, caches: &[i64], more_after: i64) -> Changes {
    Changes {
        more_after: Some(more_after),
        ..changes(revision, complete, caches)
    }
}

fn spec(cache: i64, usernames: &[&str]) -> WireSpec {
    let credential = |name: &&str| Credential {
        username: (*name).to_owned(),
        verifier: WireSecret::of_bytes(&[1; 32]).expose().to_owned(),
        capabilities: 1,
        certificates: Vec::new(),
    };
    WireSpec {
        cache,
        label: "4F2A90".to_owned(),
        limit_bytes: 25 << 20,
        connections_max: 50,
        credentials: usernames.iter().map(credential).collect(),
        flush_orders: Vec::new(),
    }
}

/// Runs the node until the story is told.
async fn run_while(agent: &NodeAgent, story: impl Future<Output = ()>) {
    let stop = CancellationToken::new();
    let told = async {
        story.await;
        stop.cancel();
    };
    let (end, ()) = tokio::join!(agent.run(stop.clone()), told);
    assert_eq!(end, RunEnd::Stopped);
}

async fn run_to(agent: &NodeAgent, revision: i64) {
    let mut applied = agent.applied();
    run_while(agent, async {
        let reached = applied.wait_for(|at| at.0 == revision);
        let reached = tokio::time::timeout(Duration::from_secs(600), reached).await;
        assert!(reached.is_ok(), "it does not come to stand at {revision}");
    })
    .await;
}

async fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    for _ in 0..6_000 {
        if so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never came true: {what}");
}
