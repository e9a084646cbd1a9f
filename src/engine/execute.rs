//! Command + principal + storage -> reply. The only place where capabilities are checked.

use std::net::IpAddr;
use std::sync::Arc;

use super::auth::{Seat, Standing};
use super::events::EngineEvent;
use super::node::Node;
use super::protocol::{Command, PlainGet, Refusal, Reply, StatsGroup};
use super::stats;
use super::storage::{
    ArithOutcome, ArithRequest, DeleteOutcome, DeleteRequest, Exptime, GetOptions, HashedKey,
    ItemView, ShardGuard, StoreOutcome, StoreRequest, Touched,
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

/// The credential is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revoked;

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

    /// Carries out a get that asks for no change, which every credential may do as long as it is there.
    #[inline(always)]
    pub fn plain_get(&mut self, get: &PlainGet<'_>) -> Result<Option<ItemView<'_>>, Revoked> {
        if self.principal.seat.account().is_revoked() {
            return Err(Revoked);
        }
        let options = GetOptions {
            recaches: get.recaches,
            ..GetOptions::default()
        };
        let (key, shard) = self.shard(get.key);
        Ok(shard.get(&key, options))
    }

    /// Carries out one command. The reply may borrow the locked item.
    ///
    /// # Errors
    /// When the credential is gone: then nothing was done and nothing is answered.
    pub fn execute(&mut self, command: Command<'_>) -> Result<Reply<'_>, Revoked> {
        let Standing::Valid(granted) = self.principal.seat.account().standing() else {
            return Err(Revoked);
        };
        if let Err(refusal) = permit(&command, granted) {
            self.tell_refused(refusal);
            return Ok(Reply::Refused(refusal));
        }
        Ok(match command {
            Command::Get { key, options } => self.get(&key, options),
            Command::Store { key, request } => self.store(&key, request),
            Command::StoreTooLarge { key, removes_old } => self.refuse_too_large(&key, removes_old),
            Command::Delete { key, request } => self.delete(&key, request),
            Command::Arith { key, request } => self.arith(&key, request),
            Command::Touch { key, exptime } => self.touch(&key, exptime),
            Command::Flush { delay_secs } => self.flush(delay_secs),
            Command::Stats(group) => self.stats(group),
            Command::Version => Reply::Version,
            Command::Noop => Reply::Noop,
            Command::Verbosity => Reply::Done,
            Command::Quit => Reply::Bye,
        })
    }

    /// Lets go of the lock: before anything that asks the tenant as a whole.
    pub fn release(&mut self) {
        self.guard = None;
    }

    #[inline(always)]
    fn shard<'k>(&mut self, key: &'k [u8]) -> (HashedKey<'k>, &mut ShardGuard<'t>) {
        let principal: &'t Principal = self.principal;
        let tenant = &principal.seat.tenancy().items;
        let key = tenant.key(key);
        if matches!(&self.guard, Some(guard) if !guard.serves(&key)) {
            self.guard = None;
        }
        let guard = match self.guard {
            Some(ref mut guard) => guard,
            None => self.guard.insert(tenant.lock(&key)),
        };
        (key, guard)
    }

    #[inline(always)]
    fn get(&mut self, key: &[u8], options: GetOptions) -> Reply<'_> {
        let (key, shard) = self.shard(key);
        match shard.get(&key, options) {
            Some(item) => Reply::Hit(item),
            None => Reply::Miss,
        }
    }

    fn touch(&mut self, key: &[u8], exptime: Exptime) -> Reply<'static> {
        let (key, shard) = self.shard(key);
        match shard.touch(&key, exptime) {
            Some(Touched { flags, cas }) => Reply::Touched { flags, cas },
            None => Reply::NotFound,
        }
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

    fn stats(&mut self, group: StatsGroup) -> Reply<'static> {
        self.release();
        let tenancy = self.principal.seat.tenancy();
        match group {
            StatsGroup::General => Reply::Stats(stats::general(tenancy, self.node.clock.now())),
            StatsGroup::Settings => Reply::Stats(stats::settings(tenancy, &self.node.limits)),
            StatsGroup::Empty => Reply::Stats(Vec::new()),
            StatsGroup::Reset => {
                tenancy.reset_stats();
                Reply::Reset
            }
            StatsGroup::Unknown => Reply::UnknownStats,
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
