//! Calls and sign-ons whose proof did not hold: counted, logged and written to the audit.
//!
//! Whoever is refused does not wait for the database, and gets the same answer in the same time while it is away. So
//! routes only note a refusal, and a loop writes it down: the first one of a source at once, what follows once a minute,
//! with a count. Only so many sources are told apart, and an IPv6 network is one of them. What could not be written stays
//! here, as a count per source, until the database is back.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{Access, AccessError};
use crate::domain::budget::{Budget, Verdict};
use crate::domain::throttle::{Burst, Throttle};
use crate::domain::{Actor, Identity, Marketplace, Timestamp, network_of};
use crate::store::service::audit::AuditEntry;

/// The least time between two reports of one source.
const WINDOW: Duration = Duration::from_secs(60);
/// Sources told apart within a window.
const SOURCES_MAX: usize = 256;
/// After so many refusals of one source within a window the answer says that it is to wait.
const REFUSALS_MAX: u32 = 300;
/// Networks told apart among what waits for the database.
const WAITING_MAX: usize = 1_024;

/// A kind of call that asks for a proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefusedCall {
    /// A browser's single sign-on.
    SignOn,
    /// Provisioning and its like, with the marketplace's password.
    Api,
    /// A signed message.
    Webhook,
    /// A long-lived dashboard URL that is not, or no longer, one.
    Link,
    /// A page or form of a cache, from a browser that is signed in to others only, or whose cookie was never issued.
    Session,
    /// A form without its session's token, or from another site.
    Form,
    /// A scrape of `/metrics` without its token.
    Metrics,
    /// A call over the node link without the token of enrolment or of that node.
    NodeLink,
}

/// Whose proof did not hold, as far as it can be told.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Source {
    call: RefusedCall,
    /// Where the call is one of a marketplace.
    marketplace: Option<Marketplace>,
    /// As [`network_of`] has it; `None` when it stands for more of them than are told apart.
    network: Option<IpAddr>,
}

/// The refusals of this process that were not written down yet. Clones share them.
#[derive(Clone, Debug)]
pub struct RefusedCalls(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    kept: Mutex<Kept>,
    wake: Notify,
}

#[derive(Debug)]
struct Kept {
    /// With the address of the latest.
    sources: Throttle<Source, Option<IpAddr>>,
    patience: Budget<Source>,
    /// Neither in the log nor in the audit.
    due: Tally,
    /// In the log, and not in the audit.
    unwritten: Tally,
}

type SourceBurst = Burst<Source, Option<IpAddr>>;

/// Refusals by source, the oldest source first.
#[derive(Debug, Default)]
struct Tally(Vec<Refused>);

#[derive(Debug)]
struct Refused {
    source: Source,
    /// An address of the network.
    remote: Option<IpAddr>,
    times: u64,
    /// When the first of them was told.
    at: Timestamp,
}

impl RefusedCall {
    const fn as_str(self) -> &'static str {
        match self {
            RefusedCall::SignOn => "sign_on",
            RefusedCall::Api => "api",
            RefusedCall::Webhook => "webhook",
            RefusedCall::Link => "link",
            RefusedCall::Session => "session",
            RefusedCall::Form => "form",
            RefusedCall::Metrics => "metrics",
            RefusedCall::NodeLink => "node_link",
        }
    }
}

impl fmt::Display for RefusedCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Tally {
    /// Counts them. Beyond [`WAITING_MAX`] networks the oldest one is forgotten, and what it did is counted for all networks
    /// that are not told apart.
    fn add(&mut self, refused: Refused) {
        let source = &refused.source;
        if let Some(known) = self.0.iter_mut().find(|known| known.source == *source) {
            known.times = known.times.saturating_add(refused.times);
            return;
        }
        let has_network = |known: &Refused| known.source.network.is_some();
        if has_network(&refused)
            && self.0.iter().filter(|known| has_network(known)).count() >= WAITING_MAX
            && let Some(oldest) = self.0.iter().position(has_network)
        {
            let mut oldest = self.0.remove(oldest);
            (oldest.source.network, oldest.remote) = (None, None);
            self.add(oldest);
        }
        self.0.push(refused);
    }

    fn add_bursts(&mut self, bursts: impl IntoIterator<Item = SourceBurst>, at: Timestamp) {
        for Burst { key, times, latest } in bursts {
            self.add(Refused {
                // Many networks have no one address.
                remote: key.network.and(latest),
                source: key,
                times,
                at,
            });
        }
    }

    fn append(&mut self, later: Tally) {
        for refused in later.0 {
            self.add(refused);
        }
    }
}

impl Default for RefusedCalls {
    fn default() -> RefusedCalls {
        RefusedCalls(Arc::new(Shared {
            kept: Mutex::new(Kept {
                sources: Throttle::new(WINDOW, SOURCES_MAX),
                patience: Budget::new(REFUSALS_MAX, WINDOW, SOURCES_MAX),
                due: Tally::default(),
                unwritten: Tally::default(),
            }),
            wake: Notify::new(),
        }))
    }
}

impl RefusedCalls {
    /// Notes one, and tells whether the source has made too many of them (security.md PA-13). Only refusals count, so
    /// nobody is kept waiting who has the proof. Costs no more than a short lock.
    pub fn note(
        &self,
        call: RefusedCall,
        marketplace: Option<Marketplace>,
        remote: Option<IpAddr>,
        now: Timestamp,
    ) -> bool {
        metrics::counter!("larder_refused_calls_total", "call" => call.as_str()).increment(1);
        let from = |network| Source {
            call,
            marketplace,
            network,
        };
        let network = remote.map(network_of);
        let since = now.since(Timestamp::from_secs(0));
        let mut kept = self.0.kept.lock();
        let patience = kept.patience.spend(from(network), from(None), since);
        let burst = kept.sources.note(from(network), from(None), remote, now);
        let is_new = burst.is_some();
        kept.due.add_bursts(burst, now);
        drop(kept);
        if is_new {
            self.0.wake.notify_one();
        }
        patience == Verdict::Beyond
    }

    /// Returns when there is something to write down at once.
    pub async fn is_due(&self) {
        self.0.wake.notified().await;
    }

    /// Logs what is due at `now`, or all there is, and has it wait for the database.
    fn log(&self, now: Timestamp, all: bool) {
        let mut kept = self.0.kept.lock();
        let bursts = if all {
            kept.sources.rest()
        } else {
            kept.sources.due(now)
        };
        kept.due.add_bursts(bursts, now);
        let due = std::mem::take(&mut kept.due);
        for Refused {
            source,
            remote,
            times,
            ..
        } in &due.0
        {
            tracing::warn!(
                call = %source.call,
                marketplace = source.marketplace.map(tracing::field::display),
                remote = remote.map(tracing::field::display),
                refused = times,
                window_secs = WINDOW.as_secs(),
                "calls without a valid proof refused",
            );
        }
        kept.unwritten.append(due);
    }

    /// The same for a process that has no audit: once logged, they are forgotten.
    pub fn log_without_audit(&self, now: Timestamp, all: bool) {
        self.log(now, all);
        self.take_unwritten();
    }

    fn take_unwritten(&self) -> Tally {
        std::mem::take(&mut self.0.kept.lock().unwritten)
    }

    fn put_back(&self, mut unwritten: Tally) {
        let mut kept = self.0.kept.lock();
        unwritten.append(std::mem::take(&mut kept.unwritten));
        kept.unwritten = unwritten;
    }
}

impl Access {
    /// Where routes note what they refuse.
    pub fn refused_calls(&self) -> &RefusedCalls {
        &self.refused_calls
    }

    /// Logs and audits the refusals that are due. Call it about once a second, and when [`RefusedCalls::is_due`] returns.
    pub async fn record_refused_calls(&self) -> Result<(), AccessError> {
        self.refused_calls.log(self.clock.now(), false);
        self.audit_refused_calls().await
    }

    /// The same with all refusals, when the process stops.
    pub async fn record_last_refused_calls(&self) -> Result<(), AccessError> {
        self.refused_calls.log(self.clock.now(), true);
        self.audit_refused_calls().await
    }

    /// What cannot be written waits for the next call. Refusals whose commit was not answered may be counted twice.
    async fn audit_refused_calls(&self) -> Result<(), AccessError> {
        let unwritten = self.refused_calls.take_unwritten();
        let written = self.write_refusals(&unwritten).await;
        if written.is_err() {
            self.refused_calls.put_back(unwritten);
        }
        written
    }

    async fn write_refusals(&self, refusals: &Tally) -> Result<(), AccessError> {
        if refusals.0.is_empty() {
            return Ok(());
        }
        let mut tx = self.store.begin().await?;
        for Refused {
            source,
            remote,
            times,
            at,
        } in &refusals.0
        {
            let entry = AuditEntry {
                cache: None,
                actor: Actor {
                    identity: Identity::Unproven,
                    remote: *remote,
                },
                action: format!("{}.refused", source.call),
                detail: source
                    .marketplace
                    .map_or_else(String::new, |name| name.to_string()),
            };
            tx.audit_times(&entry, *times, *at).await?;
        }
        Ok(tx.commit().await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(call: RefusedCall, address: u32) -> Source {
        Source {
            call,
            marketplace: None,
            network: Some(IpAddr::from(address.to_be_bytes())),
        }
    }

    #[test]
    fn what_waits_for_the_database_is_bounded_and_no_count_is_lost() {
        let refused = RefusedCalls::default();
        let mut noted = 0;
        // An hour without a database, and another address with each call.
        for minute in 0..60_u32 {
            let now = Timestamp::from_secs(1_800_000_000 + i64::from(minute) * 60);
            for number in 0..300 {
                let from = source(RefusedCall::Api, minute * 300 + number).network;
                refused.note(RefusedCall::Api, None, from, now);
                refused.note(RefusedCall::SignOn, None, from, now);
                noted += 2;
            }
            refused.log(now, false);
            refused.put_back(refused.take_unwritten());
        }
        refused.log(Timestamp::from_secs(1_800_003_600), true);
        let Tally(waiting) = refused.take_unwritten();
        assert!(waiting.len() <= WAITING_MAX + 2, "{}", waiting.len());
        assert_eq!(
            waiting.iter().map(|refused| refused.times).sum::<u64>(),
            noted
        );
    }

    /// Whoever has one address of an IPv6 network has all of them, and would fill the table of sources with them.
    #[test]
    fn the_addresses_of_one_ipv6_network_are_one_source() {
        let refused = RefusedCalls::default();
        let now = Timestamp::from_secs(1_800_000_000);
        let mut is_beyond = false;
        for host in 1..=1_000_u16 {
            let from = Some([0x2001, 0xdb8, 0, 7, 0, 0, 0, host].into());
            is_beyond = refused.note(RefusedCall::Link, None, from, now);
        }
        assert!(is_beyond, "it has used up its patience");
        refused.log(now, true);
        let Tally(waiting) = refused.take_unwritten();
        let [told] = waiting.as_slice() else {
            panic!("{waiting:?}");
        };
        let first: Option<IpAddr> = Some([0x2001_u16, 0xdb8, 0, 7, 0, 0, 0, 1].into());
        assert_eq!((told.times, told.remote), (1_000, first));
    }

    #[test]
    fn without_an_audit_nothing_waits() {
        let refused = RefusedCalls::default();
        let now = Timestamp::from_secs(1_800_000_000);
        let remote = source(RefusedCall::NodeLink, 1).network;
        refused.note(RefusedCall::NodeLink, None, remote, now);
        refused.log_without_audit(now, true);
        assert!(refused.take_unwritten().0.is_empty());
    }

    #[test]
    fn what_is_put_back_comes_before_what_was_noted_meanwhile() {
        let refused = RefusedCalls::default();
        let at = Timestamp::from_secs;
        let note = |address, now| {
            let remote = source(RefusedCall::Link, address).network;
            refused.note(RefusedCall::Link, None, remote, at(now));
            refused.log(at(now), false);
        };
        note(1, 100);
        let taken = refused.take_unwritten();
        note(2, 130);
        note(1, 190);
        refused.put_back(taken);
        let Tally(waiting) = refused.take_unwritten();
        let told: Vec<_> = waiting
            .iter()
            .map(|refused| (refused.source.clone(), refused.times, refused.at))
            .collect();
        let one = source(RefusedCall::Link, 1);
        let two = source(RefusedCall::Link, 2);
        assert_eq!(told, [(one, 2, at(100)), (two, 1, at(130))]);
    }
}
