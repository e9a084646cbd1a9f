//! One connection without its socket: bytes in, bytes out.
//!
//! ```text
//!            first byte               right credential
//!  detect ───────────────▶ before login ───────────────▶ serve ──▶ close
//!                             │    ▲                       │
//!                             ▼    └─── another login ─────┘
//!                           close (deadline, third failure, anything but a login)
//! ```
//!
//! The caller passes all bytes that are not consumed yet; the session consumes whole requests. The same bytes give the
//! same replies, however the network cuts them.

mod login;
mod relogin;
mod upload;

use std::net::IpAddr;
use std::sync::Arc;

use super::auth::{Account, ConnectionSlot};
use super::execute::{Executor, Principal, Revoked};
use super::protocol::binary::BinaryForm;
use super::protocol::meta::MetaForm;
use super::protocol::text::TextForm;
use super::protocol::{
    Dialect, FastGetForm, Output, Parsed, ProtocolError, Reply, Request, binary, text,
};
use super::state::EngineState;
use super::storage::Tenant;
use super::tenancy::Traffic;
use login::Login;
use upload::Incoming;

/// Whether a connection has to log in. Its listener decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginMode {
    /// A login is required.
    Required,
    /// The connection belongs to one cache without login. SASL commands are unknown, as in a memcached without SASL.
    Open,
}

/// The state of one connection.
#[derive(Debug)]
pub struct ClientSession {
    login_mode: LoginMode,
    dialect: Option<Dialect>,
    /// The identity, after a login. A failed login leaves none.
    principal: Option<Arc<Principal>>,
    login: Login,
    scan: text::LineScan,
    /// The rest of a line with many keys. It is executed key by key.
    keys: Option<text::KeyList>,
    /// Bytes of a refused data block that are still to come and will be dropped.
    swallow: usize,
    incoming: Option<Box<Incoming>>,
    /// Bytes that must be here before the request at hand is looked at again. It is not parsed anew for each piece of its
    /// block that arrives.
    needed: usize,
    remote: Option<IpAddr>,
    thread: u16,
    /// How often the large value at hand has waited for room.
    waits: u16,
}

/// What a call of [`ClientSession::feed`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fed {
    /// Bytes of the input that were consumed.
    pub used: usize,
    /// Requests that were completed; of a line with many keys, each key. They count against
    /// [`crate::engine::Limits::visit_commands_max`].
    pub commands: u32,
    pub next: Next,
}

/// What the session wants next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// More input.
    Read,
    /// To go on with the same input, after the output is sent and other connections were visited.
    Again,
    /// To go on with the same input after a pause: there is no room for a large value yet.
    Wait,
    /// To send the output and close.
    Close,
}

/// Why a step ended.
#[derive(Debug)]
enum Stop {
    Next(Next),
    /// The state has changed, or a login may come next: decide anew what reads the next bytes.
    Redispatch,
    /// A login of a client that is logged in comes next.
    LogIn,
}

impl ClientSession {
    pub fn new(login_mode: LoginMode, remote: Option<IpAddr>, thread: usize) -> ClientSession {
        ClientSession {
            login_mode,
            dialect: None,
            principal: None,
            login: Login::default(),
            scan: text::LineScan::default(),
            keys: None,
            swallow: 0,
            incoming: None,
            needed: 0,
            remote,
            thread: thread as u16,
            waits: 0,
        }
    }

    /// A session of the open listener.
    pub fn open(slot: ConnectionSlot, remote: Option<IpAddr>, thread: usize) -> ClientSession {
        slot.tenancy().traffic(thread).admitted();
        ClientSession {
            principal: Some(Principal::new(slot, remote)),
            ..ClientSession::new(LoginMode::Open, remote, thread)
        }
    }

    pub fn dialect(&self) -> Option<Dialect> {
        self.dialect
    }

    /// The account that the client has logged in to.
    pub fn account(&self) -> Option<&Arc<Account>> {
        self.principal
            .as_ref()
            .map(|principal| principal.slot.account())
    }

    /// The tenant that the client has logged in to.
    pub fn tenant(&self) -> Option<&Tenant> {
        let principal = self.principal.as_ref()?;
        Some(&principal.slot.tenancy().items)
    }

    /// Answers a request that cannot be kept until it is complete. `input` is what has arrived of it.
    pub fn refuse_for_memory(&self, input: &[u8], out: &mut Output) {
        let error = ProtocolError::NoRoomForRequest;
        match self.dialect {
            Some(Dialect::Binary) => {
                if let Some(header) = binary::Header::read(input) {
                    binary::write_error(&BinaryForm::of(&header), error, out);
                }
            }
            _ => out.push(error.text()),
        }
    }

    /// Whether no request is half received.
    pub fn is_between_requests(&self) -> bool {
        self.swallow == 0 && self.incoming.is_none() && self.keys.is_none()
    }

    /// What this thread counts for the tenant. `None` before login.
    pub fn traffic(&self) -> Option<&Traffic> {
        let principal = self.principal.as_ref()?;
        let tenancy = principal.slot.tenancy();
        Some(tenancy.traffic(usize::from(self.thread)))
    }

    /// Executes the whole requests at the start of `input` and appends their replies to `out`. Ends when the input is
    /// used up, or a limit of the visit is reached (commands or output).
    pub fn feed(&mut self, engine: &EngineState, input: &[u8], out: &mut Output) -> Fed {
        let mut used = 0;
        let mut budget = engine.limits.visit_commands_max;
        loop {
            let rest = &input[used..];
            let (consumed, stop) = self.step(engine, rest, &mut budget, out);
            used += consumed;
            if let Stop::Next(next) = stop {
                return Fed {
                    used,
                    commands: engine.limits.visit_commands_max - budget,
                    next,
                };
            }
        }
    }

    fn step(
        &mut self,
        engine: &EngineState,
        input: &[u8],
        budget: &mut u32,
        out: &mut Output,
    ) -> (usize, Stop) {
        if self.swallow > 0 {
            let swallowed = self.swallow.min(input.len());
            self.swallow -= swallowed;
            if self.swallow > 0 {
                return (swallowed, Stop::Next(Next::Read));
            }
            *budget = budget.saturating_sub(1);
            return (swallowed, Stop::Redispatch);
        }
        if self.incoming.is_some() {
            let received = self.receive(engine, input, out);
            if self.incoming.is_none() {
                *budget = budget.saturating_sub(1);
            }
            return received;
        }
        let Some(&first) = input.first() else {
            return (0, Stop::Next(Next::Read));
        };
        if input.len() < self.needed {
            return (0, Stop::Next(Next::Read));
        }
        self.needed = 0;
        if out.len() >= engine.limits.output_bytes_max || *budget == 0 {
            return (0, Stop::Next(Next::Again));
        }
        let dialect = *self
            .dialect
            .get_or_insert_with(|| Dialect::of_first_byte(first));
        let speaks_sasl = dialect == Dialect::Binary && self.login_mode == LoginMode::Required;
        if speaks_sasl && binary_login_comes(input) {
            let (used, stop) = self.sasl(engine, input, out);
            if used > 0 {
                *budget -= 1;
            }
            return (used, self.last_before_login(engine, used, stop));
        }
        match self.principal.clone() {
            Some(principal) => {
                let (used, stop) = self.serve(engine, &principal, input, budget, out);
                // A login gives the slot of before back, which must have no other holder then.
                drop(principal);
                match stop {
                    Stop::LogIn => {
                        let (login, stop) = self.login_again(engine, &input[used..], out);
                        (used + login, stop)
                    }
                    stop => (used, stop),
                }
            }
            None => {
                *budget -= 1;
                let (used, stop) = self.before_login(engine, dialect, input, out);
                (used, self.last_before_login(engine, used, stop))
            }
        }
    }

    /// Executes commands under one identity.
    fn serve(
        &mut self,
        engine: &EngineState,
        principal: &Principal,
        input: &[u8],
        budget: &mut u32,
        out: &mut Output,
    ) -> (usize, Stop) {
        let mut executor = Executor::new(engine, principal);
        let mut used = 0;
        loop {
            let Ok(gets) = self.fast_gets(engine, &mut executor, &input[used..], budget, out)
            else {
                return (used, Stop::Next(Next::Close));
            };
            used += gets;
            let rest = &input[used..];
            if rest.is_empty() {
                return (used, Stop::Next(Next::Read));
            }
            if *budget == 0 || out.len() >= engine.limits.output_bytes_max {
                return (used, Stop::Next(Next::Again));
            }
            if gets > 0 && self.sasl_may_follow(rest) {
                return (used, Stop::Redispatch);
            }
            *budget -= 1;
            let parsed = self.parse(engine, rest);
            // Asked before the request is taken out, which would copy it once more.
            if self.logs_in(engine, &parsed) {
                return (used, Stop::LogIn);
            }
            match parsed {
                Parsed::Request {
                    used: request_bytes,
                    swallow,
                    request,
                } => {
                    used += request_bytes;
                    self.swallow = swallow;
                    if perform(&mut executor, request, out) == Next::Close {
                        return (used, Stop::Next(Next::Close));
                    }
                    if swallow > 0 || self.sasl_may_follow(&input[used..]) {
                        return (used, Stop::Redispatch);
                    }
                }
                Parsed::Partial => return (used, unfinished(budget)),
                Parsed::NeedsBlock { head, block } => {
                    *budget += 1;
                    let head = &rest[..head];
                    let (taken, stop) = self.await_block(engine, &mut executor, head, block, out);
                    return (used + taken, stop);
                }
                Parsed::KeyList { used: first, keys } => {
                    self.keys = Some(keys);
                    used += first;
                }
                Parsed::Error {
                    used: line,
                    swallow,
                    error,
                    form,
                } => {
                    form.write_error(error, out);
                    self.swallow = swallow;
                    used += line;
                    if swallow > 0 {
                        return (used, Stop::Redispatch);
                    }
                }
                Parsed::Close(last_reply) => {
                    if let Some((error, form)) = last_reply {
                        form.write_error(error, out);
                    }
                    return (used, Stop::Next(Next::Close));
                }
            }
        }
    }

    /// Executes the fast gets at the start of `input`. Returns how many bytes they took.
    fn fast_gets(
        &mut self,
        engine: &EngineState,
        executor: &mut Executor<'_>,
        input: &[u8],
        budget: &mut u32,
        out: &mut Output,
    ) -> Result<usize, Revoked> {
        if self.keys.is_some() {
            return Ok(0);
        }
        let gets_of = match (self.dialect, input) {
            (Some(Dialect::Binary), _) => fast_gets::<BinaryForm<'_>>,
            (_, [b'm', ..]) => fast_gets::<MetaForm<'_>>,
            _ => fast_gets::<TextForm<'_>>,
        };
        let used = gets_of(engine, executor, input, budget, out)?;
        if used > 0 {
            self.scan.restart();
        }
        Ok(used)
    }

    #[inline(always)]
    fn parse<'i>(&mut self, engine: &EngineState, input: &'i [u8]) -> Parsed<'i> {
        if let Some(keys) = &mut self.keys {
            let (used, ends, request) = keys.next(input);
            if ends {
                self.keys = None;
            }
            return Parsed::Request {
                used,
                swallow: 0,
                request,
            };
        }
        match self.dialect {
            Some(Dialect::Binary) => binary::parse(input, &engine.limits),
            _ => text::parse(input, &mut self.scan, &engine.limits),
        }
    }

    #[inline]
    fn sasl_may_follow(&self, rest: &[u8]) -> bool {
        self.dialect == Some(Dialect::Binary)
            && self.login_mode == LoginMode::Required
            && (rest.len() == 1 || binary_login_comes(rest))
    }
}

/// Executes the fast gets of one form. Each form has its own loop, without anything that other requests need, so that
/// the compiler can keep its variables in registers.
fn fast_gets<'i, F: FastGetForm<'i>>(
    engine: &EngineState,
    executor: &mut Executor<'_>,
    input: &'i [u8],
    budget: &mut u32,
    out: &mut Output,
) -> Result<usize, Revoked> {
    let mut used = 0;
    while *budget > 0 && out.len() < engine.limits.output_bytes_max {
        let Some((bytes, get, form)) = F::fast_get(&input[used..]) else {
            break;
        };
        let item = executor.fast_get(&get)?;
        form.write_get(item.as_ref(), out);
        *budget -= 1;
        used += bytes;
        // Most clients send one request at a time.
        if used == input.len() {
            break;
        }
    }
    Ok(used)
}

/// The request at hand was counted, and is not complete.
fn unfinished(budget: &mut u32) -> Stop {
    *budget += 1;
    Stop::Next(Next::Read)
}

/// [`Next::Close`] when the connection ends here.
fn perform(executor: &mut Executor<'_>, request: Request<'_>, out: &mut Output) -> Next {
    let Ok(reply) = executor.execute(request.command) else {
        return Next::Close;
    };
    request.form.write(&reply, out);
    match reply {
        Reply::Bye => Next::Close,
        _ => Next::Read,
    }
}

/// Whether the input begins with a SASL packet, as far as the bytes at hand show.
#[inline]
fn binary_login_comes(input: &[u8]) -> bool {
    matches!(input, [binary::REQUEST_MAGIC, 0x20..=0x22, ..])
}

#[cfg(test)]
mod login_model;
#[cfg(test)]
mod tests;
