//! What happened to a cache, and the line its app's log gets for it.
//!
//! The line's texts and field names are a contract (product reference, "Log lines to the app"): one line of
//! `key=value` pairs, quoted when a value holds a blank. Never a password, never a key or value of the cache.

use std::fmt::{self, Write as _};
use std::net::IpAddr;

use super::certificate::Fingerprint;
use super::credential::Username;
use super::flush::{FlushEvent, Origin};
use super::time::Timestamp;

/// An entry of a cache's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Flushed(FlushEvent),
    FlushRefused {
        proxy: String,
        credential: Username,
        remote: Option<IpAddr>,
    },
    CredentialCreated {
        credential: Username,
    },
    CredentialPromoted {
        credential: Username,
    },
    CredentialRemoved {
        credential: Username,
    },
    CapabilitiesChanged {
        credential: Username,
        write: bool,
        flush: bool,
        api: bool,
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
    Provisioned {
        plan: String,
    },
    PlanChanged {
        from: String,
        to: String,
    },
    Deprovisioned,
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

impl Event {
    /// The word in `event=` and in the stored history.
    pub fn kind(&self) -> &'static str {
        match self {
            Event::Flushed(_) => "flush",
            Event::FlushRefused { .. } => "flush_refused",
            Event::CredentialCreated { .. } => "credentials_created",
            Event::CredentialPromoted { .. } => "credentials_promoted",
            Event::CredentialRemoved { .. } => "credentials_removed",
            Event::CapabilitiesChanged { .. } => "capabilities_changed",
            Event::CertificateIssued { .. } => "certificate_issued",
            Event::CertificateRevoked { .. } => "certificate_revoked",
            Event::SsoSecretRotated => "sso_secret_rotated",
            Event::Provisioned { .. } => "provisioned",
            Event::PlanChanged { .. } => "plan_changed",
            Event::Deprovisioned => "deprovisioned",
            Event::ConnectionsOverLimit { .. } => "connections_over_limit",
            Event::MemoryFull { .. } => "memory_full",
            Event::Repeated { event, .. } => event.kind(),
        }
    }

    /// Whether attached apps get a line for it; the others are history only.
    pub fn is_logged_to_app(&self) -> bool {
        match self {
            Event::Flushed(_)
            | Event::FlushRefused { .. }
            | Event::CredentialPromoted { .. }
            | Event::ConnectionsOverLimit { .. }
            | Event::MemoryFull { .. } => true,
            Event::Repeated { event, .. } => event.is_logged_to_app(),
            _ => false,
        }
    }

    /// The line for the app's log and the history. `label` is the cache's short name.
    pub fn line(&self, label: &str) -> String {
        if let Event::Repeated { event, times } = self {
            return format!("{} repeated={times}", event.line(label));
        }
        let mut line = Line::new(self.kind());
        match self {
            Event::Flushed(flush) => {
                line.pair("origin", flush.origin.as_str());
                line.pair("proxy", &flush.proxy);
                line.pair("cache", label);
                line.optional("credential", flush.credential.as_ref());
                line.optional("remote", flush.remote);
                line.optional("reason", flush.reason.as_ref());
                line.pair("items", flush.items);
                line.pair("bytes", flush.bytes);
            }
            Event::FlushRefused {
                proxy,
                credential,
                remote,
            } => {
                line.pair("origin", Origin::MemcacheClient.as_str());
                line.pair("proxy", proxy);
                line.pair("cache", label);
                line.pair("credential", credential);
                line.optional("remote", *remote);
            }
            Event::CredentialCreated { credential }
            | Event::CredentialPromoted { credential }
            | Event::CredentialRemoved { credential } => {
                line.pair("cache", label);
                line.pair("credential", credential);
            }
            Event::CapabilitiesChanged {
                credential,
                write,
                flush,
                api,
            } => {
                line.pair("cache", label);
                line.pair("credential", credential);
                line.pair("write", write);
                line.pair("flush", flush);
                line.pair("api", api);
            }
            Event::CertificateIssued {
                credential,
                certificate,
                expires_at,
            } => {
                line.pair("cache", label);
                line.pair("credential", credential);
                line.pair("certificate", certificate.short());
                line.pair("expires", expires_at);
            }
            Event::CertificateRevoked {
                credential,
                certificate,
            } => {
                line.pair("cache", label);
                line.pair("credential", credential);
                line.pair("certificate", certificate.short());
            }
            Event::SsoSecretRotated | Event::Deprovisioned => line.pair("cache", label),
            Event::Provisioned { plan } => {
                line.pair("cache", label);
                line.pair("plan", plan);
            }
            Event::PlanChanged { from, to } => {
                line.pair("cache", label);
                line.pair("from", from);
                line.pair("to", to);
            }
            Event::ConnectionsOverLimit {
                limit,
                refused,
                window_secs,
            } => {
                line.pair("cache", label);
                line.pair("limit", limit);
                line.pair("refused", refused);
                line.pair("window", format_args!("{window_secs}s"));
            }
            Event::MemoryFull {
                used,
                limit,
                evictions,
                window_secs,
            } => {
                line.pair("cache", label);
                line.pair("used", used);
                line.pair("limit", limit);
                line.pair("evictions", evictions);
                line.pair("window", format_args!("{window_secs}s"));
            }
            Event::Repeated { .. } => {}
        }
        line.0
    }
}

/// Builds `key=value` pairs. Values lose their control characters and are quoted when they hold a blank or a
/// quote, so that no field can start a line or a field of its own (security.md OB-8).
struct Line(String);

impl Line {
    fn new(event: &str) -> Line {
        Line(format!("event={event}"))
    }

    fn pair(&mut self, key: &str, value: impl fmt::Display) {
        let value: String = value
            .to_string()
            .chars()
            .map(|c| if c.is_control() { '?' } else { c })
            .collect();
        let quoted = value.is_empty() || value.contains([' ', '"', '=']);
        let written = if quoted {
            write!(self.0, " {key}=\"{}\"", value.replace('"', "'"))
        } else {
            write!(self.0, " {key}={value}")
        };
        debug_assert!(written.is_ok(), "writing to a String cannot fail");
    }

    fn optional(&mut self, key: &str, value: Option<impl fmt::Display>) {
        if let Some(value) = value {
            self.pair(key, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{CacheId, FlushId, Timestamp};

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
        assert!(summed.is_logged_to_app());
        assert_eq!(summed.kind(), "flush");
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
    }
}
