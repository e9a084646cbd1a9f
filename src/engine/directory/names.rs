//! The user names that this node knows, also those of caches on other nodes. A `set` on the hot path asks for each key
//! and block whether it begins a login, so the answer takes no lock and hashes nothing.

use std::collections::HashSet;
use std::sync::OnceLock;

use arc_swap::ArcSwap;

use crate::domain::Username;
use crate::engine::sync::atomic::{AtomicU64, Ordering};

/// User names that are generated have six hexadecimal digits.
const SHORT_BYTES: usize = 6;
/// Digits that number a bit on its page; those before them number the page.
const PAGE_DIGITS: usize = 4;
const PAGES: usize = 1 << (4 * (SHORT_BYTES - PAGE_DIGITS));
const PAGE_BITS: usize = 1 << (4 * PAGE_DIGITS);
const WORD_BITS: usize = u64::BITS as usize;
/// User names have up to 32 characters.
const LENGTH_MAX: usize = 63;

/// One bit for each value of the last digits.
type Page = Box<[AtomicU64]>;

/// All user names that were known since the process began. A name is never given out twice, so one that was removed
/// means nobody else.
#[derive(Debug)]
pub struct Usernames {
    /// Bit n is set when a name has n characters.
    lengths: AtomicU64,
    /// A bit for each value of six digits. A longer name sets the bit of its last six.
    pages: Box<[OnceLock<Page>]>,
    longer: ArcSwap<HashSet<Box<[u8]>>>,
}

impl Default for Usernames {
    fn default() -> Usernames {
        Usernames {
            lengths: AtomicU64::new(0),
            pages: (0..PAGES).map(|_| OnceLock::new()).collect(),
            longer: ArcSwap::default(),
        }
    }
}

impl Usernames {
    pub fn add(&self, name: &Username) {
        let text = name.as_str().as_bytes();
        let Some((page, bit)) = place_of(text) else {
            return;
        };
        let empty_page = || (0..PAGE_BITS / WORD_BITS).map(|_| AtomicU64::new(0));
        let page = self.pages[page].get_or_init(|| empty_page().collect());
        page[bit / WORD_BITS].fetch_or(1 << (bit % WORD_BITS), Ordering::Relaxed);
        if text.len() != SHORT_BYTES && !self.longer.load().contains(text) {
            self.longer.rcu(|longer| {
                let mut longer = HashSet::clone(longer);
                longer.insert(text.into());
                longer
            });
        }
        let length = text.len().min(LENGTH_MAX);
        self.lengths.fetch_or(1 << length, Ordering::Relaxed);
    }

    /// Whether this is a user name.
    pub fn contains(&self, text: &[u8]) -> bool {
        self.may_be_name(text) && (text.len() == SHORT_BYTES || self.longer.load().contains(text))
    }

    /// Whether this may be a user name. It is one, if it has six characters.
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
        let Some((page, bit)) = place_of(text) else {
            return false;
        };
        self.pages[page].get().is_some_and(|page| {
            let word = page[bit / WORD_BITS].load(Ordering::Relaxed);
            word >> (bit % WORD_BITS) & 1 != 0
        })
    }
}

/// Page and bit of a text of upper-case hexadecimal digits.
fn place_of(text: &[u8]) -> Option<(usize, usize)> {
    let mut value = 0_usize;
    for &byte in text {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'A'..=b'F' => byte - b'A' + 10,
            _ => return None,
        };
        value = value << 4 | usize::from(digit);
    }
    Some((value / PAGE_BITS % PAGES, value % PAGE_BITS))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(names: &Usernames, name: &str) {
        names.add(&name.parse().expect("a user name"));
    }

    #[test]
    fn no_name_is_missed_and_no_other_text_is_taken_for_one() {
        let names = Usernames::default();
        assert!(!names.may_be_name(b"4F2A90") && !names.may_begin(b"4F2A90 x"));
        let long = "0123456789ABCDEF0123456789ABCDEF";
        for name in ["4F2A90", "000000", long] {
            add(&names, name);
            assert!(names.may_be_name(name.as_bytes()) && names.contains(name.as_bytes()));
            assert!(names.may_begin(format!("{name} password").as_bytes()));
            assert!(!names.may_begin(name.as_bytes()));
        }
        for other in [
            "4F2A91", "0F2A90", "4f2a90", "F2A90", "user42", "ABCDEF0", "",
        ] {
            assert!(!names.may_be_name(other.as_bytes()), "{other}");
            assert!(!names.may_begin(format!("{other} x").as_bytes()), "{other}");
        }
        // Another name of the same length and last digits is told apart when it is looked up.
        let like_long = "A123456789ABCDEF0123456789ABCDEF";
        assert!(names.may_be_name(like_long.as_bytes()) && !names.contains(like_long.as_bytes()));
    }

    /// A page has the names that differ in their last four digits alone.
    #[test]
    fn names_of_one_page_and_of_all_pages_are_told_apart() {
        let names = Usernames::default();
        let of = |number: usize| format!("{:06X}", number.wrapping_mul(0x9E_37_79) % (1 << 24));
        (0..2_000).for_each(|number| add(&names, &of(number)));
        assert!((0..2_000).all(|number| names.contains(of(number).as_bytes())));
        assert!((2_000..100_000).all(|number| !names.contains(of(number).as_bytes())));
    }
}
