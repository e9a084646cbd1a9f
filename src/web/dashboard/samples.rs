//! A cache, its owner and what is known of it, for the tests of the panels.

use std::time::Duration;

use super::frame::{Forms, Frame};
use crate::access::BrowserSession;
use crate::cluster::CacheFigures;
use crate::domain::ConfigVarNames;
use crate::domain::credential::LastUse;
use crate::domain::secret::BearerSecret;
use crate::domain::{
    CacheId, Capabilities, Certificate, Credential, CredentialId, Fingerprint, Marketplace, Plan,
    Resource, ResourceId, ResourceState, Timestamp, Username,
};
use crate::web::assets;
use crate::web::{MarketplaceFace, WebSettings};

pub const NOW: Timestamp = Timestamp::from_secs(1_795_372_200);
pub const MARKETPLACE: Marketplace = Marketplace::named("market");
pub const PASSWORD: &str = "00112233445566778899AABBCCDDEEFF";

pub fn before(secs: u64) -> Timestamp {
    NOW.minus(Duration::from_secs(secs))
}

pub fn settings() -> WebSettings {
    let face = MarketplaceFace {
        shown_as: "Acme Market".to_owned(),
        header: None,
        variables: None,
    };
    WebSettings {
        marketplaces: [(MARKETPLACE, face)].into(),
        ..WebSettings::new(
            "https://cache.example.com".parse().unwrap(),
            true,
            "Larder".to_owned(),
            ConfigVarNames::with_prefix("MEMCACHIER"),
        )
    }
}

pub fn resource() -> Resource {
    Resource {
        id: ResourceId::generate(before(900_000)),
        cache: CacheId(7),
        marketplace: MARKETPLACE,
        external_id: "01234567-89ab-cdef-0123-456789abcdef".parse().unwrap(),
        name: "larder-curved-41822".to_owned(),
        label: "4F2A90".to_owned(),
        plan: "100".parse().unwrap(),
        region: "us".to_owned(),
        served_from: "us".to_owned(),
        state: ResourceState::Provisioned,
        cluster: "c1".parse().unwrap(),
        created_at: before(900_000),
    }
}

pub fn session() -> BrowserSession {
    BrowserSession {
        csrf: BearerSecret::presented("csrf-of-this-session"),
        person: Some("ada@example.com".to_owned()),
        context_app: Some("quiet-harbour".to_owned()),
        opened_at: before(30),
    }
}

pub fn plan() -> Plan {
    Plan {
        slug: "100".parse().unwrap(),
        memory_bytes: 100 << 20,
        connections_max: 250,
        credentials_max: 10,
        sample_grain: Duration::from_secs(60),
        history: Duration::from_secs(90 * 86_400),
        sleeps_after: None,
        price_cents: 1_500,
        hidden: false,
        asynchronous: false,
    }
}

pub fn credential(name: &str, primary: bool) -> Credential {
    Credential {
        id: CredentialId::generate(NOW),
        cache: CacheId(7),
        username: name.parse().unwrap(),
        capabilities: Capabilities::ALL,
        primary,
        created_at: before(900_000),
        last_used: None,
        retired_at: None,
    }
}

/// Issued so many seconds ago, good for `life`.
pub fn certificate(of: &str, issued: u64, life: u64) -> Certificate {
    let created_at = before(issued);
    Certificate {
        fingerprint: Fingerprint::of(&issued.to_be_bytes()),
        username: name(of),
        created_at,
        expires_at: created_at.plus(Duration::from_secs(life)),
    }
}

pub fn figures() -> CacheFigures {
    CacheFigures {
        items: 18_233,
        used_bytes: 44_040_192,
        limit_bytes: 115_343_360,
        evictions: 912,
        get_hits: 934_120,
        get_misses: 65_880,
        sets: 70_412,
        flushes: 2,
        connections: 37,
        connections_max: 250,
        counters: vec![
            ("delete_hits".into(), 1_204),
            ("delete_misses".into(), 87),
            ("incr_hits".into(), 20_551),
            ("incr_misses".into(), 3),
            ("touch_hits".into(), 0),
            ("touch_misses".into(), 0),
        ],
        connections_by_credential: vec![(name("4F2A90"), 36), (name("91BC07"), 1)],
        connections_by_certificate: vec![(Fingerprint::of(&7_000_u64.to_be_bytes()), 1)],
    }
}

pub fn name(text: &str) -> Username {
    text.parse().unwrap()
}

pub fn frame() -> Frame {
    Frame::new(&settings(), &resource(), &session())
}

pub fn forms() -> Forms {
    Forms::new(&resource(), &session())
}

/// A busy primary, a restricted secondary, one never used.
pub fn credentials() -> Vec<Credential> {
    let used = |secs| {
        Some(LastUse {
            at: before(secs),
            from: "10.0.4.17".to_owned(),
        })
    };
    vec![
        Credential {
            last_used: used(4),
            ..credential("4F2A90", true)
        },
        Credential {
            capabilities: Capabilities::WRITE,
            created_at: before(7_200),
            last_used: used(3_700),
            ..credential("91BC07", false)
        },
        Credential {
            created_at: before(60),
            ..credential("C0FFEE", false)
        },
    ]
}

pub fn certificates() -> Vec<Certificate> {
    vec![
        certificate("91BC07", 7_000, 365 * 86_400),
        certificate("91BC07", 370 * 86_400, 365 * 86_400),
    ]
}

/// A page as the snapshots hold it. The digests in the assets' names are left out: they change with every touch of the
/// style sheet.
pub fn without_digests(page: &str) -> String {
    page.replace(assets::style(), "/assets/larder.css")
        .replace(assets::script(), "/assets/larder.js")
        .replace(assets::icon(), "/assets/icon.svg")
}
