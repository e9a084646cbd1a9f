//! What happened to a cache. Never a password, never a key or value of the cache.
//!
//! An event is written as its kind and its fields; every text about it is made from those, and none is read back.
//!
//! | file | holds |
//! |---|---|
//! | `kind` | the names of the kinds, and who hears of them |
//! | `fields` | an event's fields by name |
//! | `line` | fields as text: the app's log line, the details in the timeline |

mod fields;
mod kind;
mod line;

use std::net::IpAddr;

pub use fields::{Fields, Value};
pub use kind::EventKind;

use super::actor::{Actor, Identity};
use super::certificate::Fingerprint;
use super::credential::Username;
use super::flush::FlushEvent;
use super::time::Timestamp;

/// Something that happened to a cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Flushed(FlushEvent),
    FlushRefused {
        proxy: String,
        credential: Username,
        remote: Option<IpAddr>,
    },
    CredentialAdded {
        credential: Username,
    },
    CredentialPromoted {
        credential: Username,
    },
    CredentialRemoved {
        credential: Username,
    },
    /// Of the rights that something asks for; nothing asks for `api` yet.
    CapabilitiesChanged {
        credential: Username,
        write: bool,
        flush: bool,
    },
    CertificateIssued {
        credential: Username,
        certificate: Fingerprint,
        expires_at: Timestamp,
    },
    CertificateRevoked {
        credential: Username,
        certificate: Fingerprint,
    },
    SsoSecretRotated,
    /// 0 switches the schedule off.
    RotationScheduled {
        every_days: u16,
    },
    RotationPutOff {
        reason: String,
    },
    /// Accepted; the provider waits until it is told that the cache is ready.
    AsyncProvisionBegan {
        plan: String,
    },
    Provisioned {
        plan: String,
    },
    PlanChanged {
        from: String,
        to: String,
    },
    Deprovisioned,
    /// Its first node, as in SERVERS, is in another region than was ordered, and the answer to the order could not say so:
    /// it came before there was room.
    PlacedElsewhere {
        to: String,
        region: String,
        ordered: String,
    },
    /// The cache begins empty on another node: the one it was on is gone. Both as in SERVERS.
    PlacedAnew {
        from: String,
        to: String,
        /// Where it stands now, if that is not where it was ordered.
        region: Option<String>,
    },
    /// Its node, as in SERVERS, has not been heard of since then: the cache cannot be reached.
    NodeAway {
        node: String,
        since: Timestamp,
    },
    NodeBack {
        node: String,
    },
    /// Clients used a wrong password for this credential, or its user name on a connection of another cache. Credential
    /// and address are those of the latest.
    LoginsRefused {
        credential: Username,
        remote: Option<IpAddr>,
        refused: u64,
        window_secs: u32,
    },
    ConnectionsOverLimit {
        limit: u32,
        refused: u64,
        window_secs: u32,
    },
    MemoryFull {
        used: u64,
        limit: u64,
        evictions: u64,
        window_secs: u32,
    },
    /// Stands for `times` events of one kind that came too fast for a line each. `event` is the last of them;
    /// items and bytes of flushes are summed up in it.
    Repeated {
        event: Box<Event>,
        times: u64,
    },
}

/// An entry of a cache's timeline, as it was written, perhaps by an older or newer release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedEvent {
    pub id: String,
    pub at: Timestamp,
    /// An [`EventKind`], or the name of one that this release does not know.
    pub kind: String,
    pub fields: Fields,
    /// The text of an entry from before events had fields.
    pub line: Option<String>,
    /// `None` for an entry from before events had an actor.
    pub actor: Option<Actor>,
}

impl Event {
    /// An event that a node reports, as the cache's owner reads it: with the memory that was bought, as the plan and the
    /// dashboard have it. The node holds the cache to a tenth more, since it counts its own bookkeeping too.
    #[must_use]
    pub fn measured_against(self, bought_bytes: u64) -> Event {
        match self {
            Event::MemoryFull {
                used,
                evictions,
                window_secs,
                ..
            } => Event::MemoryFull {
                used,
                limit: bought_bytes,
                evictions,
                window_secs,
            },
            Event::Repeated { event, times } => Event::Repeated {
                event: Box::new(event.measured_against(bought_bytes)),
                times,
            },
            other => other,
        }
    }

    /// Who is behind an event that a node reports: the client that presented a credential, else the service.
    pub fn actor_on_node(&self) -> Actor {
        let client = |credential: &Username, remote: Option<IpAddr>| Actor {
            identity: Identity::Credential(credential.clone()),
            remote,
        };
        match self {
            Event::Flushed(FlushEvent {
                credential: Some(credential),
                remote,
                ..
            })
            | Event::FlushRefused {
                credential, remote, ..
            } => client(credential, *remote),
            Event::Repeated { event, .. } => event.actor_on_node(),
            _ => Actor::local(Identity::Service),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{CacheId, FlushId, Origin};

    fn flush(origin: Origin) -> FlushEvent {
        let at = Timestamp::from_secs(1_795_372_200);
        FlushEvent {
            id: FlushId::generate(at),
            cache: CacheId(7),
            origin,
            proxy: "p3.us-east.example.net".to_owned(),
            credential: None,
            remote: None,
            reason: None,
            items: 18_233,
            bytes: 7_340_032,
            at,
        }
    }

    #[test]
    fn flush_lines_read_as_the_contract_says() {
        let by_client = FlushEvent {
            credential: Some("4F2A90".parse().unwrap()),
            remote: Some([10, 0, 4, 17].into()),
            ..flush(Origin::MemcacheClient)
        };
        assert_eq!(
            Event::Flushed(by_client).line("4F2A90"),
            "event=flush origin=\"memcache client\" proxy=p3.us-east.example.net cache=4F2A90 credential=4F2A90 \
             remote=10.0.4.17 items=18233 bytes=7340032"
        );
        assert_eq!(
            Event::Flushed(flush(Origin::WebInterface)).line("4F2A90"),
            "event=flush origin=\"web interface\" proxy=p3.us-east.example.net cache=4F2A90 items=18233 bytes=7340032"
        );
        let by_operator = FlushEvent {
            reason: Some("cluster switch".to_owned()),
            ..flush(Origin::AdminOperation)
        };
        assert_eq!(
            Event::Flushed(by_operator).line("4F2A90"),
            "event=flush origin=\"admin operation\" proxy=p3.us-east.example.net cache=4F2A90 \
             reason=\"cluster switch\" items=18233 bytes=7340032"
        );
    }

    #[test]
    fn a_summed_up_line_says_for_how_many_it_stands() {
        let summed = Event::Repeated {
            event: Box::new(Event::Flushed(flush(Origin::MemcacheClient))),
            times: 41,
        };
        assert_eq!(
            summed.line("4F2A90"),
            "event=flush origin=\"memcache client\" proxy=p3.us-east.example.net cache=4F2A90 items=18233 \
             bytes=7340032 repeated=41"
        );
        assert_eq!(summed.kind(), EventKind::Flushed);
    }

    #[test]
    fn a_value_cannot_start_another_line_or_field() {
        let sly = FlushEvent {
            reason: Some("x\r\n<134>1 proxy=\"evil\"".to_owned()),
            ..flush(Origin::AdminOperation)
        };
        let line = Event::Flushed(sly).line("4F2A90");
        assert!(!line.contains(['\r', '\n']));
        assert!(line.contains("reason=\"x??<134>1 proxy='evil'\""), "{line}");
        let turned = FlushEvent {
            reason: Some("a\u{2028}event=flush\u{202e}\u{85}\u{9b}".to_owned()),
            ..flush(Origin::AdminOperation)
        };
        let line = Event::Flushed(turned).line("4F2A90");
        assert!(line.contains("reason=\"a?event=flush???\""), "{line}");
    }
}
