//! Owners and what they were told.

use std::collections::BTreeMap;
use std::sync::{Arc, Once};
use std::time::Duration;

use larder::domain::CacheId;
use larder::sandbox::{AddonId, AppId, ProvisionOptions, Sandbox};
use parking_lot::Mutex;
use tokio::sync::RwLock;
use tokio::task::JoinError;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::{open, random};
use crate::support::dashboard::Dashboard;
use crate::support::db::START;
use crate::support::full_service::PATIENCE;
use crate::support::panics;

const CACHES_PER_OWNER: usize = 12;

/// What the outside was told about one cache.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// Who acts on it: one owner per cache, so that the order of what was acknowledged is known.
    pub owner: usize,
    pub app: Option<AppId>,
    /// The primary last acknowledged.
    pub primary: String,
    /// A promotion that was sent and not answered: it may or may not have happened.
    pub maybe: Option<String>,
    /// User names whose creation was acknowledged.
    pub credentials: Vec<String>,
    pub flushes: usize,
    pub promotions: usize,
    /// A second app that the cache was attached to.
    pub attached: Option<AppId>,
    /// The plans it may be on: one, and after a change without an answer two.
    pub plans: Vec<&'static str>,
    /// Whether it was set up in the background.
    pub slow: bool,
    /// Whether the schedule replaces its primary as well, so that only the service knows it.
    pub rotating: bool,
    pub deprovisioned: bool,
    /// A deprovisioning that was sent and not answered.
    pub maybe_deprovisioned: bool,
}

/// Everything acknowledged so far.
pub type Ledger = Arc<Mutex<BTreeMap<AddonId, Told>>>;

/// A browser per cache. A session that was acknowledged must outlive the kills like everything else.
pub type Browsers = Arc<Mutex<BTreeMap<AddonId, Dashboard>>>;

/// What owners act on. They hold `alive` for reading; the inspector takes it for writing.
#[derive(Clone)]
pub struct KillFixture {
    pub sandbox: Arc<Sandbox>,
    pub base: String,
    /// The service's database, to let a day come.
    pub database: String,
    pub ledger: Ledger,
    pub browsers: Browsers,
    pub alive: Arc<RwLock<()>>,
    pub over: CancellationToken,
}

impl KillFixture {
    /// The browser of a cache, signed in.
    pub async fn dashboard(&self, addon: AddonId) -> Dashboard {
        let known = self.browsers.lock().get(&addon).cloned();
        if let Some(dashboard) = known {
            return dashboard;
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            match Dashboard::try_open(&self.sandbox, addon, &self.base).await {
                Ok(dashboard) => {
                    self.browsers.lock().insert(addon, dashboard.clone());
                    return dashboard;
                }
                // A sign-on whose answer was lost has used up this second's proof.
                Err(page) => assert!(Instant::now() < deadline, "never let in: {page:?}"),
            }
            sleep(Duration::from_millis(100)).await;
        }
    }
}

tokio::task_local! {
    /// Set for actions that a kill may cut off.
    static MAY_BE_CUT_OFF: ();
}

/// An owner whose service is killed panics, fifty times and more in a run. Told of each, nobody would find the one
/// panic that is a fault.
fn hush_owners() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        panics::put_hook_before(|usual, panic| {
            if MAY_BE_CUT_OFF.try_with(|()| ()).is_err() {
                usual(panic);
            }
        });
    });
}

/// A task of its own, because a killed service makes it panic.
async fn attempt(action: impl Future<Output = ()> + Send + 'static) -> Result<(), JoinError> {
    tokio::spawn(MAY_BE_CUT_OFF.scope((), action)).await
}

/// Makes caches and works on them until it is over. Whatever fails is tried on another cache.
pub async fn owner(fixture: KillFixture, number: usize) {
    hush_owners();
    for round in 0.. {
        let _alive = fixture.alive.read().await;
        if fixture.over.is_cancelled() {
            return;
        }
        let mine: Vec<AddonId> = {
            let ledger = fixture.ledger.lock();
            ledger
                .iter()
                .filter(|(_, told)| told.owner == number)
                .filter(|(_, told)| !told.deprovisioned && !told.maybe_deprovisioned)
                .map(|(id, _)| *id)
                .collect()
        };
        let work = fixture.clone();
        let room = mine.len() < CACHES_PER_OWNER;
        let done = if mine.len() < 2 || room && random(10) == 0 {
            attempt(provision(work, number, round)).await
        } else {
            let addon = mine[random(mine.len() as u64) as usize];
            match random(16) {
                0 => attempt(deprovision(work, addon)).await,
                1 => attempt(change_plan(work, addon)).await,
                2 => attempt(attach(work, addon)).await,
                3 => attempt(let_the_day_come(work, addon)).await,
                4..8 => attempt(flush(work, addon)).await,
                _ => attempt(promote(work, addon)).await,
            }
        };
        if done.is_err() {
            sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn provision(fixture: KillFixture, owner: usize, round: usize) {
    let name = format!("app-{owner}-{round}");
    let app = fixture.sandbox.create_app(&name).expect("a new name");
    let plan = ["dev", "dev", "slow"][random(3) as usize];
    let addon = fixture
        .sandbox
        .provision(app, plan, ProvisionOptions::default())
        .await
        .expect("an answer");
    let primary = match addon.config.get("MEMCACHIER_USERNAME") {
        Some(primary) => primary.clone(),
        // Accepted: the values come later.
        None => fixture
            .dashboard(addon.id)
            .await
            .usernames()
            .await
            .remove(0),
    };
    let told = Told {
        owner,
        app: Some(app),
        credentials: vec![primary.clone()],
        primary,
        plans: vec![plan],
        slow: plan == "slow",
        ..Told::default()
    };
    fixture.ledger.lock().insert(addon.id, told);
}

async fn promote(fixture: KillFixture, addon: AddonId) {
    let mut dashboard = fixture.dashboard(addon).await;
    let names = dashboard.usernames().await;
    // a full table gives up its last secondary first
    if names.len() >= 9 {
        let last = names.last().expect("some").clone();
        note(&fixture, addon, |told| {
            told.credentials.retain(|name| *name != last)
        });
        assert!(dashboard.delete(&last).await.status.is_redirection());
    }
    let new = dashboard.add_credentials().await;
    note(&fixture, addon, |told| {
        told.credentials.push(new.clone());
        told.maybe = Some(new.clone());
    });
    assert!(dashboard.promote(&new).await.status.is_redirection());
    note(&fixture, addon, |told| {
        told.primary = new;
        told.maybe = None;
        told.promotions += 1;
    });
}

async fn flush(fixture: KillFixture, addon: AddonId) {
    let mut dashboard = fixture.dashboard(addon).await;
    assert!(dashboard.flush().await.status.is_redirection());
    note(&fixture, addon, |told| told.flushes += 1);
}

async fn change_plan(fixture: KillFixture, addon: AddonId) {
    let plan = ["dev", "100"][random(2) as usize];
    note(&fixture, addon, |told| told.plans.push(plan));
    let changed = fixture.sandbox.change_plan(addon, plan).await;
    changed.expect("an answer");
    note(&fixture, addon, |told| told.plans = vec![plan]);
}

/// A second app, which must have the lines of later flushes.
async fn attach(fixture: KillFixture, addon: AddonId) {
    let ledger = fixture.ledger.lock().clone();
    if ledger[&addon].attached.is_some() {
        return;
    }
    let name = format!("more-{addon}");
    let Ok(app) = fixture.sandbox.create_app(&name) else {
        return;
    };
    // Not while it is provisioning.
    if fixture.sandbox.attach(addon, app).is_ok() {
        note(&fixture, addon, |told| told.attached = Some(app));
    }
}

/// Switches the schedule on, and makes its next step due.
async fn let_the_day_come(fixture: KillFixture, addon: AddonId) {
    note(&fixture, addon, |told| told.rotating = true);
    let mut dashboard = fixture.dashboard(addon).await;
    let set = dashboard.act("rotation", &[("every_days", "30")]).await;
    assert!(set.status.is_redirection());
    let cache = dashboard.path.trim_start_matches("/caches/").parse();
    let cache = CacheId(cache.expect("a number"));
    let store = open(&fixture.database).await;
    let mut tx = store.begin().await.expect("a transaction");
    let due = tx.reschedule_rotation(cache, START, None, START).await;
    due.expect("written");
    tx.commit().await.expect("a commit");
    store.close().await;
}

async fn deprovision(fixture: KillFixture, addon: AddonId) {
    note(&fixture, addon, |told| told.maybe_deprovisioned = true);
    let reply = fixture.sandbox.deprovision(addon).await.expect("an answer");
    assert!([204, 410].contains(&reply.status), "{reply:?}");
    note(&fixture, addon, |told| told.deprovisioned = true);
}

pub fn note(fixture: &KillFixture, addon: AddonId, what: impl FnOnce(&mut Told)) {
    if let Some(told) = fixture.ledger.lock().get_mut(&addon) {
        what(told);
    }
}
