//! What the engine has to tell the control plane, kept until it is stored.
//!
//! The engine's threads only ever take a short lock here: they never wait for the control plane, and what they
//! leave is bounded. Of flushes and refused flushes the first ten of a second are handed on one by one, the rest of
//! that second as one event with their number and their sums; when the control plane is away for so long that the
//! queue is full, they are summed up per cache until there is room. So their counts always add up. Logins are kept
//! one per credential, the latest. Other notices are dropped when the queue is full, and counted. Addresses whose logins
//! were refused wait for the node's own log, which the engine's threads do not write: a log may be slow.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::cluster::link::wire::{Login, NodeEvent, Notice, UnknownUser};
use crate::domain::credential::LastUse;
use crate::domain::{CacheId, EventId, FlushEvent, Origin, Timestamp, Username};
use crate::engine::{CertificateRefusal, EngineEvent, EventSink};

/// Events of one kind and cache that are handed on one by one within a second.
const SINGLES_PER_SEC: u32 = 10;
/// Events that wait, at most.
const QUEUE_MAX: usize = 10_000;
/// Events in one report, at most.
pub(super) const BATCH_MAX: usize = 500;
/// Logins in one report, at most: two megabytes of the four that a report may have.
const LOGINS_MAX: usize = 10_000;
/// Lines about refused addresses that wait, at most; and unknown user names.
const REFUSED_MAX: usize = 1_000;

/// Between the engine and the control plane. Shared by the engine's threads and the node's reporting loop.
#[derive(Default)]
pub struct EventBuffer {
    kept: Mutex<Kept>,
    ready: Notify,
}

#[derive(Default)]
struct Kept {
    queue: VecDeque<NodeEvent>,
    logins: HashMap<(CacheId, Username), LastUse>,
    flushes: HashMap<CacheId, Window<FlushEvent>>,
    refusals: HashMap<CacheId, Window<Refusal>>,
    refused: Vec<RefusedAddress>,
    unknown_users: Vec<UnknownUser>,
    dropped: u64,
}

/// Logins from one address were refused: a line for the operator.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RefusedAddress {
    pub remote: Option<IpAddr>,
    /// Of the latest: as it was presented, escaped and bounded.
    pub username: String,
    /// Why the client certificate was refused, if it was one.
    pub certificate: Option<CertificateRefusal>,
    pub cache: Option<CacheId>,
    pub refused: u64,
    pub window_secs: u32,
}

struct Refusal {
    notice: Notice,
    at: Timestamp,
}

/// One second of one kind of event of one cache.
struct Window<T> {
    second: i64,
    passed: u32,
    rest: Option<(T, u64)>,
}

impl<T> Window<T> {
    fn new(second: i64) -> Window<T> {
        Window {
            second,
            passed: 0,
            rest: None,
        }
    }

    /// Whether one more may go singly.
    fn admits(&mut self, queue_full: bool) -> bool {
        if queue_full || self.rest.is_some() || self.passed >= SINGLES_PER_SEC {
            return false;
        }
        self.passed += 1;
        true
    }

    fn sum_up(&mut self, newest: T, add: impl FnOnce(&T, &mut T)) {
        let mut newest = newest;
        let times = match &self.rest {
            Some((so_far, times)) => {
                add(so_far, &mut newest);
                times + 1
            }
            None => 1,
        };
        self.rest = Some((newest, times));
    }
}

impl EventBuffer {
    /// A cache was flushed. What the control plane ordered is never summed up nor turned away: there are no more of
    /// those than it gave.
    fn flushed(&self, flush: FlushEvent) {
        let mut kept = self.kept.lock();
        if flush.origin != Origin::MemcacheClient {
            kept.queue.push_back(NodeEvent::flushed(&flush, 1));
            self.ready.notify_one();
            return;
        }
        let full = kept.queue.len() >= QUEUE_MAX;
        let (cache, second) = (flush.cache, flush.at.secs());
        let Kept { queue, flushes, .. } = &mut *kept;
        let window = flushes.entry(cache).or_insert_with(|| Window::new(second));
        if window.second != second && !full {
            if let Some((flush, times)) = window.rest.take() {
                queue.push_back(NodeEvent::flushed(&flush, times));
            }
            *window = Window::new(second);
        }
        if window.admits(full) {
            queue.push_back(NodeEvent::flushed(&flush, 1));
        } else {
            window.sum_up(flush, |so_far, newest| {
                newest.items = newest.items.saturating_add(so_far.items);
                newest.bytes = newest.bytes.saturating_add(so_far.bytes);
            });
        }
        drop(kept);
        self.ready.notify_one();
    }

    /// A client without the flush capability tried.
    fn flush_refused(&self, cache: CacheId, notice: Notice, at: Timestamp) {
        let mut kept = self.kept.lock();
        let full = kept.queue.len() >= QUEUE_MAX;
        let second = at.secs();
        let Kept {
            queue, refusals, ..
        } = &mut *kept;
        let window = refusals.entry(cache).or_insert_with(|| Window::new(second));
        if window.second != second && !full {
            queue.extend(window.rest.take().map(|rest| refusals_as_one(cache, rest)));
            *window = Window::new(second);
        }
        let refusal = Refusal { notice, at };
        if window.admits(full) {
            queue.push_back(refusals_as_one(cache, (refusal, 1)));
        } else {
            window.sum_up(refusal, |_, _| {});
        }
        drop(kept);
        self.ready.notify_one();
    }

    fn logged_in(&self, cache: CacheId, username: Username, last: LastUse) {
        let mut kept = self.kept.lock();
        let key = (cache, username);
        if kept.logins.get(&key).is_none_or(|known| known.at < last.at) {
            kept.logins.insert(key, last);
        }
    }

    /// Something else the owner should read of: a limit reached.
    fn noticed(&self, cache: CacheId, notice: Notice, at: Timestamp) {
        let mut kept = self.kept.lock();
        if kept.queue.len() >= QUEUE_MAX {
            kept.dropped += 1;
            return;
        }
        kept.queue
            .push_back(NodeEvent::noticed(cache, notice, 1, at));
        drop(kept);
        self.ready.notify_one();
    }

    /// A line for the operator's log.
    fn address_refused(&self, address: RefusedAddress) {
        let mut kept = self.kept.lock();
        if kept.refused.len() < REFUSED_MAX {
            kept.refused.push(address);
        }
        drop(kept);
        self.ready.notify_one();
    }

    fn user_refused(&self, user: UnknownUser) {
        let mut kept = self.kept.lock();
        if kept.unknown_users.len() < REFUSED_MAX {
            kept.unknown_users.push(user);
        }
        drop(kept);
        self.ready.notify_one();
    }

    pub(super) fn take_unknown_users(&self) -> Vec<UnknownUser> {
        std::mem::take(&mut self.kept.lock().unknown_users)
    }

    pub(super) fn take_refused(&self) -> Vec<RefusedAddress> {
        std::mem::take(&mut self.kept.lock().refused)
    }

    /// Returns when something should be reported at once. Logins and the rests of floods wait for the next tick.
    pub(super) async fn ready(&self) {
        self.ready.notified().await;
    }

    /// The next events to report, the oldest first, and how many notices were dropped since the last call.
    /// Seconds that are over by `now` give their rests up.
    pub(super) fn take_events(&self, now: Timestamp) -> (Vec<NodeEvent>, u64) {
        let mut kept = self.kept.lock();
        kept.close_windows(now.secs());
        let count = kept.queue.len().min(BATCH_MAX);
        let events = kept.queue.drain(..count).collect();
        if !kept.queue.is_empty() {
            self.ready.notify_one();
        }
        (events, std::mem::take(&mut kept.dropped))
    }

    /// Some of the logins. The others wait for the next call: after a restart of everything there may be a million.
    pub(super) fn take_logins(&self) -> Vec<Login> {
        let mut kept = self.kept.lock();
        let mut taken = 0;
        let some = kept.logins.extract_if(|_, _| {
            taken += 1;
            taken <= LOGINS_MAX
        });
        let login = |((cache, username), last)| Login::new(cache, &username, last);
        some.map(login).collect()
    }
}

impl EventSink for EventBuffer {
    fn record(&self, event: EngineEvent) {
        match event {
            EngineEvent::Flushed(flush) => self.flushed(flush),
            EngineEvent::FlushRefused {
                cache,
                proxy,
                credential,
                remote,
                at,
            } => {
                let notice = Notice::FlushRefused {
                    proxy,
                    credential: credential.to_string(),
                    remote,
                };
                self.flush_refused(cache, notice, at);
            }
            EngineEvent::LoggedIn {
                cache,
                username,
                from,
                at,
            } => {
                let from = from.map(|address| address.to_string()).unwrap_or_default();
                self.logged_in(cache, username, LastUse { at, from });
            }
            EngineEvent::UnknownUserRefused {
                username,
                remote,
                refused,
                window_secs,
                at,
            } => self.user_refused(UnknownUser {
                id: EventId::generate(at).to_string(),
                username: username.to_string(),
                remote,
                refused,
                window_secs,
            }),
            EngineEvent::AddressRefused {
                remote,
                username,
                certificate,
                cache,
                refused,
                window_secs,
                at: _,
            } => self.address_refused(RefusedAddress {
                remote,
                username,
                certificate,
                cache,
                refused,
                window_secs,
            }),
            told => {
                if let Some((cache, notice, at)) = notice_of(told) {
                    self.noticed(cache, notice, at);
                }
            }
        }
    }
}

/// What is handed on as it is, because the engine bounds it already.
fn notice_of(event: EngineEvent) -> Option<(CacheId, Notice, Timestamp)> {
    match event {
        EngineEvent::Flushed(_)
        | EngineEvent::FlushRefused { .. }
        | EngineEvent::LoggedIn { .. }
        | EngineEvent::UnknownUserRefused { .. }
        | EngineEvent::AddressRefused { .. } => None,
        EngineEvent::LoginsRefused {
            cache,
            credential,
            remote,
            refused,
            window_secs,
            at,
        } => {
            let notice = Notice::LoginsRefused {
                credential: credential.to_string(),
                remote,
                refused,
                window_secs,
            };
            Some((cache, notice, at))
        }
        EngineEvent::ConnectionsOverLimit {
            cache,
            limit,
            refused,
            window_secs,
            at,
        } => {
            let notice = Notice::ConnectionsOverLimit {
                limit,
                refused,
                window_secs,
            };
            Some((cache, notice, at))
        }
        EngineEvent::MemoryFull {
            cache,
            used,
            limit,
            evictions,
            window_secs,
            at,
        } => {
            let notice = Notice::MemoryFull {
                used,
                limit,
                evictions,
                window_secs,
            };
            Some((cache, notice, at))
        }
    }
}

impl Kept {
    fn close_windows(&mut self, second: i64) {
        let Kept {
            queue,
            flushes,
            refusals,
            ..
        } = self;
        flushes.retain(|_, window| {
            if window.second == second || queue.len() >= QUEUE_MAX {
                return true;
            }
            let rest = window.rest.take();
            queue.extend(rest.map(|(flush, times)| NodeEvent::flushed(&flush, times)));
            false
        });
        refusals.retain(|cache, window| {
            if window.second == second || queue.len() >= QUEUE_MAX {
                return true;
            }
            queue.extend(window.rest.take().map(|rest| refusals_as_one(*cache, rest)));
            false
        });
    }
}

fn refusals_as_one(cache: CacheId, (last, times): (Refusal, u64)) -> NodeEvent {
    NodeEvent::noticed(cache, last.notice, times, last.at)
}

#[cfg(test)]
mod tests;
