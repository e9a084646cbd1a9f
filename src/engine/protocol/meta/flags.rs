//! Flags of meta commands. One parser reads them for all commands; as in memcached, a flag that any command has is accepted
//! by all.

use crate::engine::protocol::ProtocolError;
use crate::engine::protocol::number::{signed32, unsigned, unsigned32};
use crate::engine::protocol::text::Tokens;
use crate::engine::storage::{Exptime, FlagOrder};

/// The most tokens of one line, including command and key.
const TOKENS_MAX: usize = 20;
/// Flags are letters; this is the byte before the first one. Flags are noted as bits by their distance from it.
const FIRST_LETTER: u8 = 64;
/// The most bytes of an opaque, without its `O`.
const OPAQUE_BYTES_MAX: usize = 31;

/// Flags without an argument that a reply to `mg` does not repeat.
pub(super) const SILENT: u64 = bit_of(b'q') | bit_of(b'v');
/// Flags without an argument that change only the reply to an `mg`.
const REPLY_ONLY: u64 = SILENT
    | bit_of(b'c')
    | bit_of(b'f')
    | bit_of(b'h')
    | bit_of(b'k')
    | bit_of(b'l')
    | bit_of(b's')
    | bit_of(b't');

/// The bit of a flag.
#[inline]
pub(super) const fn bit_of(letter: u8) -> u64 {
    1 << (letter - FIRST_LETTER)
}

/// The flags at the start of `text` that change only the reply: their bits, and how many bytes they take. `text` begins
/// behind the key. Stops before any other flag and before a repeated one.
#[inline(always)]
pub(super) fn reply_flags(text: &[u8]) -> (u64, usize) {
    let (mut letters, mut bytes) = (0, 0);
    while let [b' ', letter @ b'c'..=b'v', b' ' | b'\r', ..] = text[bytes..]
        && REPLY_ONLY & !letters & bit_of(letter) != 0
    {
        letters |= bit_of(letter);
        bytes += 2;
    }
    (letters, bytes)
}

/// The parsed flags of one line.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Flags {
    pub base64: bool,
    pub quiet: bool,
    pub value: bool,
    pub no_bump: bool,
    pub invalidate: bool,
    pub empty: bool,
    pub client_flags: u32,
    pub vivify: Option<Exptime>,
    pub exptime: Option<Exptime>,
    pub recache_before: Option<Exptime>,
    pub order: FlagOrder,
    pub cas: Option<u64>,
    pub new_cas: Option<u64>,
    pub initial: u64,
    pub delta: Option<u64>,
    /// The character behind `M`, or 0 if there is none.
    pub mode: Option<u8>,
}

impl Flags {
    /// Parses flags; `before` tokens of the line came before them. An unknown or repeated flag ends parsing. A bad number is
    /// reported only if no such flag follows, as in memcached.
    #[inline]
    pub fn parse(tokens: Tokens<'_>, before: usize) -> Result<Flags, ProtocolError> {
        // A token takes at least two bytes with its blank. So most lines are too short to have too many, and the tokens
        // need not be counted.
        let tokens_max = tokens.rest().len().div_ceil(2);
        if tokens_max + before > TOKENS_MAX && tokens.count() + before > TOKENS_MAX {
            return Err(ProtocolError::FlagsTooLong);
        }
        let mut flags = Flags::default();
        let mut seen = 0u64;
        let mut wrong = None;
        for token in tokens {
            let (&letter, argument) = token.split_first().unwrap_or((&0, &[]));
            let Some(place @ 0..63) = letter.checked_sub(FIRST_LETTER) else {
                let no_flag = letter < FIRST_LETTER;
                return Err(if no_flag {
                    ProtocolError::InvalidFlag
                } else {
                    ProtocolError::DuplicateFlag
                });
            };
            if seen & (1 << place) != 0 {
                return Err(ProtocolError::DuplicateFlag);
            }
            seen |= 1 << place;
            flags.note_order(letter, seen.count_ones() as u8);
            match flags.take(letter, argument) {
                Ok(()) => {}
                Err(ProtocolError::InvalidFlag) => return Err(ProtocolError::InvalidFlag),
                Err(error) => wrong = Some(error),
            }
        }
        wrong.map_or(Ok(flags), Err)
    }

    #[inline]
    fn note_order(&mut self, letter: u8, place: u8) {
        match letter {
            b'T' => self.order.touch = place,
            b'N' => self.order.vivify = place,
            b'R' => self.order.recache = place,
            b't' => self.order.ttl = place,
            _ => {}
        }
    }

    #[inline]
    fn take(&mut self, letter: u8, argument: &[u8]) -> Result<(), ProtocolError> {
        match letter {
            b'b' => self.base64 = true,
            b'q' => self.quiet = true,
            b'v' => self.value = true,
            b'u' => self.no_bump = true,
            b'I' => self.invalidate = true,
            b'x' => self.empty = true,
            b'F' => self.client_flags = unsigned32(argument).ok_or(ProtocolError::BadFormat)?,
            b'N' => self.vivify = Some(exptime(argument)?),
            b'T' => self.exptime = Some(exptime(argument)?),
            b'R' => self.recache_before = Some(exptime(argument)?),
            b'C' => self.cas = Some(unsigned(argument).ok_or(ProtocolError::BadToken)?),
            b'E' => self.new_cas = Some(unsigned(argument).ok_or(ProtocolError::BadToken)?),
            b'J' => self.initial = unsigned(argument).ok_or(ProtocolError::BadInitial)?,
            b'D' => self.delta = Some(unsigned(argument).ok_or(ProtocolError::BadDeltaFlag)?),
            b'M' => self.mode = Some(argument.first().copied().unwrap_or(0)),
            b'O' if argument.len() > OPAQUE_BYTES_MAX => return Err(ProtocolError::OpaqueTooLong),
            // Flags of the reply, and hints to proxies.
            b'O' | b'P' | b'L' | b'k' | b's' | b'c' | b'f' | b't' | b'h' | b'l' => {}
            _ => return Err(ProtocolError::InvalidFlag),
        }
        Ok(())
    }
}

fn exptime(argument: &[u8]) -> Result<Exptime, ProtocolError> {
    let number = signed32(argument).ok_or(ProtocolError::BadToken)?;
    Ok(Exptime::from_text(i64::from(number)))
}
