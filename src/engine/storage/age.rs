//! Ages of accesses in eleven bits of the item's header.

/// Encodes seconds as four bits of exponent and seven of mantissa: exact below 256, then within 0.8 %, up to 48 days.
pub(super) const fn encode_age(secs: u32) -> u16 {
    if secs < 128 {
        return secs as u16;
    }
    let secs = if secs >= 1 << 22 { (1 << 22) - 1 } else { secs };
    let exponent = secs.ilog2() - 6;
    (exponent << 7 | (secs >> (exponent - 1)) & 127) as u16
}

pub(super) const fn decode_age(code: u16) -> u32 {
    let (exponent, mantissa) = (code as u32 >> 7, code as u32 & 127);
    if exponent == 0 {
        mantissa
    } else {
        (128 | mantissa) << (exponent - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_lose_less_than_a_hundredth() {
        for secs in (0..4_000_000).step_by(37) {
            let back = decode_age(encode_age(secs));
            assert!(back <= secs && secs - back <= secs / 100, "{secs} {back}");
        }
        assert_eq!(decode_age(encode_age(255)), 255);
        assert!(decode_age(encode_age(u32::MAX)) > 4_000_000);
    }
}
