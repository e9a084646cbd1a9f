//! What becomes of a node's report. Logins are noted many at a time: after a restart every customer logs in, and a
//! transaction for each would cost more than the logins themselves. Each event is stored once, with the lines it
//! promises, in one transaction per cache. Caches come in the order of their numbers.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use super::{Cluster, RETIRED, TAKEN_OVER, link_error, not_its_node};
use crate::cluster::link::LinkError;
use crate::cluster::link::wire::{
    BadMessage, Figures, Login, NodeEvent, Report, Taken, UnknownUser,
};
use crate::domain::credential::LastUse;
use crate::domain::{Actor, CacheId, Event, NodeId, Origin, Plans, Revision, Timestamp, Username};
use crate::outbox;
use crate::store::caches::last_used::Use;
use crate::store::fleet::nodes::{Heartbeat, NodeProgress};
use crate::store::{Store, StoreError, Tx};

/// Unknown user names that are looked up of one report, at most: as many as a node collects.
const USERS_MAX: usize = 1_000;
/// Logins noted in one transaction. It holds their caches against changes, for milliseconds.
const LOGINS_AT_ONCE: usize = 250;
/// Figures noted in one transaction.
const FIGURES_AT_ONCE: usize = 250;
/// Of one cache's figures as they are stored. Those of a cache with fifty credentials and five certificates of each, all
/// in use, take a third of it.
const FIGURES_BYTES_MAX: usize = 64 << 10;

impl Cluster {
    /// Stores a report. A cache whose part cannot be stored for a reason of its own is logged and passed over, so
    /// that it does not hold up the others; when the database is away, the whole report must come again.
    pub async fn take_report(&self, node: &NodeId, report: &Report) -> Result<(), LinkError> {
        let (store, now) = (&self.0.store, self.0.clock.now());
        // First, so that a process which is not the node any more writes nothing, and a long report does not make a node
        // that lives count as away.
        self.note_heartbeat(node, report, now).await?;
        self.0.reported.send_modify(|count| *count += 1);
        let foreign = self.foreign_caches(node, report).await;
        let Spoken {
            logins,
            events,
            figures,
        } = own_part(node, report, &foreign.map_err(link_error)?);
        match note_logins(store, &logins).await {
            Ok(()) => {}
            Err(ReportError::Store(error @ StoreError::Unavailable(_))) => {
                return Err(link_error(error));
            }
            Err(error) => {
                tracing::error!(%node, %error, logins = logins.len(), "logins of a report cannot be noted");
            }
        }
        let of_users = match find_users(store, &report.unknown_users).await {
            Ok(events) => events,
            Err(error @ StoreError::Unavailable(_)) => return Err(link_error(error)),
            Err(error) => {
                tracing::error!(%node, %error, "user names of a report cannot be looked up");
                Vec::new()
            }
        };
        let mut by_cache: BTreeMap<CacheId, Vec<&NodeEvent>> = BTreeMap::new();
        for event in events.into_iter().chain(&of_users) {
            by_cache.entry(event.cache()).or_default().push(event);
        }
        for (cache, events) in by_cache {
            match take_of_cache(store, &self.0.plans, node, cache, &events, now).await {
                Ok(()) => {}
                Err(ReportError::Store(error @ StoreError::Unavailable(_))) => {
                    return Err(link_error(error));
                }
                Err(error) => {
                    tracing::error!(%node, %cache, %error, events = events.len(), "part of a report cannot be stored");
                }
            }
        }
        self.0.reported.send_modify(|count| *count += 1);
        self.note_figures(node, &figures).await
    }

    /// The caches of a report that are not on the node. A node of another process may speak for its own caches only:
    /// whoever has broken into it must not write the history of others. What it has still to tell of a cache that was
    /// placed on another node meanwhile is lost. The node of this process is believed.
    async fn foreign_caches(
        &self,
        node: &NodeId,
        report: &Report,
    ) -> Result<HashSet<CacheId>, StoreError> {
        if self.local_node() == Some(node) {
            return Ok(HashSet::new());
        }
        let of_logins = report.logins.iter().map(|login| CacheId(login.cache));
        let of_events = report.events.iter().map(NodeEvent::cache);
        let of_figures = report.figures.iter().map(|one| CacheId(one.cache));
        let named: BTreeSet<CacheId> = of_logins.chain(of_events).chain(of_figures).collect();
        if named.is_empty() {
            return Ok(HashSet::new());
        }
        let own = self.0.store.placed_on_node(node, &named).await?;
        let foreign = named.into_iter().filter(|cache| !own.contains(cache));
        Ok(foreign.collect())
    }

    /// Stores those that can be read, of each cache the last.
    async fn note_figures(&self, node: &NodeId, told: &[&Figures]) -> Result<(), LinkError> {
        let mut by_cache: BTreeMap<CacheId, String> = BTreeMap::new();
        let mut unreadable = 0;
        for figures in told {
            match as_stored(figures) {
                Some(json) => drop(by_cache.insert(CacheId(figures.cache), json)),
                None => unreadable += 1,
            }
        }
        if unreadable > 0 {
            tracing::warn!(%node, caches = unreadable, "figures of a report cannot be read");
        }
        let figures: Vec<(CacheId, String)> = by_cache.into_iter().collect();
        for some in figures.chunks(FIGURES_AT_ONCE) {
            let stored = async {
                let mut tx = self.0.store.begin().await?;
                tx.record_figures(node, some, self.0.clock.now()).await?;
                tx.commit().await
            };
            match stored.await {
                Ok(()) => {}
                Err(error @ StoreError::Unavailable(_)) => return Err(link_error(error)),
                Err(error) => {
                    tracing::error!(%node, %error, caches = some.len(), "figures of a report cannot be stored");
                }
            }
        }
        Ok(())
    }

    async fn note_heartbeat(
        &self,
        node: &NodeId,
        report: &Report,
        now: Timestamp,
    ) -> Result<(), LinkError> {
        let noted = async {
            let mut tx = self.0.store.begin().await?;
            let progress = NodeProgress {
                phase: report.phase.into(),
                applied: Revision(report.applied),
                on_snapshot: report.snapshot,
            };
            let heard = tx
                .record_heartbeat(node, &report.home, progress, now)
                .await?;
            tx.commit().await?;
            Ok(heard)
        };
        match noted.await.map_err(link_error)? {
            Heartbeat::Noted => Ok(()),
            Heartbeat::Retired => Err(not_its_node(node, RETIRED)),
            Heartbeat::TakenOver => Err(not_its_node(node, TAKEN_OVER)),
        }
    }
}

/// What a report says of the caches that its node may speak for.
struct Spoken<'a> {
    logins: Vec<&'a Login>,
    events: Vec<&'a NodeEvent>,
    figures: Vec<&'a Figures>,
}

fn own_part<'a>(node: &NodeId, report: &'a Report, foreign: &HashSet<CacheId>) -> Spoken<'a> {
    let is_own_login = |login: &&Login| !foreign.contains(&CacheId(login.cache));
    let is_own_event = |event: &&NodeEvent| !foreign.contains(&event.cache());
    let are_own = |figures: &&Figures| !foreign.contains(&CacheId(figures.cache));
    let spoken = Spoken {
        logins: report.logins.iter().filter(is_own_login).collect(),
        events: report.events.iter().filter(is_own_event).collect(),
        figures: report.figures.iter().filter(are_own).collect(),
    };
    if !foreign.is_empty() {
        tracing::warn!(
            %node,
            caches = foreign.len(),
            logins = report.logins.len() - spoken.logins.len(),
            events = report.events.len() - spoken.events.len(),
            figures = report.figures.len() - spoken.figures.len(),
            "a node tells of caches that are not on it; that part of its report is dropped"
        );
    }
    spoken
}

/// The figures as JSON; `None` for those that no reader could show, or that are longer than any true ones.
fn as_stored(figures: &Figures) -> Option<String> {
    let json = serde_json::to_string(figures).ok()?;
    let is_good = json.len() <= FIGURES_BYTES_MAX && figures.clone().taken().is_ok();
    is_good.then_some(json)
}

#[derive(Debug, thiserror::Error)]
enum ReportError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Message(#[from] BadMessage),
}

async fn note_logins(store: &Store, logins: &[&Login]) -> Result<(), ReportError> {
    // A report that was not taken may hold an older login of the same credential beside a newer one.
    let mut latest: BTreeMap<(CacheId, Username), LastUse> = BTreeMap::new();
    for login in logins {
        let (cache, username, last) = login.taken()?;
        match latest.get(&(cache, username.clone())) {
            Some(known) if known.at >= last.at => {}
            _ => drop(latest.insert((cache, username), last)),
        }
    }
    let uses: Vec<Use<'_>> = latest
        .iter()
        .map(|((cache, username), last)| Use {
            cache: *cache,
            username,
            last,
        })
        .collect();
    for some in uses.chunks(LOGINS_AT_ONCE) {
        let mut tx = store.begin().await?;
        tx.record_last_used(some).await?;
        tx.commit().await?;
    }
    Ok(())
}

/// The caches of user names that the node does not know, where there are any. A node tells of no more at once.
async fn find_users(store: &Store, users: &[UnknownUser]) -> Result<Vec<NodeEvent>, StoreError> {
    let mut events = Vec::new();
    for user in users.iter().take(USERS_MAX) {
        if let Ok(username) = user.username.parse()
            && let Some(cache) = store.cache_of_username(&username).await?
        {
            events.push(user.of_cache(cache));
        }
    }
    Ok(events)
}

/// Nothing is written about a cache that is gone: its owner is, too.
async fn take_of_cache(
    store: &Store,
    plans: &Plans,
    node: &NodeId,
    cache: CacheId,
    events: &[&NodeEvent],
    now: Timestamp,
) -> Result<(), ReportError> {
    let mut tx = store.begin().await?;
    let live = tx.lock_resource(cache).await?;
    let Some(resource) = live.filter(|resource| resource.state.is_live()) else {
        return Ok(());
    };
    let bought = plans.find_or_smallest(&resource.plan).memory_bytes;
    for (place, event) in (0..).zip(events) {
        // A microsecond apart, so that the history keeps the order in which the node told them.
        let at = now.plus(Duration::from_micros(place));
        if let Some((event, actor)) = settle(&mut tx, node, event.taken()?, at).await? {
            let event = event.measured_against(bought);
            outbox::announce(&mut tx, cache, &resource.label, &event, &actor, at).await?;
        }
    }
    Ok(tx.commit().await?)
}

/// Writes down what a node tells, and gives what is to be announced, with who is behind it: nothing for an event seen
/// before, nor for an order that other nodes have still to carry out.
async fn settle(
    tx: &mut Tx,
    node: &NodeId,
    event: Taken,
    now: Timestamp,
) -> Result<Option<(Event, Actor)>, StoreError> {
    let event = match event {
        Taken::Flushed { flush, times: 1 } if flush.origin != Origin::MemcacheClient => {
            let done = tx.report_order(node, &flush, now).await?;
            return Ok(done.map(|(flush, actor)| (Event::Flushed(flush), actor)));
        }
        Taken::Flushed { flush, times } => {
            let fresh = tx.record_flush(&flush, times).await?;
            let event = Event::Flushed(flush);
            fresh.then(|| match times {
                1 => event,
                _ => Event::Repeated {
                    event: Box::new(event),
                    times,
                },
            })
        }
        Taken::Noticed { id, event } => tx.first_report(id, now).await?.then_some(event),
    };
    Ok(event.map(|event| {
        let actor = event.actor_on_node();
        (event, actor)
    }))
}
