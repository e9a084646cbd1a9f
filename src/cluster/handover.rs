//! What the engine has to tell the control plane, kept until it is stored.
//!
//! The engine's threads only ever take a short lock here: they never wait for the control plane, and what they
//! leave is bounded. Of flushes and refused flushes the first ten of a second are handed on one by one, the rest of
//! that second as one event with their number and their sums; when the control plane is away for so long that the
//! queue is full, they are summed up per cache until there is room. So their counts always add up. Logins are kept
//! one per credential, the latest. Other notices are dropped when the queue is full, and counted.

use std::collections::{HashMap, VecDeque};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::link::{Login, NodeEvent};
use crate::domain::credential::LastUse;
use crate::domain::ids::EventId;
use crate::domain::{CacheId, Event, FlushEvent, Origin, Timestamp, Username};
use crate::engine::{EngineEvent, EventSink};

/// Events of one kind and cache that are handed on one by one within a second.
const SINGLES_PER_SEC: u32 = 10;
/// Events that wait, at most.
const QUEUE_MAX: usize = 10_000;
/// Events in one report, at most.
const BATCH_MAX: usize = 500;

/// Between the engine and the control plane. Shared by the engine's threads and the node's reporting loop.
#[derive(Default)]
pub struct Handover {
    kept: Mutex<Kept>,
    ready: Notify,
}

#[derive(Default)]
struct Kept {
    queue: VecDeque<NodeEvent>,
    logins: HashMap<(CacheId, Username), LastUse>,
    flushes: HashMap<CacheId, Window<FlushEvent>>,
    refusals: HashMap<CacheId, Window<Refusal>>,
    dropped: u64,
}

struct Refusal {
    event: Event,
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

impl Handover {
    /// A cache was flushed. What the control plane ordered is never summed up nor turned away: there are no more of
    /// those than it gave.
    fn flushed(&self, flush: FlushEvent) {
        let mut kept = self.kept.lock();
        if flush.origin != Origin::MemcacheClient {
            kept.queue.push_back(NodeEvent::Flushed { flush, times: 1 });
            self.ready.notify_one();
            return;
        }
        let full = kept.queue.len() >= QUEUE_MAX;
        let (cache, second) = (flush.cache, flush.at.secs());
        let Kept { queue, flushes, .. } = &mut *kept;
        let window = flushes.entry(cache).or_insert_with(|| Window::new(second));
        if window.second != second && !full {
            if let Some((flush, times)) = window.rest.take() {
                queue.push_back(NodeEvent::Flushed { flush, times });
            }
            *window = Window::new(second);
        }
        if window.admits(full) {
            queue.push_back(NodeEvent::Flushed { flush, times: 1 });
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
    fn flush_refused(&self, cache: CacheId, event: Event, at: Timestamp) {
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
        let refusal = Refusal { event, at };
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
    fn noticed(&self, cache: CacheId, event: Event, at: Timestamp) {
        let mut kept = self.kept.lock();
        if kept.queue.len() >= QUEUE_MAX {
            kept.dropped += 1;
            return;
        }
        let id = EventId::generate(at);
        kept.queue
            .push_back(NodeEvent::Noticed { id, cache, event });
        drop(kept);
        self.ready.notify_one();
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

    pub(super) fn take_logins(&self) -> Vec<Login> {
        let logins = std::mem::take(&mut self.kept.lock().logins);
        let login = |((cache, username), last)| Login {
            cache,
            username,
            last,
        };
        logins.into_iter().map(login).collect()
    }
}

impl EventSink for Handover {
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
                let event = Event::FlushRefused {
                    proxy,
                    credential,
                    remote,
                };
                self.flush_refused(cache, event, at);
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
            EngineEvent::ConnectionsOverLimit {
                cache,
                limit,
                refused,
                window_secs,
                at,
            } => {
                let event = Event::ConnectionsOverLimit {
                    limit,
                    refused,
                    window_secs,
                };
                self.noticed(cache, event, at);
            }
            EngineEvent::MemoryFull {
                cache,
                used,
                limit,
                evictions,
                window_secs,
                at,
            } => {
                let event = Event::MemoryFull {
                    used,
                    limit,
                    evictions,
                    window_secs,
                };
                self.noticed(cache, event, at);
            }
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
            queue.extend(rest.map(|(flush, times)| NodeEvent::Flushed { flush, times }));
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
    let id = EventId::generate(last.at);
    let event = match times {
        1 => last.event,
        _ => Event::Repeated {
            event: Box::new(last.event),
            times,
        },
    };
    NodeEvent::Noticed { id, cache, event }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::FlushId;

    fn flush(second: i64, items: u64) -> FlushEvent {
        let at = Timestamp::from_secs(second);
        FlushEvent {
            id: FlushId::generate(at),
            cache: CacheId(1),
            origin: Origin::MemcacheClient,
            proxy: "p".to_owned(),
            credential: None,
            remote: None,
            reason: None,
            items,
            bytes: items * 10,
            at,
        }
    }

    fn sums(events: &[NodeEvent]) -> (u64, u64) {
        let flushes = events.iter().filter_map(|event| match event {
            NodeEvent::Flushed { flush, times } => Some((*times, flush.items)),
            _ => None,
        });
        flushes.fold((0, 0), |(times, items), (t, i)| (times + t, items + i))
    }

    #[test]
    fn a_flood_becomes_ten_events_and_one_that_adds_up() {
        let handover = Handover::default();
        for _ in 0..1_000 {
            handover.flushed(flush(5, 2));
        }
        let (events, _) = handover.take_events(Timestamp::from_secs(5));
        assert_eq!(events.len(), 10, "the second is not over");
        let (rest, _) = handover.take_events(Timestamp::from_secs(6));
        assert_eq!(rest.len(), 1);
        assert_eq!(sums(&rest), (990, 1_980));
        assert!(
            handover.kept.lock().flushes.is_empty(),
            "no window is left behind"
        );
    }

    #[test]
    fn the_next_second_begins_anew_and_keeps_the_order() {
        let handover = Handover::default();
        for _ in 0..12 {
            handover.flushed(flush(5, 1));
        }
        handover.flushed(flush(6, 1));
        let (events, _) = handover.take_events(Timestamp::from_secs(6));
        let times: Vec<u64> = events
            .iter()
            .map(|event| match event {
                NodeEvent::Flushed { times, .. } => *times,
                _ => 0,
            })
            .collect();
        assert_eq!(times, [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 1]);
    }

    #[test]
    fn a_full_queue_loses_notices_but_no_flush() {
        let handover = Handover::default();
        let at = Timestamp::from_secs(5);
        for _ in 0..QUEUE_MAX + 3 {
            handover.noticed(CacheId(2), Event::SsoSecretRotated, at);
        }
        for second in 5..50 {
            handover.flushed(flush(second, 1));
        }
        let mut events = Vec::new();
        let mut dropped = 0;
        loop {
            let (batch, lost) = handover.take_events(Timestamp::from_secs(60));
            dropped += lost;
            if batch.is_empty() {
                break;
            }
            assert!(batch.len() <= BATCH_MAX);
            events.extend(batch);
        }
        assert_eq!((sums(&events), dropped), ((45, 45), 3));
    }

    #[test]
    fn refusals_are_summed_up_like_flushes() {
        let handover = Handover::default();
        for _ in 0..25 {
            let refused = Event::FlushRefused {
                proxy: "p".to_owned(),
                credential: "4F2A90".parse().unwrap(),
                remote: None,
            };
            handover.flush_refused(CacheId(1), refused, Timestamp::from_secs(5));
        }
        let (events, _) = handover.take_events(Timestamp::from_secs(6));
        assert_eq!(events.len(), 11);
        let NodeEvent::Noticed { event, .. } = &events[10] else {
            panic!("a refusal");
        };
        assert!(
            event.line("X").ends_with("repeated=15"),
            "{}",
            event.line("X")
        );
    }

    #[test]
    fn only_the_latest_login_is_kept() {
        let handover = Handover::default();
        let name: Username = "4F2A90".parse().unwrap();
        for secs in [5, 9, 7] {
            let last = LastUse {
                at: Timestamp::from_secs(secs),
                from: secs.to_string(),
            };
            handover.logged_in(CacheId(1), name.clone(), last);
        }
        let logins = handover.take_logins();
        assert_eq!(logins.len(), 1);
        assert_eq!(logins[0].last.from, "9");
        assert!(handover.take_logins().is_empty());
    }
}
