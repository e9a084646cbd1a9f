//! The exptime that clients send, in its three meanings (memcached's `protocol.txt`, "Expiration times").

/// The largest relative exptime: 30 days. Larger numbers are Unix times.
pub const RELATIVE_SECS_MAX: u32 = 60 * 60 * 24 * 30;

/// An exptime as the client sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exptime {
    Never,
    /// Seconds from now.
    Relative(u32),
    /// Unix seconds.
    Absolute(u64),
    /// Already past: the store succeeds and leaves no item.
    Expired,
}

impl Exptime {
    /// From the signed number of the text and meta protocols.
    pub fn from_text(number: i64) -> Exptime {
        match u64::try_from(number) {
            Err(_) => Exptime::Expired,
            Ok(secs) => Exptime::from_unsigned(secs),
        }
    }

    /// From the 32 bits of the binary protocol.
    pub fn from_binary(number: u32) -> Exptime {
        Exptime::from_unsigned(u64::from(number))
    }

    fn from_unsigned(secs: u64) -> Exptime {
        match u32::try_from(secs) {
            Ok(0) => Exptime::Never,
            Ok(secs) if secs <= RELATIVE_SECS_MAX => Exptime::Relative(secs),
            _ => Exptime::Absolute(secs),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thirty_days_divide_relative_from_absolute() {
        assert_eq!(Exptime::from_text(0), Exptime::Never);
        assert_eq!(Exptime::from_text(-1), Exptime::Expired);
        assert_eq!(
            Exptime::from_text(2_592_000),
            Exptime::Relative(RELATIVE_SECS_MAX)
        );
        assert_eq!(
            Exptime::from_binary(2_592_001),
            Exptime::Absolute(2_592_001)
        );
    }
}
