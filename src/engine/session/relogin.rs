//! Logins of text clients that are logged in already.
//!
//! A client may come by certificate and then send the password that its library was given, as `set` or `ms`. Stored as an
//! item, the password could be read by everybody who may read the cache. So a `set` or `ms` is a login if its key, or the
//! first word of its block, is a user name of the installation, on whatever node its cache is. Whatever comes of it, nothing
//! is stored.
//!
//! Stores are frequent and such logins are not. So [`Usernames`](crate::engine::directory::Usernames) tells almost all
//! stores apart, most by the lengths of key and first word alone.

use super::login::Attempt;
use super::{ClientSession, LoginMode, Next, Stop};
use crate::engine::protocol::meta::MetaForm;
use crate::engine::protocol::text::credential_in;
use crate::engine::protocol::{Command, Form, Output, Parsed, ProtocolError, Reply, Request};
use crate::engine::state::EngineState;

/// Key and block of a store. The block of one that is too large is not kept.
struct Stored<'r> {
    key: &'r [u8],
    block: &'r [u8],
}

impl ClientSession {
    /// Whether what was parsed is a login of a client that is logged in.
    #[inline(always)]
    pub(super) fn logs_in(&self, engine: &EngineState, parsed: &Parsed<'_>) -> bool {
        matches!(parsed, Parsed::Request { request, .. } if self.is_login(engine, request))
    }

    /// Whether the request of a client that is logged in is a login.
    // Inlined, and no reference to the request leaves it: the request would be copied once more for each store.
    #[inline(always)]
    pub(super) fn is_login(&self, engine: &EngineState, request: &Request<'_>) -> bool {
        if self.login_mode == LoginMode::Open {
            return false;
        }
        let stored = match &request.command {
            Command::Store { key, request } => Stored {
                key,
                block: request.value.as_slice(),
            },
            Command::StoreTooLarge { key, .. } => Stored { key, block: &[] },
            _ => return false,
        };
        let names = engine.directory.names();
        (names.may_be_name(stored.key) || names.may_begin(stored.block))
            && may_log_in(request)
            && names_user(engine, stored)
    }

    /// Carries out the login at the start of `input`. It may name another credential of the same cache, and no other
    /// cache: the client's other requests go on to this one.
    #[cold]
    pub(super) fn login_again(
        &mut self,
        engine: &EngineState,
        input: &[u8],
        out: &mut Output,
    ) -> (usize, Stop) {
        let Parsed::Request {
            used,
            swallow,
            request,
        } = self.parse(engine, input)
        else {
            return (0, Stop::Next(Next::Close));
        };
        self.swallow = swallow;
        (used, self.log_in_by(engine, &request, out))
    }

    #[cold]
    pub(super) fn log_in_by(
        &mut self,
        engine: &EngineState,
        request: &Request<'_>,
        out: &mut Output,
    ) -> Stop {
        match self.try_again(engine, request) {
            Ok(reply) => {
                request.form.write(&reply, out);
                Stop::Redispatch
            }
            Err(ProtocolError::TooManyConnections) => {
                let form = Form::Meta(MetaForm::bare());
                form.write_error(ProtocolError::TooManyConnections, out);
                Stop::Next(Next::Close)
            }
            Err(error) => self.refuse_login(engine, &request.form, error, out),
        }
    }

    /// Refuses a login whose block is so long that it was not even received.
    pub(super) fn refuse_long_login(
        &mut self,
        engine: &EngineState,
        form: &Form<'_>,
        out: &mut Output,
    ) -> Stop {
        self.drop_identity();
        self.refuse_login(engine, form, ProtocolError::LoginTooLong, out)
    }

    fn refuse_login(
        &mut self,
        engine: &EngineState,
        form: &Form<'_>,
        error: ProtocolError,
        out: &mut Output,
    ) -> Stop {
        form.write_error(error, out);
        if error != ProtocolError::LoginFailed {
            self.note_malformed(engine);
        }
        self.count_failure(engine)
    }

    fn try_again(
        &mut self,
        engine: &EngineState,
        request: &Request<'_>,
    ) -> Result<Reply<'static>, ProtocolError> {
        let cache = self.account().map(|account| account.tenancy.cache);
        self.drop_identity();
        let Command::Store { key, request } = &request.command else {
            return Err(ProtocolError::LoginTooLong);
        };
        let block = request.value.as_slice();
        if block.len() > engine.limits.login_block_bytes_max {
            return Err(ProtocolError::LoginTooLong);
        }
        let (username, password) = credential_in(key, block);
        if username.is_empty() || password.is_empty() {
            return Err(ProtocolError::BadLoginFormat);
        }
        match self.attempt(engine, username, password, cache) {
            Attempt::LoggedIn => Ok(Reply::Stored {
                cas: 0,
                value_bytes: block.len() as u32,
            }),
            Attempt::Failed => Err(ProtocolError::LoginFailed),
            Attempt::NoSlot => Err(ProtocolError::TooManyConnections),
        }
    }
}

/// Whether a store is of the kind that logs in.
#[inline(always)]
fn may_log_in(request: &Request<'_>) -> bool {
    match (&request.form, &request.command) {
        (Form::Meta(_), _) => true,
        // Of the classic commands `set` alone removes the old value.
        (Form::Text(_), Command::Store { request, .. }) => request.removes_old,
        (Form::Text(_), Command::StoreTooLarge { removes_old, .. }) => *removes_old,
        _ => false,
    }
}

#[cold]
fn names_user(engine: &EngineState, stored: Stored<'_>) -> bool {
    let known = |name: &[u8]| engine.directory.names().contains(name);
    known(stored.key) || first_word(stored.block).is_some_and(known)
}

/// The first word of a block that has several.
fn first_word(block: &[u8]) -> Option<&[u8]> {
    memchr::memchr(b' ', block).map(|blank| &block[..blank])
}
