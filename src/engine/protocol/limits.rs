//! All limits of a connection.

use std::time::Duration;

use super::scan::position;
use crate::engine::storage::{ITEM_BYTES_MAX, KEY_BYTES_MAX};

/// Limits on what one client may make the engine hold or do. The defaults are those of the product.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A longer command line closes the connection, after an error. `get`, `gets`, `gat` and `gats` have
    /// [`Limits::key_list_bytes_max`] instead.
    pub line_bytes_max: usize,
    /// The longest line of a `get`, `gets`, `gat` or `gats`, if the tenant has room for it.
    pub key_list_bytes_max: usize,
    /// The largest sum of key and value bytes of one item.
    pub item_bytes_max: usize,
    /// The data block of a text login, or the data of a SASL login. Longer ones are dropped and refused.
    pub login_block_bytes_max: usize,
    /// Failed logins after which the connection is closed.
    pub login_failures_max: u8,
    /// A connection that has not logged in within this time is closed. The TLS handshake is part of it.
    pub login_deadline: Duration,
    /// Requests of a client that has not logged in, after which the connection is closed. A client that logs in needs one
    /// to three.
    pub login_requests_max: u8,
    /// What a client that has not logged in may make the engine hold: its longest request, and the replies to all that it
    /// may ask.
    pub anonymous_bytes_max: usize,
    /// The most memory that all connections together hold that have not logged in, TLS included. More closes the oldest.
    pub anonymous_total_bytes_max: usize,
    /// The most connections of the whole node that have not logged in. One more closes the oldest.
    pub anonymous_max: u32,
    /// The most of them from one address. Apps behind one address log in within a round trip, so many of them may share it.
    pub anonymous_per_address_max: u32,
    /// Values of at least this size are received directly into their own allocation.
    pub upload_bytes_min: usize,
    /// Commands executed in one visit, before other connections are visited.
    pub visit_commands_max: u32,
    /// While this much output is unsent, no further command is executed and nothing more is read.
    pub output_bytes_max: usize,
    /// A connection whose client reads none of its replies for this long is closed.
    pub unread_output_deadline: Duration,
    /// A connection whose request is not complete this long after its first byte is closed, and so is one whose client has
    /// not read the replies of a visit. Between requests it may be idle for ever.
    pub request_deadline: Duration,
    /// A closing connection waits this long for the client to read the last reply.
    pub linger: Duration,
    /// Interval of TCP keep-alive probes. The kernel closes a connection after five without answer.
    pub keepalive: Duration,
    /// The most open connections of the whole node.
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
            login_requests_max: 64,
            anonymous_bytes_max: 16 << 10,
            anonymous_total_bytes_max: 64 << 20,
            anonymous_max: 8192,
            anonymous_per_address_max: 2048,
            upload_bytes_min: 32 << 10,
            visit_commands_max: 256,
            output_bytes_max: 256 << 10,
            unread_output_deadline: Duration::from_secs(30),
            request_deadline: Duration::from_secs(300),
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

/// Whether the text dialects accept these bytes as a key: 1 to 250 of them, no control byte. A blank cannot occur, because
/// it ends a token.
#[inline]
pub fn is_text_key(key: &[u8]) -> bool {
    is_key_length(key.len()) && position(key, is_control).is_none()
}

/// Control bytes. Keys of the text dialects must not contain them.
#[inline(always)]
pub fn is_control(byte: u8) -> bool {
    byte < b' ' || byte == 0x7f
}

/// Whether a key has a valid length. Keys of the binary dialect and base64 keys may contain any byte.
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
    fn a_control_byte_is_found_at_every_position() {
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
