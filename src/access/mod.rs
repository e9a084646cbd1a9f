//! Rank 2: credentials, browser sessions and flushes as a service to whoever may act on a cache.
//!
//! Every call on a cache takes an [`Owner`], which only this room can make: a handler that forgets to ask who is
//! there has nothing to call with (security.md G-3). It names who acts, so every change has an actor (P13).
//!
//! | file | holds |
//! |---|---|
//! | `owner` | the proof that somebody may act on a cache |
//! | `change` | what every change does alike: lock, timeline, audit, commit |
//! | `sessions` | opening, finding and ending browser sessions; the long-lived URL |
//! | `credentials` | create, promote, restrict, remove, reveal |
//! | `rotation` | replacing primaries by schedule |
//! | `certificates`, `authority` | client certificates, and our CA that signs them |
//! | `refused_calls` | whose proof did not hold: log and audit |
//! | `flush` | emptying the cache |
//! | `history` | how many events a timeline keeps |
//! | `view` | what the dashboard shows |
//!
//! Every change locks the resource's row first, so changes of one cache come one after the other, and checks under
//! that lock that the resource is still live.

mod authority;
mod certificates;
mod change;
mod credentials;
mod flush;
mod history;
mod owner;
mod refused_calls;
mod rotation;
mod sessions;
mod view;

use std::sync::Arc;
use std::time::Duration;

pub use authority::IssuedCertificate;
pub use certificates::CERTIFICATES_MAX;
pub(crate) use credentials::issue;
pub use flush::DONE_WAIT;
pub use owner::{BrowserSession, Owner, SignedIn};
pub use refused_calls::{RefusedCall, RefusedCalls};

pub use crate::store::caches::rotations::Rotation;
pub use rotation::Replaced;

use crate::cluster::{CaughtUp, Cluster};
use crate::domain::secret::BearerSecret;
use crate::domain::{AbilityTable, CacheId, Clock, Plans, Timestamp};
use crate::store::{Store, StoreError};

/// Credentials, sessions and flushes. Cheap to clone.
#[derive(Clone)]
pub struct Access {
    store: Store,
    cluster: Cluster,
    plans: Arc<Plans>,
    clock: Arc<dyn Clock>,
    settings: AccessSettings,
    abilities: Arc<AbilityTable>,
    refused_calls: RefusedCalls,
}

/// How long things are kept.
#[derive(Clone, Copy, Debug)]
pub struct AccessSettings {
    /// How long a former primary should go on working after the provider has its successor's values.
    pub overlap: Duration,
    /// How long the audit remembers who did what.
    pub audit_kept: Duration,
    /// How long a cache's timeline goes back.
    pub events_kept: Duration,
    /// How long a session lives without use, and in any case.
    pub session_idle: Duration,
    pub session_age: Duration,
}

impl Default for AccessSettings {
    /// Heroku advises one to two hours (heroku.md §4).
    fn default() -> AccessSettings {
        AccessSettings {
            overlap: Duration::from_secs(2 * 3_600),
            audit_kept: Duration::from_secs(400 * 86_400),
            events_kept: Duration::from_secs(400 * 86_400),
            session_idle: Duration::from_secs(30 * 60),
            session_age: Duration::from_secs(12 * 3_600),
        }
    }
}

/// A session just opened: the cookie's value and the cache it belongs to.
#[derive(Debug)]
pub struct NewSession {
    pub cookie: BearerSecret,
    pub cache: CacheId,
}

/// Who opens a session through a marketplace's single sign-on.
#[derive(Clone, Debug)]
pub struct SsoVisit {
    pub cache: CacheId,
    /// Digest of the token presented: good for one login.
    pub proof_digest: String,
    /// Digest of a weaker token that the same visit could have shown instead: used up as well.
    pub weaker_digest: Option<String>,
    pub person: Option<String>,
    pub context_app: Option<String>,
}

/// Why an action on a cache was refused or did not work.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// No such credential in this cache.
    #[error("there is no credential {0} in this cache")]
    UnknownCredential(String),
    #[error("the primary credential cannot be removed: promote another one first")]
    PrimaryStays,
    #[error("this plan allows {max} credentials")]
    TooManyCredentials { max: u32 },
    #[error(
        "a cache gets {max} credentials a day, removed ones included: the next from {again_at} on"
    )]
    TooManyCredentialsToday { max: u32, again_at: Timestamp },
    #[error("a credential may have {max} certificates")]
    TooManyCertificates { max: u32 },
    #[error("cannot make a certificate")]
    Signing(#[from] rcgen::Error),
    /// The SSO proof was used before.
    #[error("this sign-on was used before")]
    UsedProof,
    #[error("the cache was deprovisioned")]
    Gone,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// How far the provider's config vars are from the current primary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigState {
    Applied,
    /// The marketplace cannot be pushed to: its customers set the values by hand.
    NotPushed,
    Pending {
        since: Timestamp,
        last_error: Option<String>,
        next_attempt: Timestamp,
    },
    /// The provider refuses for good; a person has to find out why.
    Refused {
        last_error: String,
        since: Timestamp,
    },
}

/// What a flush from the dashboard did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushResult {
    Done {
        items: u64,
        bytes: u64,
    },
    /// Ordered and certain to happen, but no node has reported within the wait.
    Ordered,
}

/// Whether a change has reached every node of the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    Everywhere,
    /// Applied on `applied` of `nodes`; the rest follow by themselves.
    Partial {
        applied: usize,
        nodes: usize,
    },
}

impl From<CaughtUp> for Reach {
    fn from(reach: CaughtUp) -> Reach {
        if reach.everywhere() {
            return Reach::Everywhere;
        }
        Reach::Partial {
            applied: reach.applied,
            nodes: reach.nodes,
        }
    }
}

impl Access {
    pub fn new(store: Store, cluster: Cluster, plans: Arc<Plans>, clock: Arc<dyn Clock>) -> Access {
        Access {
            store,
            cluster,
            plans,
            clock,
            settings: AccessSettings::default(),
            abilities: Arc::default(),
            refused_calls: RefusedCalls::default(),
        }
    }

    /// With other settings than the usual ones.
    #[must_use]
    pub fn with_settings(self, settings: AccessSettings) -> Access {
        Access { settings, ..self }
    }

    /// What the marketplaces can do; without this, none can do anything.
    pub fn with_abilities(self, abilities: AbilityTable) -> Access {
        Access {
            abilities: Arc::new(abilities),
            ..self
        }
    }
}
