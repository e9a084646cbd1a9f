//! Identifiers, one type each, so that no function can be handed the wrong kind.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use uuid::Uuid;

use super::time::Timestamp;

/// An identifier text that is not of the expected kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a valid {kind} id")]
pub struct BadId {
    kind: &'static str,
}

/// Time-ordered ids whose text carries a prefix, so that a log line names their kind.
macro_rules! prefixed_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// A fresh id, ordered by `now`.
            pub fn generate(now: Timestamp) -> $name {
                $name(time_ordered(now))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "_{}"), self.0.simple())
            }
        }

        impl FromStr for $name {
            type Err = BadId;

            fn from_str(text: &str) -> Result<$name, BadId> {
                text.strip_prefix(concat!($prefix, "_"))
                    .and_then(|rest| Uuid::try_parse(rest).ok())
                    .map($name)
                    .ok_or(BadId { kind: $kind })
            }
        }
    };
}

prefixed_id!(
    /// One process that holds leases; a new one at each start.
    WorkerId, "wrk", "worker"
);
prefixed_id!(
    /// One add-on instance, by our own name for it.
    ResourceId, "res", "resource"
);
prefixed_id!(
    /// One user name and password pair of a cache.
    CredentialId, "cred", "credential"
);
prefixed_id!(
    /// One effective flush. Nodes make them for client flushes, the control plane for ordered ones.
    FlushId, "fl", "flush"
);
prefixed_id!(
    /// One promise to the outside: a log line or a call back.
    DeliveryId, "dlv", "delivery"
);
prefixed_id!(
    /// One entry in a cache's history.
    EventId, "evt", "event"
);

prefixed_id!(
    /// One app that a resource is attached to.
    AttachmentId, "att", "attachment"
);

fn time_ordered(now: Timestamp) -> Uuid {
    let micros = u64::try_from(now.micros()).unwrap_or(0);
    let stamp = uuid::Timestamp::from_unix_time(
        micros / 1_000_000,
        ((micros % 1_000_000) * 1_000) as u32,
        0,
        0,
    );
    Uuid::new_v7(stamp)
}

/// The public number of a cache, shown in Settings and used in paths. Counts up; knowing it gives no right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CacheId(pub i64);

impl fmt::Display for CacheId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for CacheId {
    type Err = BadId;

    fn from_str(text: &str) -> Result<CacheId, BadId> {
        match text.parse() {
            Ok(number) if number > 0 => Ok(CacheId(number)),
            _ => Err(BadId { kind: "cache" }),
        }
    }
}

/// A position in the ordered list of what nodes must know. Grows by one with each committed change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub i64);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Names that come from outside and are compared as text.
macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $max:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = BadId;

            /// Printable ASCII without blanks or quotes, at least one character.
            fn from_str(text: &str) -> Result<$name, BadId> {
                let allowed = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
                if text.is_empty() || text.len() > $max || !text.bytes().all(allowed) {
                    return Err(BadId { kind: $kind });
                }
                Ok($name(text.into()))
            }
        }
    };
}

name_type!(
    /// The marketplace's own id of a resource (Heroku: the add-on uuid).
    ExternalId, "external", 128
);
name_type!(
    /// One machine of the data plane. Made once per data directory and kept.
    NodeId, "node", 64
);
name_type!(
    /// A group of nodes that fail together, such as `c1`.
    ClusterName, "cluster", 64
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_read_back_and_name_their_kind() {
        let id = ResourceId::generate(Timestamp::from_secs(1_795_372_200));
        let text = id.to_string();
        assert!(text.starts_with("res_"));
        assert_eq!(text.parse(), Ok(id));
        assert!(text.parse::<CredentialId>().is_err());
    }

    #[test]
    fn generated_ids_sort_by_time() {
        let early = FlushId::generate(Timestamp::from_secs(1_000));
        let late = FlushId::generate(Timestamp::from_secs(2_000));
        assert!(early < late);
    }

    #[test]
    fn cache_numbers_are_positive() {
        assert_eq!("7".parse(), Ok(CacheId(7)));
        for bad in ["0", "-1", "", "x", "9223372036854775808"] {
            assert!(bad.parse::<CacheId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn names_hold_no_blank_quote_or_control_byte() {
        assert!("c1".parse::<ClusterName>().is_ok());
        for bad in ["", "a b", "a\nb", "a\"b", "é"] {
            assert!(bad.parse::<ClusterName>().is_err(), "{bad:?}");
        }
    }
}
