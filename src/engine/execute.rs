//! Executes commands: command + principal + storage -> reply. Capabilities are checked here before each
//! command; `session::upload` checks them earlier for a large value, before it is received.

use std::net::IpAddr;
use std::sync::Arc;

use super::auth::{ConnectionSlot, Standing};
use super::events::EngineEvent;
use super::protocol::{Command, FastGet, Refusal, Reply, StatsGroup};
use super::state::EngineState;
use super::stats;
use super::storage::{
    ArithOutcome, ArithRequest, DeleteOutcome, DeleteRequest, Exptime, GetOptions, HashedKey,
    ItemView, ShardGuard, StoreOutcome, StoreRequest, Touched,
};
use super::tenancy::FlushAuthor;
use crate::domain::Capabilities;

/// The identity a connection acts under, and the address it comes from.
#[derive(Debug)]
pub struct Principal {
    pub slot: ConnectionSlot,
    pub remote: Option<IpAddr>,
}

/// Executes commands of one connection. The lock of a shard is kept from one command to the next while their keys fall
/// into the same shard. It is released at the end of the visit at the latest, and a visit is bounded and never waits.
pub struct Executor<'t> {
    engine: &'t EngineState,
    principal: &'t Principal,
    guard: Option<ShardGuard<'t>>,
}

/// The credential was revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revoked;

/// The capability that `command` needs beyond reading, and how it is refused without.
#[inline]
pub fn needs(command: &Command<'_>) -> Option<(Capabilities, Refusal)> {
    match command {
        Command::Get { options, .. } => {
            let changes = options.touch.is_some()
                || options.vivify.is_some()
                || options.recache_before.is_some();
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

/// Checks whether `granted` allows `command`.
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

impl<'t> Executor<'t> {
    pub fn new(engine: &'t EngineState, principal: &'t Principal) -> Executor<'t> {
        Executor {
            engine,
            principal,
            guard: None,
        }
    }

    /// Executes a get that changes nothing. Every credential may do that until it is revoked.
    #[inline(always)]
    pub fn fast_get(&mut self, get: &FastGet<'_>) -> Result<Option<ItemView<'_>>, Revoked> {
        if self.principal.slot.account().is_revoked() {
            return Err(Revoked);
        }
        let options = GetOptions {
            recaches: get.recaches,
            ..GetOptions::default()
        };
        let (key, shard) = self.shard(get.key);
        Ok(shard.get(&key, options))
    }

    /// Executes one command. The reply may borrow the locked item.
    ///
    /// # Errors
    /// When the credential was revoked. Then nothing was done and nothing is answered.
    pub fn execute(&mut self, command: Command<'_>) -> Result<Reply<'_>, Revoked> {
        let Standing::Valid(granted) = self.principal.slot.account().standing() else {
            return Err(Revoked);
        };
        if let Err(refusal) = permit(&command, granted) {
            self.report_refusal(refusal);
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

    /// Releases the shard's lock. Needed before anything that locks other shards of the tenant.
    pub fn release(&mut self) {
        self.guard = None;
    }

    #[inline(always)]
    fn shard<'k>(&mut self, key: &'k [u8]) -> (HashedKey<'k>, &mut ShardGuard<'t>) {
        let principal: &'t Principal = self.principal;
        let tenant = &principal.slot.tenancy().items;
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

    /// Counts a store that found no memory to receive its value.
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
        let account = self.principal.slot.account();
        let author = FlushAuthor {
            credential: account.username.clone(),
            remote: self.principal.remote,
        };
        self.engine.flush_for_client(account, delay_secs, author);
        Reply::Flushed
    }

    fn stats(&mut self, group: StatsGroup) -> Reply<'static> {
        self.release();
        let tenancy = self.principal.slot.tenancy();
        match group {
            StatsGroup::General => Reply::Stats(stats::general(tenancy, self.engine.clock.now())),
            StatsGroup::Settings => {
                let may_flush = self.principal.slot.account().may_flush();
                Reply::Stats(stats::settings(tenancy, &self.engine.limits, may_flush))
            }
            StatsGroup::Slabs => Reply::Stats(stats::slabs()),
            StatsGroup::Empty => Reply::Stats(Vec::new()),
            StatsGroup::Reset => {
                tenancy.reset_stats();
                Reply::Reset
            }
            StatsGroup::Unknown => Reply::UnknownStats,
        }
    }

    /// Reports a refused flush, because several client libraries report it to their callers as success.
    fn report_refusal(&self, refusal: Refusal) {
        let account = self.principal.slot.account();
        let (Refusal::Flush, Some(credential)) = (refusal, &account.username) else {
            return;
        };
        self.engine.sink.record(EngineEvent::FlushRefused {
            cache: account.tenancy.cache,
            proxy: self.engine.proxy_hostname.clone(),
            credential: credential.clone(),
            remote: self.principal.remote,
            at: self.engine.clock.now(),
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
    pub fn new(slot: ConnectionSlot, remote: Option<IpAddr>) -> Arc<Principal> {
        Arc::new(Principal { slot, remote })
    }
}
