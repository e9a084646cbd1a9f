//! Tells most keys from user names without a look-up: a `set` on the hot path asks it for each key and block.

use crate::engine::sync::atomic::{AtomicU64, Ordering};

/// One bit for each value of the last five hexadecimal digits. With a thousand names one key in a thousand of those that
/// have the form of a user name is looked up in vain.
const BITS: usize = 1 << 20;
const WORD_BITS: usize = u64::BITS as usize;
/// User names have up to 32 characters.
const LENGTH_MAX: usize = 63;

/// The user names that were ever known here, roughly: it may take another text for one, and never misses one.
#[derive(Debug)]
pub struct NameFilter {
    /// Bit n is set when a name has n characters.
    lengths: AtomicU64,
    digits: Box<[AtomicU64]>,
}

impl Default for NameFilter {
    fn default() -> NameFilter {
        NameFilter {
            lengths: AtomicU64::new(0),
            digits: (0..BITS / WORD_BITS).map(|_| AtomicU64::new(0)).collect(),
        }
    }
}

impl NameFilter {
    pub(super) fn add(&self, name: &[u8]) {
        if let Some(bit) = bit_of(name) {
            self.digits[bit / WORD_BITS].fetch_or(1 << (bit % WORD_BITS), Ordering::Relaxed);
            let length = name.len().min(LENGTH_MAX);
            self.lengths.fetch_or(1 << length, Ordering::Relaxed);
        }
    }

    /// Whether this may be a user name.
    #[inline]
    pub fn may_be_name(&self, text: &[u8]) -> bool {
        let lengths = self.lengths.load(Ordering::Relaxed);
        lengths >> text.len().min(LENGTH_MAX) & 1 != 0 && self.has_digits(text)
    }

    /// Whether this may begin with a user name and a blank.
    #[inline]
    pub fn may_begin(&self, text: &[u8]) -> bool {
        let mut lengths = self.lengths.load(Ordering::Relaxed);
        while lengths != 0 {
            let length = lengths.trailing_zeros() as usize;
            if text.get(length) == Some(&b' ') && self.has_digits(&text[..length]) {
                return true;
            }
            lengths &= lengths - 1;
        }
        false
    }

    fn has_digits(&self, text: &[u8]) -> bool {
        bit_of(text).is_some_and(|bit| {
            let word = self.digits[bit / WORD_BITS].load(Ordering::Relaxed);
            word >> (bit % WORD_BITS) & 1 != 0
        })
    }
}

/// The bit of a text of upper-case hexadecimal digits.
fn bit_of(text: &[u8]) -> Option<usize> {
    let mut value = 0_usize;
    for &byte in text {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'A'..=b'F' => byte - b'A' + 10,
            _ => return None,
        };
        value = value << 4 | usize::from(digit);
    }
    Some(value % BITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_is_missed_and_few_others_are_taken_for_one() {
        let filter = NameFilter::default();
        assert!(!filter.may_be_name(b"4F2A90") && !filter.may_begin(b"4F2A90 x"));
        let long = "0123456789ABCDEF0123456789ABCDEF";
        for name in ["4F2A90", "000000", long] {
            filter.add(name.as_bytes());
            assert!(filter.may_be_name(name.as_bytes()));
            assert!(filter.may_begin(format!("{name} password").as_bytes()));
            assert!(!filter.may_begin(name.as_bytes()));
        }
        for other in ["4F2A91", "4f2a90", "F2A90", "user42", ""] {
            assert!(!filter.may_be_name(other.as_bytes()), "{other}");
            assert!(
                !filter.may_begin(format!("{other} x").as_bytes()),
                "{other}"
            );
        }
    }
}
