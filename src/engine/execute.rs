//! Command + principal + storage -> reply. The only place where capabilities are checked.

use std::net::IpAddr;
use std::sync::Arc;

use super::auth::{Seat, Standing};
use super::events::EngineEvent;
use super::node::Node;
use super::protocol::{Command, Refusal, Reply, StatsGroup};
use super::stats;
use super::storage::{
    ArithOutcome, ArithRequest, DeleteOutcome, DeleteRequest, GetOptions, HashedKey, ShardGuard,
    StoreOutcome, StoreRequest,
};
use super::tenancy::FlushAuthor;
use crate::domain::Capabilities;

/// Who acts, and from where.
#[derive(Debug)]
pub struct Principal {
    pub seat: Seat,
    pub remote: Option<IpAddr>,
}

/// A run of commands of one connection. The lock of a shard is kept from one command to the next while they fall
/// into the same shard; it ends with the run, which is bounded and never waits.
pub struct Run<'t> {
    node: &'t Node,
    principal: &'t Principal,
    guard: Option<ShardGuard<'t>>,
}

/// What came of it for the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Executed {
    Answered,
    /// The credential is gone; nothing was done and nothing is answered.
    Revoked,
}

/// What `command` needs beyond reading, and how it is refused without.
#[inline]
pub fn needs(command: &Command<'_>) -> Option<(Capabilities, Refusal)> {
    match command {
        Command::Get { options, .. } => {
            let changes = options.touch.is_some()
                || options.vivify.is_some()
                || options.recache_below_secs.is_some();
            changes.then_some((Capabilities::WRITE, Refusal::Read))
        }
        Command::Store { .. } | Command::StoreTooLarge { .. } => {
            Some((Capabilities::WRITE, Refusal::Store))
        }
        Command::Delete { .. } | Command::Arith { .. } | Command::Touch { .. } => {
            Some((Capabilities::WRITE, Refusal::Change))
        }
        Command::Flush { .. } => Some((Capabilities::FLUSH, Refusal::Flush)),
        Command::Stats(_)
        | Command::Version
        | Command::Noop
        | Command::Verbosity
        | Command::Quit => None,
    }
}

/// Whether the principal may do it now.
///
/// # Errors
/// The refusal to answer with.
#[inline]
pub fn permit(command: &Command<'_>, granted: Capabilities) -> Result<(), Refusal> {
    match needs(command) {
        Some((needed, refusal)) if !granted.allows(needed) => Err(refusal),
        _ => Ok(()),
    }
}

impl<'t> Run<'t> {
    pub fn new(node: &'t Node, principal: &'t Principal) -> Run<'t> {
        Run {
            node,
            principal,
            guard: None,
        }
    }

    /// Carries out one command. `answer` is called at most once, with a reply that may borrow the locked item.
    #[inline]
    pub fn execute(&mut self, command: Command<'_>, answer: impl FnOnce(&Reply<'_>)) -> Executed {
        let Standing::Valid(granted) = self.principal.seat.account().standing() else {
            return Executed::Revoked;
        };
        if let Err(refusal) = permit(&command, granted) {
            self.tell_refused(refusal);
            answer(&Reply::Refused(refusal));
            return Executed::Answered;
        }
        match command {
            Command::Get { key, options } => self.get(&key, options, answer),
            Command::Store { key, request } => answer(&self.store(&key, request)),
            Command::StoreTooLarge { key, removes_old } => {
                answer(&self.refuse_too_large(&key, removes_old));
            }
            Command::Delete { key, request } => answer(&self.delete(&key, request)),
            Command::Arith { key, request } => answer(&self.arith(&key, request)),
            Command::Touch { key, exptime } => {
                let options = GetOptions {
                    touch: Some(exptime),
                    ..GetOptions::default()
                };
                self.touch(&key, options, answer);
            }
            Command::Flush { delay_secs } => answer(&self.flush(delay_secs)),
            Command::Stats(group) => self.stats(group, answer),
            Command::Version => answer(&Reply::Version),
            Command::Noop => answer(&Reply::Noop),
            Command::Verbosity => answer(&Reply::Done),
            Command::Quit => answer(&Reply::Bye),
        }
        Executed::Answered
    }

    /// Lets go of the lock: before anything that asks the tenant as a whole.
    pub fn release(&mut self) {
        self.guard = None;
    }

    #[inline]
    fn shard<'k>(&mut self, key: &'k [u8]) -> (HashedKey<'k>, &mut ShardGuard<'t>) {
        let principal: &'t Principal = self.principal;
        let tenant = &principal.seat.tenancy().items;
        let key = tenant.key(key);
        if !self.guard.as_ref().is_some_and(|guard| guard.serves(&key)) {
            self.guard = None;
        }
        let guard = self.guard.get_or_insert_with(|| tenant.lock(&key));
        (key, guard)
    }

    #[inline]
    fn get(&mut self, key: &[u8], options: GetOptions, answer: impl FnOnce(&Reply<'_>)) {
        let (key, shard) = self.shard(key);
        match shard.get(&key, options) {
            Some(item) => answer(&Reply::Hit(&item)),
            None => answer(&Reply::Miss),
        }
    }

    fn touch(&mut self, key: &[u8], options: GetOptions, answer: impl FnOnce(&Reply<'_>)) {
        let (key, shard) = self.shard(key);
        let reply = match shard.get(&key, options) {
            Some(item) => Reply::Touched {
                flags: item.flags(),
                cas: item.cas(),
            },
            None => Reply::NotFound,
        };
        answer(&reply);
    }

    #[inline]
    fn store(&mut self, key: &[u8], request: StoreRequest<'_>) -> Reply<'static> {
        let (key, shard) = self.shard(key);
        reply_of_store(shard.store(&key, request))
    }

    fn refuse_too_large(&mut self, key: &[u8], removes_old: bool) -> Reply<'static> {
        let (key, shard) = self.shard(key);
        reply_of_store(shard.refuse_too_large(&key, removes_old))
    }

    /// For a value that could not even be received.
    pub fn refuse_no_memory(&mut self, key: &[u8], removes_old: bool) {
        let (key, shard) = self.shard(key);
        shard.refuse_no_memory(&key, removes_old);
    }

    fn delete(&mut self, key: &[u8], request: DeleteRequest) -> Reply<'static> {
        let (key, shard) = self.shard(key);
        match shard.delete(&key, request) {
            DeleteOutcome::Deleted => Reply::Deleted,
            DeleteOutcome::NotFound => Reply::NotFound,
            DeleteOutcome::Exists => Reply::Exists,
        }
    }

    fn arith(&mut self, key: &[u8], request: ArithRequest) -> Reply<'static> {
        let (key, shard) = self.shard(key);
        match shard.arith(&key, request) {
            ArithOutcome::Done {
                value,
                cas,
                ttl_secs,
            } => Reply::Number {
                value,
                cas,
                ttl_secs,
            },
            ArithOutcome::NotFound => Reply::NotFound,
            ArithOutcome::Exists => Reply::Exists,
            ArithOutcome::NonNumeric => Reply::NonNumeric,
            ArithOutcome::NoMemory => Reply::OutOfMemory,
        }
    }

    fn flush(&mut self, delay_secs: u32) -> Reply<'static> {
        self.release();
        let author = FlushAuthor {
            credential: self.principal.seat.account().username.clone(),
            remote: self.principal.remote,
        };
        self.node
            .flush_for_client(self.principal.seat.tenancy(), delay_secs, author);
        Reply::Flushed
    }

    fn stats(&mut self, group: StatsGroup, answer: impl FnOnce(&Reply<'_>)) {
        self.release();
        let tenancy = self.principal.seat.tenancy();
        match group {
            StatsGroup::General => {
                let general = stats::general(tenancy, self.node.clock.now());
                answer(&Reply::Stats(&general));
            }
            StatsGroup::Settings => {
                let settings = stats::settings(tenancy, &self.node.limits);
                answer(&Reply::Stats(&settings));
            }
            StatsGroup::Empty => answer(&Reply::Stats(&[])),
            StatsGroup::Reset => {
                tenancy.reset_stats();
                answer(&Reply::Reset);
            }
            StatsGroup::Unknown => answer(&Reply::UnknownStats),
        }
    }

    /// A refused flush must show somewhere: several clients report it as success.
    fn tell_refused(&self, refusal: Refusal) {
        let account = self.principal.seat.account();
        let (Refusal::Flush, Some(credential)) = (refusal, &account.username) else {
            return;
        };
        self.node.sink.record(EngineEvent::FlushRefused {
            cache: account.tenancy.cache,
            proxy: self.node.proxy_hostname.clone(),
            credential: credential.clone(),
            remote: self.principal.remote,
            at: self.node.clock.now(),
        });
    }
}

fn reply_of_store(outcome: StoreOutcome) -> Reply<'static> {
    match outcome {
        StoreOutcome::Stored { cas, value_bytes } => Reply::Stored { cas, value_bytes },
        StoreOutcome::NotStored => Reply::NotStored,
        StoreOutcome::Exists => Reply::Exists,
        StoreOutcome::NotFound => Reply::NotFound,
        StoreOutcome::TooLarge => Reply::TooLarge,
        StoreOutcome::NoMemory => Reply::OutOfMemory,
    }
}

impl Principal {
    pub fn new(seat: Seat, remote: Option<IpAddr>) -> Arc<Principal> {
        Arc::new(Principal { seat, remote })
    }
}
