//! The open connections of one listener, and how many there may be.
//!
//! Each takes a file descriptor, and a process without one left can neither answer a health check nor let an app log in.
//! A connection that does nothing costs its client nothing, so the one that has waited longest is closed when a new one
//! comes beyond the bound: with its first head not read yet, idle since its last answer, or with a request whose body has
//! not come. Requests under way are bounded below that, so that a new connection always finds one to take the place of. Nor
//! does a body that is withheld cost its client anything, so at the bound of requests the oldest such request makes room.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::closing::Closing;
use crate::domain::network_of;

/// A warning about bounds is not repeated within this time.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// How many connections a listener may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    pub connections_max: usize,
    /// Of one address. An IPv6 network of 64 bits is one: whoever has one of its addresses has all of them.
    pub per_address_max: usize,
    /// With a request under way, those whose body has not come included.
    pub requests_max: usize,
    /// Paths whose requests are served beyond that: what load balancers ask for.
    pub always: &'static [&'static str],
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds::within(4096)
    }
}

impl Bounds {
    /// The bounds of a listener that may have so many connections: half of them for one address, which may be a proxy's,
    /// and an eighth kept from requests.
    pub fn within(connections_max: u64) -> Bounds {
        let connections_max = usize::try_from(connections_max)
            .unwrap_or(usize::MAX)
            .max(2);
        Bounds {
            connections_max,
            per_address_max: connections_max.div_ceil(2),
            requests_max: connections_max - connections_max.div_ceil(8),
            always: &[],
        }
    }
}

/// The table of a listener's open connections. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Connections(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    bounds: Bounds,
    table: Mutex<Table>,
    /// Told whenever one has gone.
    gone: Notify,
}

#[derive(Debug, Default)]
struct Table {
    /// How many times something has begun to wait: the lower a number, the longer it waits.
    waits: u64,
    open: usize,
    requests: usize,
    waiting: BTreeMap<u64, Waiting>,
    /// Keys of `waiting`: those that have a request whose body has not come. `requests` counts them too.
    half_sent: BTreeSet<u64>,
    by_address: HashMap<IpAddr, OfAddress>,
    warned: LastWarning,
    /// Requests that were refused since a line told so.
    refused: u64,
    refusals_told: LastWarning,
}

/// When something was told that is not to be repeated within [`WARN_EVERY`].
#[derive(Debug, Default)]
struct LastWarning(Option<Instant>);

impl LastWarning {
    /// Whether it may be told now; then it counts as told.
    fn may_warn(&mut self) -> bool {
        let now = Instant::now();
        let is_new = |warned: Instant| now.duration_since(warned) >= WARN_EVERY;
        let may = self.0.is_none_or(is_new);
        if may {
            self.0 = Some(now);
        }
        may
    }
}

#[derive(Debug)]
struct Waiting {
    address: IpAddr,
    close: CancellationToken,
}

#[derive(Debug, Default)]
struct OfAddress {
    open: usize,
    /// Keys of `waiting`.
    waiting: BTreeSet<u64>,
}

/// One connection in the table, until it is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    connections: Connections,
    address: IpAddr,
    /// Cancelled when the connection has to close.
    pub close: CancellationToken,
    state: Mutex<State>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Under this number.
    Waiting(u64),
    /// It waits for the body of its request, under this number.
    HalfSent(u64),
    Request,
}

impl Connections {
    pub fn new(bounds: Bounds) -> Connections {
        Connections(Arc::new(Shared {
            bounds,
            table: Mutex::default(),
            gone: Notify::new(),
        }))
    }

    /// Returns once no more are open than may be: those told to close have done so.
    pub async fn within_bounds(&self) {
        loop {
            let gone = self.0.gone.notified();
            if self.0.table.lock().open <= self.0.bounds.connections_max {
                return;
            }
            gone.await;
        }
    }

    /// Enters a new connection. It, or another one, is told to close where there would be too many.
    pub fn enter(&self, peer: IpAddr) -> Slot {
        let (address, close) = (network_of(peer), CancellationToken::new());
        let bounds = self.0.bounds;
        let mut table = self.0.table.lock();
        table.open += 1;
        table.by_address.entry(address).or_default().open += 1;
        let number = table.begin_wait(address, close.clone());
        let of_address = table.by_address.get(&address);
        let oldest_of_address = of_address
            .filter(|own| own.open > bounds.per_address_max)
            .and_then(|own| own.waiting.first().copied());
        if let Some(oldest) = oldest_of_address {
            table.close(oldest, Closing::TooMany);
            table.warn(peer, "one address has as many connections as it may");
        } else if table.open > bounds.connections_max {
            table.close_oldest(Closing::TooMany);
            table.warn(peer, "there are as many connections as there may be");
        }
        drop(table);
        Slot {
            connections: self.clone(),
            address,
            close,
            state: Mutex::new(State::Waiting(number)),
        }
    }

    /// Tells that nothing can be accepted.
    pub fn tell_failed(&self, error: &io::Error) {
        let mut table = self.0.table.lock();
        if table.warned.may_warn() {
            tracing::warn!(%error, open = table.open, "cannot accept a connection");
        }
    }

    /// Closes the connection that has waited longest, if one waits.
    pub fn close_oldest(&self, why: Closing) {
        self.0.table.lock().close_oldest(why);
    }
}

impl Table {
    fn begin_wait(&mut self, address: IpAddr, close: CancellationToken) -> u64 {
        self.waits += 1;
        let own = self.by_address.entry(address).or_default();
        own.waiting.insert(self.waits);
        self.waiting.insert(self.waits, Waiting { address, close });
        self.waits
    }

    /// `None` when it has been told to close.
    fn end_wait(&mut self, number: u64) -> Option<Waiting> {
        let waiting = self.waiting.remove(&number)?;
        if let Some(own) = self.by_address.get_mut(&waiting.address) {
            own.waiting.remove(&number);
        }
        Some(waiting)
    }

    /// Begins the wait for a request's body.
    fn begin_half_sent(&mut self, address: IpAddr, close: CancellationToken) -> u64 {
        let number = self.begin_wait(address, close);
        self.half_sent.insert(number);
        number
    }

    /// Ends it; false when the connection has been told to close, and its request counts no more.
    fn end_half_sent(&mut self, number: u64) -> bool {
        self.end_wait(number);
        self.half_sent.remove(&number)
    }

    fn close(&mut self, number: u64, why: Closing) {
        if let Some(waiting) = self.end_wait(number) {
            self.requests -= usize::from(self.half_sent.remove(&number));
            why.count();
            waiting.close.cancel();
        }
    }

    /// False when there was no request.
    fn end_request(&mut self, state: State) -> bool {
        let counted = match state {
            State::Waiting(_) => return false,
            State::HalfSent(number) => self.end_half_sent(number),
            State::Request => true,
        };
        self.requests -= usize::from(counted);
        true
    }

    fn close_oldest(&mut self, why: Closing) {
        if let Some((&oldest, _)) = self.waiting.first_key_value() {
            self.close(oldest, why);
        }
    }

    fn warn(&mut self, peer: IpAddr, why: &str) {
        if self.warned.may_warn() {
            tracing::warn!(open = self.open, %peer, "{why}, so those that have waited longest are closed");
        }
    }

    /// Overload has one line a minute, however much is refused.
    fn note_refused(&mut self) {
        self.refused += 1;
        if self.refusals_told.may_warn() {
            let (refused, requests) = (std::mem::take(&mut self.refused), self.requests);
            tracing::warn!(
                refused,
                requests,
                "as many requests are under way as there may be, so new ones are refused with 503"
            );
        }
    }
}

impl Slot {
    /// The head of a request has come, with its body or without. False when too many requests are under way: it is to be
    /// refused.
    pub fn begin_request(&self, path: &str, is_whole: bool) -> bool {
        let mut state = self.state.lock();
        let bounds = self.connections.0.bounds;
        let mut table = self.connections.0.table.lock();
        if let State::Waiting(number) = *state {
            table.end_wait(number);
            table.requests += 1;
            *state = match is_whole {
                true => State::Request,
                false => State::HalfSent(table.begin_half_sent(self.address, self.close.clone())),
            };
        }
        if table.requests <= bounds.requests_max || bounds.always.contains(&path) {
            return true;
        }
        let oldest = table.half_sent.first().copied();
        let is_taken = match (oldest, *state) {
            (None, _) => false,
            (Some(oldest), State::HalfSent(own)) if oldest == own => false,
            (Some(oldest), _) => {
                table.close(oldest, Closing::TooMany);
                table.warn(self.address, "there are as many requests as there may be");
                true
            }
        };
        if !is_taken {
            table.note_refused();
        }
        is_taken
    }

    /// The body of the request has come to its end. From now on the connection is not closed for others.
    pub fn body_came(&self) {
        let mut state = self.state.lock();
        if let State::HalfSent(number) = *state
            && self.connections.0.table.lock().end_half_sent(number)
        {
            *state = State::Request;
        }
    }

    /// The request is answered.
    pub fn end_request(&self) {
        let mut state = self.state.lock();
        let mut table = self.connections.0.table.lock();
        if table.end_request(*state) {
            *state = State::Waiting(table.begin_wait(self.address, self.close.clone()));
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let state = *self.state.lock();
        let mut table = self.connections.0.table.lock();
        if let State::Waiting(number) = state {
            table.end_wait(number);
        }
        table.end_request(state);
        table.open -= 1;
        if let Some(own) = table.by_address.get_mut(&self.address) {
            own.open -= 1;
            if own.open == 0 {
                table.by_address.remove(&self.address);
            }
        }
        drop(table);
        self.connections.0.gone.notify_waiters();
    }
}

#[cfg(test)]
mod tests;
