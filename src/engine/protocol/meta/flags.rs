//! The flags behind a meta key, read once for all commands. A flag that is known anywhere is accepted everywhere.

use crate::engine::protocol::Fault;
use crate::engine::protocol::number::{signed32, unsigned, unsigned32};
use crate::engine::protocol::text::Words;
use crate::engine::storage::Exptime;

/// Words of one line, its command and key among them.
const WORDS_MAX: usize = 20;
/// No flag comes before it in ASCII; the 63 from here on are told apart.
const FIRST_LETTER: u8 = 64;
/// Bytes of an opaque behind its `O`.
const OPAQUE_BYTES_MAX: usize = 31;

/// Flags without an argument that a reply to `mg` does not name.
pub(super) const SILENT: u64 = bit_of(b'q') | bit_of(b'v');
/// Flags without an argument that change nothing in how an `mg` is carried out.
const TOLD: u64 = SILENT
    | bit_of(b'c')
    | bit_of(b'f')
    | bit_of(b'h')
    | bit_of(b'k')
    | bit_of(b'l')
    | bit_of(b's')
    | bit_of(b't');

/// The bit of a letter among [`Flags::parse`]'s and [`told_flags`]'s.
#[inline]
pub(super) const fn bit_of(letter: u8) -> u64 {
    1 << (letter - FIRST_LETTER)
}

/// The flags at the start of `text`, which begins behind a key, that only say what to tell: their bits and their
/// bytes. Stops before any other, and before one that comes again.
#[inline(always)]
pub(super) fn told_flags(text: &[u8]) -> (u64, usize) {
    let (mut letters, mut bytes) = (0, 0);
    while let [b' ', letter @ b'c'..=b'v', b' ' | b'\r', ..] = text[bytes..]
        && TOLD & !letters & bit_of(letter) != 0
    {
        letters |= bit_of(letter);
        bytes += 2;
    }
    (letters, bytes)
}

/// What the flags of one line say.
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
    pub recache_below_secs: Option<u32>,
    pub cas: Option<u64>,
    pub new_cas: Option<u64>,
    pub initial: u64,
    pub delta: Option<u64>,
    /// The character behind `M`, or 0 behind a bare one.
    pub mode: Option<u8>,
}

impl Flags {
    /// Reads `words`; `before` words of the line came earlier. A wrong letter or a repeated one ends the reading;
    /// a wrong number is told only when nothing worse follows, as in memcached.
    #[inline]
    pub fn parse(words: Words<'_>, before: usize) -> Result<Flags, Fault> {
        // A word takes two bytes with its blank, so most lines are too short to hold too many.
        let words_max = words.rest().len().div_ceil(2);
        if words_max + before > WORDS_MAX && words.count() + before > WORDS_MAX {
            return Err(Fault::FlagsTooLong);
        }
        let mut flags = Flags::default();
        let mut seen = 0u64;
        let mut wrong = None;
        for word in words {
            let (&letter, argument) = word.split_first().unwrap_or((&0, &[]));
            let Some(place @ 0..63) = letter.checked_sub(FIRST_LETTER) else {
                let no_flag = letter < FIRST_LETTER;
                return Err(if no_flag {
                    Fault::InvalidFlag
                } else {
                    Fault::DuplicateFlag
                });
            };
            if seen & (1 << place) != 0 {
                return Err(Fault::DuplicateFlag);
            }
            seen |= 1 << place;
            match flags.take(letter, argument) {
                Ok(()) => {}
                Err(Fault::InvalidFlag) => return Err(Fault::InvalidFlag),
                Err(fault) => wrong = Some(fault),
            }
        }
        wrong.map_or(Ok(flags), Err)
    }

    #[inline]
    fn take(&mut self, letter: u8, argument: &[u8]) -> Result<(), Fault> {
        match letter {
            b'b' => self.base64 = true,
            b'q' => self.quiet = true,
            b'v' => self.value = true,
            b'u' => self.no_bump = true,
            b'I' => self.invalidate = true,
            b'x' => self.empty = true,
            b'F' => self.client_flags = unsigned32(argument).ok_or(Fault::BadFormat)?,
            b'N' => self.vivify = Some(life(argument)?),
            b'T' => self.exptime = Some(life(argument)?),
            b'R' => {
                let secs = signed32(argument).ok_or(Fault::BadToken)?;
                self.recache_below_secs = Some(u32::try_from(secs).unwrap_or(0));
            }
            b'C' => self.cas = Some(unsigned(argument).ok_or(Fault::BadToken)?),
            b'E' => self.new_cas = Some(unsigned(argument).ok_or(Fault::BadToken)?),
            b'J' => self.initial = unsigned(argument).ok_or(Fault::BadInitial)?,
            b'D' => self.delta = Some(unsigned(argument).ok_or(Fault::BadDeltaFlag)?),
            b'M' => self.mode = Some(argument.first().copied().unwrap_or(0)),
            b'O' if argument.len() > OPAQUE_BYTES_MAX => return Err(Fault::OpaqueTooLong),
            // Asked for in the reply, or a hint to proxies.
            b'O' | b'P' | b'L' | b'k' | b's' | b'c' | b'f' | b't' | b'h' | b'l' => {}
            _ => return Err(Fault::InvalidFlag),
        }
        Ok(())
    }
}

fn life(argument: &[u8]) -> Result<Exptime, Fault> {
    let number = signed32(argument).ok_or(Fault::BadToken)?;
    Ok(Exptime::from_text(i64::from(number)))
}
