//! The messages of the node link, as they go over a wire: plain texts and numbers. They depend on no type of the store
//! or the domain, so that either can change without a change of the format. Each has its conversion beside it.
//!
//! A field may be added when its absence has a meaning (`#[serde(default)]`). Any other change raises [`VERSION`]: the
//! control plane refuses a node that speaks another one.

mod changes;
mod join;
mod report;

pub use changes::{
    Authority, CacheChange, CacheSpec, Certificate, Changes, Credential, FlushOrder,
};
pub use join::{Home, Introduction, Welcome};
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
}
