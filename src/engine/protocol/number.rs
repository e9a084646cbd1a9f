//! Decimal numbers of the protocol.

use crate::engine::decimal::Decimal;

/// Parses an unsigned decimal of at most 64 bits: digits only, at least one.
#[inline]
pub fn unsigned(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 20 {
        return None;
    }
    let mut number = 0u64;
    for &byte in text {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number = number.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    Some(number)
}

/// Parses an unsigned decimal of at most 32 bits.
#[inline]
pub fn unsigned32(text: &[u8]) -> Option<u32> {
    unsigned(text).and_then(|number| u32::try_from(number).ok())
}

/// Parses a signed decimal of at most 63 bits and sign.
#[inline]
pub fn signed(text: &[u8]) -> Option<i64> {
    let (digits, sign) = match text.split_first() {
        Some((b'-', digits)) => (digits, -1),
        _ => (text, 1),
    };
    let magnitude = i64::try_from(unsigned(digits)?).ok()?;
    Some(sign * magnitude)
}

/// Parses a signed decimal of at most 32 bits.
#[inline]
pub fn signed32(text: &[u8]) -> Option<i32> {
    signed(text).and_then(|number| i32::try_from(number).ok())
}

/// Parses the length of a data block: 0 to 2^31 - 3, so that block and line end together fit a signed 32-bit number, as in
/// memcached.
#[inline]
pub fn block_length(text: &[u8]) -> Option<usize> {
    const BLOCK_BYTES_MAX: u64 = (1 << 31) - 3;
    unsigned(text)
        .filter(|&length| length <= BLOCK_BYTES_MAX)
        .and_then(|length| usize::try_from(length).ok())
}

/// Appends `number` in decimal.
pub fn push(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(Decimal::of(number).as_bytes());
}

/// Appends `before`, the number and `behind`. Numbers below 10,000, as most flags and lengths are, are written together
/// with the texts in one copy of a few bytes.
#[inline(always)]
pub fn push_between(before: &[u8], number: u64, behind: &[u8], out: &mut Vec<u8>) {
    match number {
        0..10 => push_joined([before, &[b'0' + number as u8], behind], out),
        10..100 => push_joined([before, &two_digits(number), behind], out),
        100..1000 => {
            let [tens, ones] = two_digits(number % 100);
            let digits = [b'0' + (number / 100) as u8, tens, ones];
            push_joined([before, &digits, behind], out);
        }
        1000..10_000 => {
            let [[a, b], [c, d]] = [number / 100, number % 100].map(two_digits);
            push_joined([before, &[a, b, c, d], behind], out);
        }
        _ => {
            out.extend_from_slice(before);
            push(out, number);
            out.extend_from_slice(behind);
        }
    }
}

/// Two digits of a number below 100.
#[inline(always)]
fn two_digits(number: u64) -> [u8; 2] {
    let number = number as u8;
    [b'0' + number / 10, b'0' + number % 10]
}

/// Appends three parts. Their lengths are constants where this is inlined, so the copy is a few stores.
#[inline(always)]
fn push_joined(parts: [&[u8]; 3], out: &mut Vec<u8>) {
    let mut joined = [0; 8];
    let mut end = 0;
    for part in parts {
        joined[end..end + part.len()].copy_from_slice(part);
        end += part.len();
    }
    out.extend_from_slice(&joined[..end]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_digits_are_numbers() {
        assert_eq!(unsigned(b"0"), Some(0));
        assert_eq!(unsigned(b"007"), Some(7));
        assert_eq!(unsigned(b"18446744073709551615"), Some(u64::MAX));
        for bad in [
            &b""[..],
            b"-1",
            b"+1",
            b"1a",
            b"1.5",
            b" 1",
            b"18446744073709551616",
        ] {
            assert_eq!(unsigned(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn exptimes_are_signed_32_bits() {
        assert_eq!(signed32(b"-1"), Some(-1));
        assert_eq!(signed32(b"2147483647"), Some(i32::MAX));
        assert_eq!(signed32(b"-2147483648"), Some(i32::MIN));
        for bad in [&b"2147483648"[..], b"-2147483649", b"--1", b"-", b"x"] {
            assert_eq!(signed32(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn block_lengths_stop_below_two_gibibytes() {
        assert_eq!(block_length(b"2147483645"), Some(2_147_483_645));
        for bad in [&b"2147483646"[..], b"4294967296", b"-1"] {
            assert_eq!(block_length(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn numbers_are_written_without_padding() {
        for number in (0..20_000).chain([12_345_678, u64::MAX]) {
            let mut out = Vec::new();
            push(&mut out, number);
            assert_eq!(out, number.to_string().into_bytes());
            push_between(b" ", number, b"\r\n", &mut out);
            assert_eq!(out, format!("{number} {number}\r\n").into_bytes());
        }
    }
}
