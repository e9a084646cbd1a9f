//! From stranger to client.

use std::sync::Arc;

use super::{Next, Session, Stop};
use crate::engine::auth::{Account, Verdict, plain_parts};
use crate::engine::events::EngineEvent;
use crate::engine::execute::Principal;
use crate::engine::node::{Full, Node};
use crate::engine::protocol::binary::{self, BinaryForm, SaslParsed, SaslRequest};
use crate::engine::protocol::meta::MetaForm;
use crate::engine::protocol::text::{LoginLine, TextForm, parse_login};
use crate::engine::protocol::{Command, Dialect, Fault, Form, Output, Parsed, Reply};

const MECHANISM: &[u8] = b"PLAIN";

/// How far a login has come. The identity itself stands in the session, and only after a success.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Login {
    failures: u8,
    /// PLAIN was begun without its data, which a step must bring.
    awaits_data: bool,
}

/// What an attempt led to.
enum Attempt {
    In,
    Failed,
    /// Right, but the cache has no connection left.
    Full,
}

impl Session {
    /// One request of somebody who has not logged in.
    pub(super) fn greet(
        &mut self,
        node: &Node,
        dialect: Dialect,
        input: &[u8],
        out: &mut Output,
    ) -> (usize, Stop) {
        match dialect {
            Dialect::Text => self.greet_text(node, input, out),
            Dialect::Binary => self.greet_binary(node, input, out),
        }
    }

    fn greet_text(&mut self, node: &Node, input: &[u8], out: &mut Output) -> (usize, Stop) {
        let line_form = Form::Text(TextForm::line(false));
        match parse_login(input, &mut self.scan, &node.limits) {
            LoginLine::Partial => (0, Stop::Next(Next::Read)),
            LoginLine::Close => (0, Stop::Next(Next::Close)),
            LoginLine::Stranger { used, swallow } => {
                self.refuse(&line_form, Fault::Unauthenticated, swallow, out);
                (used, Stop::Turn)
            }
            LoginLine::BadAttempt {
                used,
                swallow,
                fault,
            } => {
                self.refuse(&line_form, fault, swallow, out);
                (used, self.count_failure(node))
            }
            LoginLine::Attempt {
                used,
                username,
                password,
                meta,
            } => match self.attempt(node, username, password) {
                Attempt::In => {
                    out.push(if meta { b"HD\r\n" } else { b"STORED\r\n" });
                    (used, Stop::Turn)
                }
                Attempt::Failed => {
                    line_form.write_fault(Fault::LoginFailed, out);
                    (used, self.count_failure(node))
                }
                Attempt::Full => {
                    let form = Form::Meta(MetaForm::bare());
                    form.write_fault(Fault::TooManyConnections, out);
                    (used, Stop::Next(Next::Close))
                }
            },
        }
    }

    /// SASL packets went another way; what is left to strangers is `version` and `quit`.
    fn greet_binary(&mut self, node: &Node, input: &[u8], out: &mut Output) -> (usize, Stop) {
        let close = |used| (used, Stop::Next(Next::Close));
        let Some(header) = binary::Header::read(input) else {
            return match input.first() {
                Some(&binary::REQUEST_MAGIC) => (0, Stop::Next(Next::Read)),
                _ => close(0),
            };
        };
        let form = BinaryForm::of(&header);
        let opcode = binary::Opcode::of_byte(header.opcode).map(|(opcode, _)| opcode);
        if header.magic != binary::REQUEST_MAGIC {
            return close(0);
        }
        if header.value_bytes().is_none() {
            binary::write_fault(&form, Fault::UnknownCommand, out);
            return close(0);
        }
        if !opcode.is_some_and(binary::Opcode::is_for_strangers) {
            binary::write_fault(&form, Fault::Unauthenticated, out);
            return close(0);
        }
        match binary::parse(input, &node.limits) {
            Parsed::Partial => (0, Stop::Next(Next::Read)),
            Parsed::Request { used, request, .. } => {
                if matches!(request.command, Command::Version) {
                    request.form.write(&Reply::Version, out);
                    return (used, Stop::Turn);
                }
                request.form.write(&Reply::Bye, out);
                close(used)
            }
            _ => {
                binary::write_fault(&form, Fault::Invalid, out);
                close(0)
            }
        }
    }

    /// One SASL packet, from a stranger or from a client that logs in anew.
    pub(super) fn sasl(&mut self, node: &Node, input: &[u8], out: &mut Output) -> (usize, Stop) {
        let (used, request, form) = match binary::parse_sasl(input, &node.limits) {
            SaslParsed::Partial => return (0, Stop::Next(Next::Read)),
            SaslParsed::Malformed => return malformed(input, out),
            SaslParsed::Packet {
                used,
                request,
                form,
            } => (used, request, form),
        };
        match request {
            SaslRequest::List => {
                binary::write_text(&form, MECHANISM, out);
                (used, Stop::Turn)
            }
            SaslRequest::NameTooLong { swallow } => {
                self.leave();
                self.refuse(&Form::Binary(form), Fault::Invalid, swallow, out);
                (used, self.count_failure(node))
            }
            SaslRequest::DataTooLong { swallow } => {
                self.leave();
                self.refuse(&Form::Binary(form), Fault::LoginFailed, swallow, out);
                (used, self.count_failure(node))
            }
            SaslRequest::Auth { mechanism, data } => {
                self.leave();
                if mechanism == MECHANISM && data.is_empty() {
                    self.login.awaits_data = true;
                    binary::write_challenge(&form, out);
                    return (used, Stop::Turn);
                }
                let known = mechanism == MECHANISM;
                (used, self.plain(node, known.then_some(data), &form, out))
            }
            SaslRequest::Step { mechanism, data } => {
                let begun = std::mem::take(&mut self.login.awaits_data);
                self.leave();
                let known = begun && mechanism == MECHANISM;
                (used, self.plain(node, known.then_some(data), &form, out))
            }
        }
    }

    /// The data of PLAIN; `None` fails whatever it holds.
    fn plain(
        &mut self,
        node: &Node,
        data: Option<&[u8]>,
        form: &BinaryForm<'_>,
        out: &mut Output,
    ) -> Stop {
        let parts = data.and_then(plain_parts);
        let attempt = match parts {
            Some((username, password)) => self.attempt(node, username, password),
            None => Attempt::Failed,
        };
        match attempt {
            Attempt::In => {
                binary::write_text(form, b"Authenticated", out);
                Stop::Turn
            }
            Attempt::Failed => {
                binary::write_fault(form, Fault::LoginFailed, out);
                self.count_failure(node)
            }
            Attempt::Full => {
                binary::write_fault(form, Fault::TooManyConnections, out);
                Stop::Next(Next::Close)
            }
        }
    }

    /// A login begins: whoever was here before is gone, whatever becomes of it.
    fn leave(&mut self) {
        self.principal = None;
        self.login.awaits_data = false;
    }

    fn attempt(&mut self, node: &Node, username: &[u8], password: &[u8]) -> Attempt {
        self.leave();
        let thread = usize::from(self.thread);
        let account = match node.authenticator.verify(username, password) {
            Verdict::Accepted(account) => account,
            Verdict::WrongPassword(account) => {
                account.tenancy.traffic(thread).login_failed();
                return Attempt::Failed;
            }
            Verdict::Unknown => return Attempt::Failed,
        };
        match self.admit(node, account) {
            Ok(()) => Attempt::In,
            Err(Full) => Attempt::Full,
        }
    }

    /// Lets in a client that has proved who it is.
    ///
    /// # Errors
    /// When the cache has all the connections it may have.
    pub fn admit(&mut self, node: &Node, account: Arc<Account>) -> Result<(), Full> {
        let seat = node.seat(account)?;
        let (account, now) = (seat.account(), node.clock.now());
        let thread = usize::from(self.thread);
        seat.tenancy().traffic(thread).logged_in();
        account.note_login(now, self.remote);
        if let (Some(_), Some(username)) = (account.login_gate.pass(1, now), &account.username) {
            node.sink.record(EngineEvent::LoggedIn {
                cache: account.tenancy.cache,
                username: username.clone(),
                from: self.remote,
                at: now,
            });
        }
        self.principal = Some(Principal::new(seat, self.remote));
        Ok(())
    }

    fn count_failure(&mut self, node: &Node) -> Stop {
        self.login.failures = self.login.failures.saturating_add(1);
        if self.login.failures >= node.limits.login_failures_max {
            Stop::Next(Next::Close)
        } else {
            Stop::Turn
        }
    }
}

/// A SASL opcode in a packet whose lengths do not fit.
fn malformed(input: &[u8], out: &mut Output) -> (usize, Stop) {
    if let Some(header) = binary::Header::read(input) {
        let fault = match header.value_bytes() {
            Some(_) => Fault::Invalid,
            None => Fault::UnknownCommand,
        };
        binary::write_fault(&BinaryForm::of(&header), fault, out);
    }
    (0, Stop::Next(Next::Close))
}
