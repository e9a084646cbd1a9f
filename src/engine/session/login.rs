//! Login: what a client may send before it, and what a login changes.

use std::sync::Arc;

use super::{ClientSession, Next, Stop};
use crate::domain::CacheId;
use crate::engine::auth::{Account, Verdict, sasl_plain_parts};
use crate::engine::client_verifier::RefusedCertificate;
use crate::engine::events::EngineEvent;
use crate::engine::execute::Principal;
use crate::engine::protocol::binary::{self, BinaryForm, SaslParsed, SaslRequest};
use crate::engine::protocol::meta::MetaForm;
use crate::engine::protocol::text::{LoginLine, TextForm, parse_login};
use crate::engine::protocol::{Command, Dialect, Form, Output, Parsed, ProtocolError, Reply};
use crate::engine::state::{EngineState, TooManyConnections};

const MECHANISM: &[u8] = b"PLAIN";

/// The progress of a login. The identity itself is in the session, and only after a success.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Login {
    failures: u8,
    /// Requests since the start, or since the identity was dropped.
    requests: u8,
    /// SASL AUTH named PLAIN without data. A SASL STEP must bring the data.
    awaits_data: bool,
}

/// The result of an attempt.
pub(super) enum Attempt {
    LoggedIn,
    Failed,
    /// The credential is right, but the cache has no connection slot left.
    NoSlot,
}

impl ClientSession {
    /// Handles one request of a client that has not logged in.
    pub(super) fn before_login(
        &mut self,
        engine: &EngineState,
        dialect: Dialect,
        input: &[u8],
        out: &mut Output,
    ) -> (usize, Stop) {
        match dialect {
            Dialect::Text => self.text_before_login(engine, input, out),
            Dialect::Binary => self.binary_before_login(engine, input, out),
        }
    }

    fn text_before_login(
        &mut self,
        engine: &EngineState,
        input: &[u8],
        out: &mut Output,
    ) -> (usize, Stop) {
        let line_form = Form::Text(TextForm::line(false));
        match parse_login(input, &mut self.scan, &engine.limits) {
            LoginLine::Partial => (0, Stop::Next(Next::Read)),
            LoginLine::Close => (0, Stop::Next(Next::Close)),
            LoginLine::TooLong => {
                line_form.write_error(ProtocolError::LineTooLong, out);
                (0, Stop::Next(Next::Close))
            }
            LoginLine::NoLogin { used, swallow } => {
                self.refuse(&line_form, ProtocolError::Unauthenticated, swallow, out);
                (used, Stop::Redispatch)
            }
            LoginLine::BadAttempt {
                used,
                swallow,
                error,
            } => {
                self.refuse(&line_form, error, swallow, out);
                (used, self.count_malformed(engine))
            }
            LoginLine::Attempt {
                used,
                username,
                password,
                meta,
            } => match self.attempt(engine, username, password, None) {
                Attempt::LoggedIn => {
                    out.push(if meta { b"HD\r\n" } else { b"STORED\r\n" });
                    (used, Stop::Redispatch)
                }
                Attempt::Failed => {
                    line_form.write_error(ProtocolError::LoginFailed, out);
                    (used, self.count_failure(engine))
                }
                Attempt::NoSlot => {
                    let form = Form::Meta(MetaForm::bare());
                    form.write_error(ProtocolError::TooManyConnections, out);
                    (used, Stop::Next(Next::Close))
                }
            },
        }
    }

    /// SASL packets are handled by [`ClientSession::sasl`]. Beside them only `version` and `quit` are served before
    /// login.
    fn binary_before_login(
        &mut self,
        engine: &EngineState,
        input: &[u8],
        out: &mut Output,
    ) -> (usize, Stop) {
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
            binary::write_error(&form, ProtocolError::UnknownCommand, out);
            return close(0);
        }
        if !opcode.is_some_and(binary::Opcode::is_allowed_before_login) {
            binary::write_error(&form, ProtocolError::Unauthenticated, out);
            return close(0);
        }
        match binary::parse(input, &engine.limits) {
            Parsed::Partial => (0, Stop::Next(Next::Read)),
            Parsed::Request { used, request, .. } => {
                if matches!(request.command, Command::Version) {
                    request.form.write(&Reply::Version, out);
                    return (used, Stop::Redispatch);
                }
                request.form.write(&Reply::Bye, out);
                close(used)
            }
            _ => {
                binary::write_error(&form, ProtocolError::Invalid, out);
                close(0)
            }
        }
    }

    /// Handles one SASL packet. A client that has logged in may log in anew.
    pub(super) fn sasl(
        &mut self,
        engine: &EngineState,
        input: &[u8],
        out: &mut Output,
    ) -> (usize, Stop) {
        let (used, request, form) = match binary::parse_sasl(input, &engine.limits) {
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
                (used, Stop::Redispatch)
            }
            SaslRequest::NameTooLong { swallow } => {
                self.drop_identity();
                self.refuse(&Form::Binary(form), ProtocolError::Invalid, swallow, out);
                (used, self.count_malformed(engine))
            }
            SaslRequest::DataTooLong { swallow } => {
                self.drop_identity();
                self.refuse(
                    &Form::Binary(form),
                    ProtocolError::LoginFailed,
                    swallow,
                    out,
                );
                (used, self.count_malformed(engine))
            }
            SaslRequest::Auth { mechanism, data } => {
                self.drop_identity();
                if mechanism == MECHANISM && data.is_empty() {
                    self.login.awaits_data = true;
                    binary::write_challenge(&form, out);
                    return (used, Stop::Redispatch);
                }
                let known = mechanism == MECHANISM;
                (
                    used,
                    self.sasl_plain(engine, known.then_some(data), &form, out),
                )
            }
            SaslRequest::Step { mechanism, data } => {
                let begun = std::mem::take(&mut self.login.awaits_data);
                self.drop_identity();
                let known = begun && mechanism == MECHANISM;
                (
                    used,
                    self.sasl_plain(engine, known.then_some(data), &form, out),
                )
            }
        }
    }

    /// Checks the data of SASL PLAIN. `None` is a failed attempt.
    fn sasl_plain(
        &mut self,
        engine: &EngineState,
        data: Option<&[u8]>,
        form: &BinaryForm<'_>,
        out: &mut Output,
    ) -> Stop {
        let parts = data.and_then(sasl_plain_parts);
        let attempt = match parts {
            Some((username, password)) => self.attempt(engine, username, password, None),
            None => {
                self.note_malformed(engine);
                Attempt::Failed
            }
        };
        match attempt {
            Attempt::LoggedIn => {
                binary::write_text(form, b"Authenticated", out);
                Stop::Redispatch
            }
            Attempt::Failed => {
                binary::write_error(form, ProtocolError::LoginFailed, out);
                self.count_failure(engine)
            }
            Attempt::NoSlot => {
                binary::write_error(form, ProtocolError::TooManyConnections, out);
                Stop::Next(Next::Close)
            }
        }
    }

    /// Answers with an error, and drops the bytes that still belong to the request.
    fn refuse(&mut self, form: &Form<'_>, error: ProtocolError, swallow: usize, out: &mut Output) {
        form.write_error(error, out);
        self.swallow = swallow;
    }

    /// A login attempt ends the identity of before, whatever the result of the attempt (security.md MC-4).
    pub(super) fn drop_identity(&mut self) {
        self.principal = None;
        self.login.awaits_data = false;
    }

    /// `within` names the only cache that the client may log in to, if there is one.
    pub(super) fn attempt(
        &mut self,
        engine: &EngineState,
        username: &[u8],
        password: &[u8],
        within: Option<CacheId>,
    ) -> Attempt {
        self.drop_identity();
        let thread = usize::from(self.thread);
        let allowed = |account: &Account| within.is_none_or(|only| account.tenancy.cache == only);
        let account = match engine.authenticator.verify(username, password) {
            Verdict::Accepted(account) if allowed(&account) => account,
            Verdict::Accepted(account) | Verdict::WrongPassword(account) => {
                engine.login_refused(Some(&account), username, self.remote, thread);
                return Attempt::Failed;
            }
            Verdict::Unknown => {
                engine.login_refused(None, username, self.remote, thread);
                return Attempt::Failed;
            }
        };
        match self.admit(engine, account) {
            Ok(()) => Attempt::LoggedIn,
            Err(TooManyConnections) => Attempt::NoSlot,
        }
    }

    /// Logs in a client that has proved who it is.
    ///
    /// # Errors
    /// When the cache has no connection slot left.
    pub fn admit(
        &mut self,
        engine: &EngineState,
        account: Arc<Account>,
    ) -> Result<(), TooManyConnections> {
        let slot = engine.take_slot(account)?;
        let (account, now) = (slot.account(), engine.clock.now());
        let thread = usize::from(self.thread);
        slot.tenancy().traffic(thread).logged_in();
        account.note_login(now, self.remote);
        if let (Some(_), Some(username)) = (account.login_events.note(1, now), &account.username) {
            engine.sink.record(EngineEvent::LoggedIn {
                cache: account.tenancy.cache,
                username: username.clone(),
                from: self.remote,
                at: now,
            });
        }
        self.principal = Some(Principal::new(slot, self.remote));
        Ok(())
    }

    /// Counts a client certificate that was refused.
    pub(in crate::engine) fn certificate_refused(
        &self,
        engine: &EngineState,
        refused: &RefusedCertificate,
    ) {
        engine.certificate_refused(refused, self.remote, usize::from(self.thread));
    }

    /// Counts an attempt that is so malformed that it names nobody.
    pub(super) fn note_malformed(&self, engine: &EngineState) {
        engine.login_refused(None, b"", self.remote, usize::from(self.thread));
    }

    fn count_malformed(&mut self, engine: &EngineState) -> Stop {
        self.note_malformed(engine);
        self.count_failure(engine)
    }

    /// Counts a request of a client that has not logged in, and closes behind the last one that it may send.
    pub(super) fn last_before_login(
        &mut self,
        engine: &EngineState,
        used: usize,
        stop: Stop,
    ) -> Stop {
        if self.principal.is_some() {
            self.login.requests = 0;
            return stop;
        }
        if used > 0 {
            self.login.requests = self.login.requests.saturating_add(1);
        }
        match stop {
            Stop::Redispatch if self.login.requests >= engine.limits.login_requests_max => {
                Stop::Next(Next::Close)
            }
            stop => stop,
        }
    }

    pub(super) fn count_failure(&mut self, engine: &EngineState) -> Stop {
        self.login.failures = self.login.failures.saturating_add(1);
        if self.login.failures >= engine.limits.login_failures_max {
            Stop::Next(Next::Close)
        } else {
            Stop::Redispatch
        }
    }
}

/// Refuses a SASL packet whose lengths do not fit together.
fn malformed(input: &[u8], out: &mut Output) -> (usize, Stop) {
    if let Some(header) = binary::Header::read(input) {
        let error = match header.value_bytes() {
            Some(_) => ProtocolError::Invalid,
            None => ProtocolError::UnknownCommand,
        };
        binary::write_error(&BinaryForm::of(&header), error, out);
    }
    (0, Stop::Next(Next::Close))
}
