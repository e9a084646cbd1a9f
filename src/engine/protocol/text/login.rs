//! What a text client may send before it has logged in: `set` or `ms` with its credential, or `quit`.
//!
//! Two forms are understood. In memcached's own form the block is `username password` and the key means nothing. In the
//! other form the key is the user name and the block is the password. Passwords contain no blank, so a blank in the
//! block tells the two apart.

use super::store::{StorageCommand, announced_length};
use super::tokens::LineStart;
use super::{LineScan, Tokens};
use crate::engine::protocol::number::block_length;
use crate::engine::protocol::{Limits, ProtocolError};

/// What the input of a client that has not logged in begins with.
#[derive(Debug, PartialEq, Eq)]
pub enum LoginLine<'a> {
    Partial,
    /// Close without a reply.
    Close,
    /// Close after an error: the line is longer than any may be here.
    TooLong,
    /// A login attempt of `used` bytes.
    Attempt {
        used: usize,
        username: &'a [u8],
        password: &'a [u8],
        /// The attempt used `ms`, so success is answered `HD`.
        meta: bool,
    },
    /// A login attempt that cannot be understood. It counts as a failed one.
    BadAttempt {
        used: usize,
        swallow: usize,
        error: ProtocolError,
    },
    /// Anything else. `swallow` more bytes belong to it.
    NoLogin {
        used: usize,
        swallow: usize,
    },
}

pub fn parse_login<'a>(input: &'a [u8], scan: &mut LineScan, limits: &Limits) -> LoginLine<'a> {
    // Before a login lines of keys are no longer than others.
    let line_max = limits.line_bytes_max;
    if input.len() > line_max && !input[..=line_max].contains(&b'\n') {
        return LoginLine::TooLong;
    }
    let (line, used) = match scan.line(input, limits) {
        LineStart::Unfinished => return LoginLine::Partial,
        LineStart::TooLong => return LoginLine::TooLong,
        LineStart::Whole { line, used, .. } => (line, used),
    };
    let mut tokens = Tokens::new(line);
    let token = tokens.next().unwrap_or_default();
    if token == b"quit" || super::parse::is_http(line) || is_proxy_header(line) {
        return LoginLine::Close;
    }
    let meta = token == b"ms";
    let Some(length) = block_behind(token, tokens) else {
        return LoginLine::NoLogin { used, swallow: 0 };
    };
    if !meta && token != b"set" {
        let swallow = length + 2;
        return LoginLine::NoLogin { used, swallow };
    }
    if length > limits.login_block_bytes_max {
        return LoginLine::BadAttempt {
            used,
            swallow: length + 2,
            error: ProtocolError::LoginTooLong,
        };
    }
    let key = tokens.next().unwrap_or_default();
    attempt(&input[used..], used, length, key, meta)
}

/// Whether a balancer writes where the client comes from. We believe none, and nothing behind it is a request of a client
/// who knows us (security.md MC-24). Version 1 of the PROXY protocol is a line. Version 2 begins with the bytes
/// `CR LF CR LF NUL CR LF QUIT LF`, of which the third line is no client's. The first two may have been read and answered
/// before it arrives, so only that line decides.
fn is_proxy_header(line: &[u8]) -> bool {
    line.starts_with(b"PROXY ") || line == b"\0"
}

/// The length of the data block that the line announces, if it announces one.
fn block_behind(token: &[u8], mut tokens: Tokens<'_>) -> Option<usize> {
    if token == b"ms" {
        tokens.next()?;
        return block_length(tokens.next()?);
    }
    StorageCommand::of_token(token)?;
    announced_length(tokens)
}

/// User name and password in a login's key and block. Either may be empty.
pub fn credential_in<'a>(key: &'a [u8], block: &'a [u8]) -> (&'a [u8], &'a [u8]) {
    match memchr::memchr(b' ', block) {
        Some(blank) => {
            let password = Tokens::new(&block[blank..]).next();
            (&block[..blank], password.unwrap_or_default())
        }
        None => (key, block),
    }
}

fn attempt<'a>(
    behind: &'a [u8],
    head: usize,
    length: usize,
    key: &'a [u8],
    meta: bool,
) -> LoginLine<'a> {
    if behind.len() < length + 2 {
        return LoginLine::Partial;
    }
    let used = head + length + 2;
    let bad = |error| LoginLine::BadAttempt {
        used,
        swallow: 0,
        error,
    };
    if &behind[length..length + 2] != b"\r\n" {
        return bad(ProtocolError::BadLoginEnd);
    }
    let (username, password) = credential_in(key, &behind[..length]);
    if username.is_empty() || password.is_empty() {
        return bad(ProtocolError::BadLoginFormat);
    }
    LoginLine::Attempt {
        used,
        username,
        password,
        meta,
    }
}
