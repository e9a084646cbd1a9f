//! The messages of the node link, as they go over a wire: plain texts and numbers. They depend on no type of the store
//! or the domain, so that either can change without a change of the format. Each has its conversion beside it.
//!
//! A field may be added when its absence has a meaning (`#[serde(default)]`). Any other change raises [`VERSION`]: the
//! control plane refuses a node that speaks another one.

mod changes;
mod figures;
mod join;
mod report;

pub use changes::{
    Authority, CacheChange, CacheSpec, Certificate, Changes, ChangesQuery, Credential, FlushOrder,
};
pub use figures::Figures;
pub use join::{Home, Introduction, NodeToken, TokenQuery, Welcome, WireSecret};
pub use report::{Flush, Login, NodeEvent, Notice, Phase, Report, Taken, UnknownUser};

use std::str::FromStr;

/// The version of the format.
pub const VERSION: u32 = 1;

/// A message with a value that does not belong there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the message's {0} cannot be read")]
pub struct BadMessage(pub &'static str);

pub(in crate::cluster) fn parse<T: FromStr>(
    what: &'static str,
    text: &str,
) -> Result<T, BadMessage> {
    text.parse().map_err(|_| BadMessage(what))
}

#[cfg(test)]
mod tests {
    use serde::Serialize;
    use serde::de::DeserializeOwned;
    use serde_json::json;

    use super::*;
    use crate::domain::secret::VerifierKey;
    use crate::domain::{
        self, CacheId, Capabilities, CertificateSpec, CredentialSpec, Fingerprint, FlushEvent,
        FlushId, Origin, Timestamp,
    };

    const AT: Timestamp = Timestamp::from_secs(1_795_372_200);

    fn there_and_back<T: Serialize + DeserializeOwned>(message: &T) -> T {
        serde_json::from_str(&serde_json::to_string(message).unwrap()).unwrap()
    }

    fn spec() -> domain::CacheSpec {
        let certificate = CertificateSpec {
            fingerprint: Fingerprint::of(b"a certificate"),
            expires_at: AT,
        };
        domain::CacheSpec {
            cache: CacheId(7),
            label: "4F2A90".to_owned(),
            limit_bytes: 25 << 20,
            connections_max: 50,
            credentials: vec![CredentialSpec {
                username: "4F2A90".parse().unwrap(),
                verifier: VerifierKey::from_bytes(&[1; 32]).verifier(b"4F2A90", b"secret"),
                capabilities: Capabilities::WRITE,
                certificates: vec![certificate],
            }],
            flush_orders: vec![domain::FlushOrder {
                id: FlushId::generate(AT),
                origin: Origin::AdminOperation,
                reason: Some("cluster switch".to_owned()),
            }],
        }
    }

    #[test]
    fn a_cache_crosses_the_wire_unchanged() {
        let sent = CacheSpec::from(&spec());
        let changes = Changes {
            revision: 9,
            complete: true,
            caches: vec![
                CacheChange::Serve(sent.clone()),
                CacheChange::Forget { cache: 3 },
            ],
            authorities: vec![(&domain::Authority::from_der(b"a CA")).into()],
            usernames: vec!["B0B000".to_owned()],
            more_after: Some(7),
            plans: 5,
        };
        let arrived = there_and_back(&changes);
        assert_eq!(arrived, changes);
        let CacheChange::Serve(spec_arrived) = arrived.caches[0].clone() else {
            panic!("a cache to serve");
        };
        let read = domain::CacheSpec::try_from(spec_arrived).unwrap();
        assert!(
            read.credentials[0]
                .verifier
                .matches(&spec().credentials[0].verifier)
        );
        assert_eq!(CacheSpec::from(&read), sent, "what was read says the same");
        let authority = domain::Authority::try_from(&arrived.authorities[0]);
        assert_eq!(authority.unwrap().der(), b"a CA");
    }

    #[test]
    fn a_report_crosses_the_wire_unchanged() {
        let flush = FlushEvent {
            id: FlushId::generate(AT),
            cache: CacheId(7),
            origin: Origin::MemcacheClient,
            proxy: "p1.example.net".to_owned(),
            credential: Some("4F2A90".parse().unwrap()),
            remote: Some([10, 0, 4, 17].into()),
            reason: None,
            items: 5,
            bytes: 50,
            at: AT,
        };
        let notice = Notice::MemoryFull {
            used: 2,
            limit: 1,
            evictions: 3,
            window_secs: 60,
        };
        let report = Report {
            home: "m:1:2".to_owned(),
            phase: Phase::Serving,
            applied: 9,
            snapshot: true,
            logins: Vec::new(),
            unknown_users: vec![UnknownUser {
                id: domain::EventId::generate(AT).to_string(),
                username: "4F2A90".to_owned(),
                remote: None,
                refused: 5,
                window_secs: 600,
            }],
            events: vec![
                NodeEvent::flushed(&flush, 3),
                NodeEvent::noticed(CacheId(7), notice, 2, AT),
            ],
            figures: vec![Figures {
                cache: 7,
                items: 1,
                ..Figures::default()
            }],
            unknown_events: 0,
        };
        let arrived = there_and_back(&report);
        assert_eq!(arrived, report);
        let taken = arrived.events[0].taken().unwrap();
        assert_eq!(taken, Taken::Flushed { flush, times: 3 });
        let Ok(Taken::Noticed { event, .. }) = arrived.events[1].taken() else {
            panic!("a notice");
        };
        assert!(
            event.line("X").ends_with("repeated=2"),
            "{}",
            event.line("X")
        );
        let of_cache = arrived.unknown_users[0].of_cache(CacheId(7));
        let Ok(Taken::Noticed { event, .. }) = of_cache.taken() else {
            panic!("a notice");
        };
        let line = "event=logins_refused cache=X credential=4F2A90 refused=5 window=600s";
        assert_eq!(
            (of_cache.cache(), event.line("X")),
            (CacheId(7), line.to_owned())
        );
    }

    #[test]
    fn what_does_not_belong_there_is_named() {
        let mut spec = CacheSpec::from(&spec());
        spec.credentials[0].verifier.push('A');
        let refused = domain::CacheSpec::try_from(spec.clone()).unwrap_err();
        assert_eq!(refused, BadMessage("verifier"));
        spec.credentials.clear();
        spec.flush_orders[0].origin = "nobody".to_owned();
        let refused = domain::CacheSpec::try_from(spec).unwrap_err();
        assert_eq!(refused, BadMessage("flush origin"));
    }

    fn arrived<T: DeserializeOwned>(message: serde_json::Value) -> T {
        serde_json::from_value(message).unwrap()
    }

    #[test]
    fn an_older_peer_is_understood() {
        let welcome: Welcome = arrived(json!({"version": 1, "node": "node_1"}));
        assert_eq!(welcome, Welcome::new(&"node_1".parse().unwrap(), None));
        let query: ChangesQuery = arrived(json!({"known": 7}));
        let all = ChangesQuery {
            known: 7,
            ..ChangesQuery::default()
        };
        assert_eq!(query, all);
        let changes: Changes = arrived(json!({
            "revision": 9, "complete": false, "caches": [], "authorities": [],
        }));
        assert!(changes.usernames.is_empty());
        assert_eq!((changes.more_after, changes.plans), (None, 0));
        let report: Report = arrived(json!({
            "home": "m:1:2", "phase": "serving", "applied": 9, "logins": [], "events": [],
        }));
        let nothing = Report {
            home: "m:1:2".to_owned(),
            phase: Phase::Serving,
            applied: 9,
            ..Report::default()
        };
        assert_eq!(report, nothing);
    }

    #[test]
    fn what_a_newer_peer_adds_is_passed_over() {
        let query: ChangesQuery = arrived(json!({"known": 7, "after": 3, "wait_ms": 5, "new": 1}));
        assert_eq!((query.known, query.after, query.wait_ms), (7, 3, 5));
        let sent = CacheSpec::from(&spec());
        let mut message = serde_json::to_value(&sent).unwrap();
        message["new"] = json!({"more": true});
        message["credentials"][0]["new"] = json!(null);
        assert_eq!(arrived::<CacheSpec>(message), sent);
    }

    #[test]
    fn an_event_of_a_newer_node_is_counted_and_the_others_are_taken() {
        let notice = Notice::ConnectionsOverLimit {
            limit: 1,
            refused: 2,
            window_secs: 60,
        };
        let known = NodeEvent::noticed(CacheId(7), notice, 1, AT);
        let report = Report {
            events: vec![known.clone()],
            ..Report::default()
        };
        let mut message = serde_json::to_value(&report).unwrap();
        let mut newer = message["events"][0].clone();
        newer["noticed"]["notice"] = json!({"moon_is_full": {}});
        message["events"] = json!([{"moved": {"to": "node_2"}}, known, newer]);
        let report: Report = arrived(message);
        assert_eq!((report.events, report.unknown_events), (vec![known], 2));
    }

    /// What is to be in force must not be passed over.
    #[test]
    fn a_change_of_a_newer_control_plane_is_an_error() {
        let message = json!({
            "revision": 9, "complete": false, "authorities": [],
            "caches": [{"freeze": {"cache": 7}}],
        });
        assert!(serde_json::from_value::<Changes>(message).is_err());
    }

    #[test]
    fn a_secret_does_not_show_itself() {
        let secret = WireSecret::of_bytes(&[7; 32]);
        assert_eq!(secret.key_bytes(), Ok([7; 32]));
        let shown = format!("{secret:?}");
        assert!(!shown.contains(secret.expose()), "{shown}");
        for bad in [&[7; 31][..], &[7; 33]] {
            assert_eq!(
                WireSecret::of_bytes(bad).key_bytes(),
                Err(BadMessage("key"))
            );
        }
    }
}
