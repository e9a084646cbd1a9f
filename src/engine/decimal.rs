//! Numbers as decimal text, without an allocation.

use std::borrow::Cow;

/// Digits of `u64::MAX`.
const DIGITS_MAX: usize = 20;

/// A number in decimal.
#[derive(Clone, Copy, Debug)]
pub(super) struct Decimal {
    /// The digits, then blanks.
    text: [u8; DIGITS_MAX],
    digits: usize,
}

impl Decimal {
    pub fn of(number: u64) -> Decimal {
        let mut right = [b' '; DIGITS_MAX];
        let mut at = DIGITS_MAX;
        let mut rest = number;
        loop {
            at -= 1;
            right[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        let mut text = [b' '; DIGITS_MAX];
        let digits = DIGITS_MAX - at;
        text[..digits].copy_from_slice(&right[at..]);
        Decimal { text, digits }
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.text[..self.digits]
    }

    /// The digits, padded with blanks to at least `bytes_min` bytes.
    pub fn padded(&self, bytes_min: usize) -> Cow<'_, [u8]> {
        if bytes_min > DIGITS_MAX {
            let mut long = self.as_bytes().to_vec();
            long.resize(bytes_min, b' ');
            return Cow::Owned(long);
        }
        Cow::Borrowed(&self.text[..self.digits.max(bytes_min)])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn digits_are_those_of_the_standard_library(number in any::<u64>(), shift in 0u32..64, width in 0usize..40) {
            let number = number >> shift;
            let decimal = Decimal::of(number);
            let plain = number.to_string();
            prop_assert_eq!(decimal.as_bytes(), plain.as_bytes());
            let padded = format!("{number:<width$}");
            prop_assert_eq!(&*decimal.padded(width), padded.as_bytes());
        }
    }
}
