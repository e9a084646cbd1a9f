//! One connection without its socket: bytes in, bytes out.
//!
//! ```text
//!            first byte            right credential
//!  detect ───────────────▶ stranger ───────────────▶ serve ──▶ close
//!                             │  ▲                     │
//!                             ▼  └─── SASL again ──────┘
//!                           close (deadline, third failure, anything but a login)
//! ```
//!
//! The caller hands over all bytes it has not seen consumed yet; the session consumes whole requests. Whatever
//! the bytes are and however they are cut, the same bytes give the same replies.

mod login;
mod upload;

use std::net::IpAddr;
use std::sync::Arc;

use super::auth::{Account, Seat};
use super::execute::{Principal, Revoked, Run};
use super::node::Node;
use super::protocol::binary::BinaryForm;
use super::protocol::meta::MetaForm;
use super::protocol::text::TextForm;
use super::protocol::{
    Dialect, Fault, Form, Output, Parsed, PlainForm, Reply, Request, binary, text,
};
use super::tenancy::Traffic;
use login::Login;
use upload::Incoming;

/// Through which door a connection came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// A login is needed.
    Locked,
    /// Bound to one cache without login. There is no SASL here, as on a memcached without it.
    Open,
}

/// The state of one connection.
#[derive(Debug)]
pub struct Session {
    door: Door,
    dialect: Option<Dialect>,
    /// The identity, once there is one. A failed login leaves none.
    principal: Option<Arc<Principal>>,
    login: Login,
    scan: text::LineScan,
    /// The rest of a line of many keys, which is executed key by key.
    keys: Option<text::KeyList>,
    /// Bytes of a refused block that are still to come.
    swallow: usize,
    incoming: Option<Box<Incoming>>,
    remote: Option<IpAddr>,
    thread: u16,
    /// How often a large value had to wait for room.
    waits: u16,
}

/// What a call of [`Session::feed`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fed {
    /// Bytes of the input that are done with.
    pub used: usize,
    /// Commands begun, of those that a turn bounds.
    pub commands: u32,
    pub next: Next,
}

/// What the session wants next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// More input than is here.
    Read,
    /// To go on with the same input, after its output is sent and others have had a turn.
    Again,
    /// To go on with the same input a moment later: there is no room for a large value yet.
    Wait,
    /// To send what is there and close.
    Close,
}

/// Where a run of commands ended.
#[derive(Debug)]
enum Stop {
    Next(Next),
    /// Something other than a plain command comes next; look at the state again.
    Turn,
}

impl Session {
    pub fn new(door: Door, remote: Option<IpAddr>, thread: usize) -> Session {
        Session {
            door,
            dialect: None,
            principal: None,
            login: Login::default(),
            scan: text::LineScan::default(),
            keys: None,
            swallow: 0,
            incoming: None,
            remote,
            thread: thread as u16,
            waits: 0,
        }
    }

    /// A session that needs no login.
    pub fn open(seat: Seat, remote: Option<IpAddr>, thread: usize) -> Session {
        seat.tenancy().traffic(thread).admitted();
        Session {
            principal: Some(Principal::new(seat, remote)),
            ..Session::new(Door::Open, remote, thread)
        }
    }

    pub fn dialect(&self) -> Option<Dialect> {
        self.dialect
    }

    /// The credential in use.
    pub fn account(&self) -> Option<&Arc<Account>> {
        self.principal
            .as_ref()
            .map(|principal| principal.seat.account())
    }

    /// Whether nothing of a request has come yet.
    pub fn is_between_requests(&self) -> bool {
        self.swallow == 0 && self.incoming.is_none() && self.keys.is_none()
    }

    /// What this thread counts for the tenant, once it is known.
    pub fn traffic(&self) -> Option<&Traffic> {
        let principal = self.principal.as_ref()?;
        let tenancy = principal.seat.tenancy();
        Some(tenancy.traffic(usize::from(self.thread)))
    }

    /// Executes the whole requests at the start of `input` and appends their replies to `out`, until the input, the
    /// turn, or the room for output is used up.
    pub fn feed(&mut self, node: &Node, input: &[u8], out: &mut Output) -> Fed {
        let mut used = 0;
        let mut budget = node.limits.turn_commands_max;
        loop {
            let rest = &input[used..];
            let (consumed, stop) = self.step(node, rest, &mut budget, out);
            used += consumed;
            if let Stop::Next(next) = stop {
                return Fed {
                    used,
                    commands: node.limits.turn_commands_max - budget,
                    next,
                };
            }
        }
    }

    fn step(
        &mut self,
        node: &Node,
        input: &[u8],
        budget: &mut u32,
        out: &mut Output,
    ) -> (usize, Stop) {
        if self.swallow > 0 {
            let swallowed = self.swallow.min(input.len());
            self.swallow -= swallowed;
            let stop = match self.swallow {
                0 => Stop::Turn,
                _ => Stop::Next(Next::Read),
            };
            return (swallowed, stop);
        }
        if self.incoming.is_some() {
            return self.receive(node, input, out);
        }
        let Some(&first) = input.first() else {
            return (0, Stop::Next(Next::Read));
        };
        if out.len() >= node.limits.output_bytes_max || *budget == 0 {
            return (0, Stop::Next(Next::Again));
        }
        let dialect = *self
            .dialect
            .get_or_insert_with(|| Dialect::of_first_byte(first));
        let speaks_sasl = dialect == Dialect::Binary && self.door == Door::Locked;
        if speaks_sasl && binary_login_comes(input) {
            *budget -= 1;
            return self.sasl(node, input, out);
        }
        match self.principal.clone() {
            Some(principal) => self.serve(node, &principal, input, budget, out),
            None => {
                *budget -= 1;
                self.greet(node, dialect, input, out)
            }
        }
    }

    /// A run of commands under one identity.
    fn serve(
        &mut self,
        node: &Node,
        principal: &Principal,
        input: &[u8],
        budget: &mut u32,
        out: &mut Output,
    ) -> (usize, Stop) {
        let mut run = Run::new(node, principal);
        let mut used = 0;
        loop {
            let Ok(gets) = self.plain_gets(node, &mut run, &input[used..], budget, out) else {
                return (used, Stop::Next(Next::Close));
            };
            used += gets;
            if *budget == 0 || out.len() >= node.limits.output_bytes_max {
                return (used, Stop::Next(Next::Again));
            }
            let rest = &input[used..];
            if rest.is_empty() {
                return (used, Stop::Next(Next::Read));
            }
            if gets > 0 && self.sasl_may_follow(rest) {
                return (used, Stop::Turn);
            }
            *budget -= 1;
            match self.parse(node, rest) {
                Parsed::Request {
                    used: request_bytes,
                    swallow,
                    request,
                } => {
                    used += request_bytes;
                    self.swallow = swallow;
                    if perform(&mut run, request, out) == Next::Close {
                        return (used, Stop::Next(Next::Close));
                    }
                    if swallow > 0 || self.sasl_may_follow(&input[used..]) {
                        return (used, Stop::Turn);
                    }
                }
                Parsed::Partial => return (used, Stop::Next(Next::Read)),
                Parsed::NeedsBlock { head, block } => {
                    let head = &rest[..head];
                    let (taken, stop) = self.await_block(node, &mut run, head, block, out);
                    return (used + taken, stop);
                }
                Parsed::KeyList { used: first, keys } => {
                    self.keys = Some(keys);
                    used += first;
                }
                Parsed::Fault {
                    used: line,
                    swallow,
                    fault,
                    form,
                } => {
                    form.write_fault(fault, out);
                    self.swallow = swallow;
                    used += line;
                    if swallow > 0 {
                        return (used, Stop::Turn);
                    }
                }
                Parsed::Close(last_word) => {
                    if let Some((fault, form)) = last_word {
                        form.write_fault(fault, out);
                    }
                    return (used, Stop::Next(Next::Close));
                }
            }
        }
    }

    /// Carries out the plain gets at the start of `input`, and says how many bytes they were.
    fn plain_gets(
        &mut self,
        node: &Node,
        run: &mut Run<'_>,
        input: &[u8],
        budget: &mut u32,
        out: &mut Output,
    ) -> Result<usize, Revoked> {
        if self.keys.is_some() {
            return Ok(0);
        }
        let gets_of = match (self.dialect, input) {
            (Some(Dialect::Binary), _) => plain_gets::<BinaryForm<'_>>,
            (_, [b'm', ..]) => plain_gets::<MetaForm<'_>>,
            _ => plain_gets::<TextForm<'_>>,
        };
        let used = gets_of(node, run, input, budget, out)?;
        if used > 0 {
            self.scan.restart();
        }
        Ok(used)
    }

    #[inline]
    fn parse<'i>(&mut self, node: &Node, input: &'i [u8]) -> Parsed<'i> {
        if let Some(keys) = &self.keys {
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
            Some(Dialect::Binary) => binary::parse(input, &node.limits),
            _ => text::parse(input, &mut self.scan, &node.limits),
        }
    }

    #[inline]
    fn sasl_may_follow(&self, rest: &[u8]) -> bool {
        self.dialect == Some(Dialect::Binary)
            && self.door == Door::Locked
            && (rest.len() == 1 || binary_login_comes(rest))
    }

    /// Refuses in the words of the form, and swallows what belongs to the request.
    fn refuse(&mut self, form: &Form<'_>, fault: Fault, swallow: usize, out: &mut Output) {
        form.write_fault(fault, out);
        self.swallow = swallow;
    }
}

/// Carries out the plain gets of one form. A loop of its own for each, apart from all that other requests need, so that
/// what it works with stays in registers.
fn plain_gets<'i, F: PlainForm<'i>>(
    node: &Node,
    run: &mut Run<'_>,
    input: &'i [u8],
    budget: &mut u32,
    out: &mut Output,
) -> Result<usize, Revoked> {
    let mut used = 0;
    while *budget > 0 && out.len() < node.limits.output_bytes_max {
        let Some((bytes, get, form)) = F::plain_get(&input[used..]) else {
            break;
        };
        let item = run.plain_get(&get)?;
        form.write_get(item.as_ref(), out);
        *budget -= 1;
        used += bytes;
    }
    Ok(used)
}

/// [`Next::Close`] when the connection ends here.
fn perform(run: &mut Run<'_>, request: Request<'_>, out: &mut Output) -> Next {
    let Ok(reply) = run.execute(request.command) else {
        return Next::Close;
    };
    request.form.write(&reply, out);
    match reply {
        Reply::Bye => Next::Close,
        _ => Next::Read,
    }
}

/// Whether a SASL packet begins here, as far as can be seen.
#[inline]
fn binary_login_comes(input: &[u8]) -> bool {
    matches!(input, [binary::REQUEST_MAGIC, 0x20..=0x22, ..])
}

#[cfg(test)]
mod tests;
