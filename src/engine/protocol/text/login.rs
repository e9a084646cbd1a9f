//! What a text client may say before it has logged in: `set` or `ms` with its credential, or `quit`.
//!
//! Two forms are understood: memcached's own, where the block is `username password` and the key means nothing,
//! and the one where the key is the user name and the block the password. Passwords hold no blank, so a blank in
//! the block tells which one it is.

use super::store::{Verb, announced_length};
use super::words::Line;
use super::{LineScan, Words};
use crate::engine::protocol::number::block_length;
use crate::engine::protocol::{Fault, Limits};

/// What the input of a stranger begins with.
#[derive(Debug, PartialEq, Eq)]
pub enum LoginLine<'a> {
    Partial,
    /// Close without a word.
    Close,
    /// An attempt of `used` bytes.
    Attempt {
        used: usize,
        username: &'a [u8],
        password: &'a [u8],
        /// Made by `ms`, which is answered `HD`.
        meta: bool,
    },
    /// An attempt that cannot be understood. Counts as a failed one.
    BadAttempt {
        used: usize,
        swallow: usize,
        fault: Fault,
    },
    /// Anything else. `swallow` more bytes belong to it.
    Stranger {
        used: usize,
        swallow: usize,
    },
}

pub fn parse_login<'a>(input: &'a [u8], scan: &mut LineScan, limits: &Limits) -> LoginLine<'a> {
    if input.len() > limits.line_bytes_max && !input[..limits.line_bytes_max].contains(&b'\n') {
        return LoginLine::Close;
    }
    let (line, used) = match scan.line(input, limits) {
        Line::Unfinished => return LoginLine::Partial,
        Line::TooLong => return LoginLine::Close,
        Line::Whole { line, used } => (line, used),
    };
    let mut words = Words::new(line);
    let word = words.next().unwrap_or_default();
    if word == b"quit" || super::parse::is_http(line) {
        return LoginLine::Close;
    }
    let meta = word == b"ms";
    let Some(length) = block_behind(word, words) else {
        return LoginLine::Stranger { used, swallow: 0 };
    };
    if !meta && word != b"set" {
        let swallow = length + 2;
        return LoginLine::Stranger { used, swallow };
    }
    if length > limits.login_block_bytes_max {
        return LoginLine::BadAttempt {
            used,
            swallow: length + 2,
            fault: Fault::LoginTooLong,
        };
    }
    let key = words.next().unwrap_or_default();
    attempt(&input[used..], used, length, key, meta)
}

/// The length of the block that the line announces, if it announces one.
fn block_behind(word: &[u8], mut words: Words<'_>) -> Option<usize> {
    if word == b"ms" {
        words.next()?;
        return block_length(words.next()?);
    }
    Verb::of_word(word)?;
    announced_length(words)
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
    let bad = |fault| LoginLine::BadAttempt {
        used,
        swallow: 0,
        fault,
    };
    if &behind[length..length + 2] != b"\r\n" {
        return bad(Fault::BadLoginEnd);
    }
    let block = &behind[..length];
    let (username, password) = match memchr::memchr(b' ', block) {
        Some(blank) => {
            let password = Words::new(&block[blank..]).next();
            (&block[..blank], password.unwrap_or_default())
        }
        None => (key, block),
    };
    if username.is_empty() || password.is_empty() {
        return bad(Fault::BadLoginFormat);
    }
    LoginLine::Attempt {
        used,
        username,
        password,
        meta,
    }
}
