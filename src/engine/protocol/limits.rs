//! Every limit of a connection, by name.

use std::time::Duration;

use super::scan::position;
use crate::engine::storage::{ITEM_BYTES_MAX, KEY_BYTES_MAX};

/// Bounds on what one client may make the engine hold or do. The defaults are the product's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A command line longer than this closes the connection, as in memcached; `get`, `gets`, `gat` and `gats`
    /// have [`Limits::key_list_bytes_max`] instead.
    pub line_bytes_max: usize,
    /// Longest line of a logged-in client that reads many keys at once.
    pub key_list_bytes_max: usize,
    /// Key and value of one item together.
    pub item_bytes_max: usize,
    /// The block of a text login, or the data of a SASL one. Longer ones are swallowed and refused.
    pub login_block_bytes_max: usize,
    /// Failed logins after which the connection is closed.
    pub login_failures_max: u8,
    /// A connection that has not logged in by then is closed. TLS handshakes count.
    pub login_deadline: Duration,
    /// Values from this size on are received straight into their own allocation.
    pub upload_bytes_min: usize,
    /// Commands executed for one connection before others get a turn.
    pub turn_commands_max: u32,
    /// No further command is executed, and nothing more is read, while this much output waits.
    pub output_bytes_max: usize,
    /// A client that takes none of its replies for this long is closed.
    pub unread_output_deadline: Duration,
    /// A client that sends nothing for this long in the middle of a request is closed. Between requests it may be
    /// silent for ever.
    pub stalled_request_deadline: Duration,
    /// A connection that ends lingers this long for the peer to take the last reply.
    pub linger: Duration,
    /// Interval of TCP keep-alive probes; a peer that answers none is closed after five.
    pub keepalive: Duration,
    /// Open connections of the whole node.
    pub connections_max: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            line_bytes_max: 2048,
            key_list_bytes_max: 4 << 20,
            item_bytes_max: ITEM_BYTES_MAX,
            login_block_bytes_max: 1024,
            login_failures_max: 3,
            login_deadline: Duration::from_secs(5),
            upload_bytes_min: 32 << 10,
            turn_commands_max: 256,
            output_bytes_max: 256 << 10,
            unread_output_deadline: Duration::from_secs(30),
            stalled_request_deadline: Duration::from_secs(300),
            linger: Duration::from_secs(1),
            keepalive: Duration::from_secs(60),
            connections_max: 100_000,
        }
    }
}

impl Limits {
    /// Whether an item of this size is refused.
    #[inline]
    pub fn is_too_large(&self, key_bytes: usize, value_bytes: usize) -> bool {
        key_bytes + value_bytes > self.item_bytes_max
    }
}

/// Whether the text dialects accept these bytes as a key: 1 to 250 of them, no control byte. Blanks cannot occur,
/// as they end a word.
#[inline]
pub fn is_text_key(key: &[u8]) -> bool {
    is_key_length(key.len()) && position(key, is_control).is_none()
}

/// The bytes that no key of the text dialects holds, and no word of a line.
#[inline(always)]
pub fn is_control(byte: u8) -> bool {
    byte < b' ' || byte == 0x7f
}

/// Keys of the binary dialect and base64 keys may hold any byte.
#[inline]
pub fn is_key_length(bytes: usize) -> bool {
    (1..=KEY_BYTES_MAX).contains(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_are_the_product_s() {
        let limits = Limits::default();
        assert_eq!(limits.login_deadline, Duration::from_secs(5));
        assert_eq!(limits.login_failures_max, 3);
        assert_eq!(limits.login_block_bytes_max, 1024);
        assert_eq!(limits.line_bytes_max, 2048);
        assert_eq!(limits.item_bytes_max, 1_048_576);
        assert_eq!(limits.keepalive, Duration::from_secs(60));
        assert!(is_key_length(1) && is_key_length(250));
        assert!(!is_key_length(0) && !is_key_length(251));
        assert!(!limits.is_too_large(1, 1_048_575));
        assert!(limits.is_too_large(1, 1_048_576));
    }

    #[test]
    fn no_control_byte_is_overlooked_wherever_it_stands() {
        for length in 1..=20 {
            for at in 0..length {
                for byte in 0..=u8::MAX {
                    for around in [b' ' + 1, b'~', 0x80, 0xff] {
                        let mut key = vec![around; length];
                        key[at] = byte;
                        assert_eq!(is_text_key(&key), byte >= b' ' && byte != 0x7f, "{key:?}");
                    }
                }
            }
        }
    }
}
