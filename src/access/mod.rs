//! Rank 2: credentials, browser sessions and flushes as a service to whoever proves to own a cache.
//!
//! Every call on a cache takes an [`Owner`], which only this room can make, from a live session: a handler that
//! forgets to ask who is there has nothing to call with (security.md G-3).
//!
//! | file | holds |
//! |---|---|
//! | `sessions` | opening, finding and ending browser sessions; the long-lived URL |
//! | `credentials` | create, promote, restrict, remove, reveal |
//! | `certificates`, `authority` | client certificates, and our CA that signs them |
//! | `flush` | emptying the cache |
//! | `view` | what the dashboard shows |
//!
//! Every change locks the resource's row first, so changes of one cache come one after the other, and checks under
//! that lock that the resource is still live.

mod authority;
mod certificates;
mod credentials;
mod flush;
mod sessions;
mod view;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

pub use authority::IssuedCertificate;
pub use certificates::CERTIFICATES_MAX;
pub(crate) use credentials::issue;

use crate::cluster::{CaughtUp, Cluster};
use crate::domain::secret::BearerSecret;
use crate::domain::{CacheId, Clock, Plans, Resource, Timestamp};
use crate::store::audit::AuditEntry;
use crate::store::{Store, StoreError, Tx};

/// Credentials, sessions and flushes. Cheap to clone.
#[derive(Clone)]
pub struct Access {
    store: Store,
    cluster: Cluster,
    plans: Arc<Plans>,
    clock: Arc<dyn Clock>,
    settings: AccessSettings,
}

/// How careful a rotation is.
#[derive(Clone, Copy, Debug)]
pub struct AccessSettings {
    /// How long a former primary should go on working after the provider has its successor's values.
    pub overlap: Duration,
}

impl Default for AccessSettings {
    /// Heroku advises one to two hours (heroku.md §4).
    fn default() -> AccessSettings {
        AccessSettings {
            overlap: Duration::from_secs(2 * 3_600),
        }
    }
}

/// Proof that the caller holds a live session of this cache.
#[derive(Clone, Debug)]
pub struct Owner {
    resource: Resource,
    session: Session,
    /// Digest of the session's cookie.
    digest: String,
    /// Where the request came from, for the audit.
    remote: Option<IpAddr>,
}

impl Owner {
    pub fn resource(&self) -> &Resource {
        &self.resource
    }
    pub fn cache(&self) -> CacheId {
        self.resource.cache
    }
    pub fn session(&self) -> &Session {
        &self.session
    }
}

/// A browser's login, bound to one cache.
#[derive(Clone, Debug)]
pub struct Session {
    /// Must come back in every form of this session.
    pub csrf: BearerSecret,
    /// E-mail or name of the person, where the marketplace proved it.
    pub person: Option<String>,
    /// The app from which the person came.
    pub context_app: Option<String>,
    pub opened_at: Timestamp,
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

#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// No such credential in this cache.
    #[error("there is no credential {0} in this cache")]
    UnknownCredential(String),
    #[error("the primary credential cannot be removed: promote another one first")]
    PrimaryStays,
    #[error("this plan allows {max} credentials")]
    TooManyCredentials { max: u32 },
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
    Pending {
        since: Timestamp,
        last_error: Option<String>,
        next_attempt: Timestamp,
    },
    /// The provider refuses for good; a person must look.
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

/// An entry of a cache's history, newest first in lists.
#[derive(Clone, Debug)]
pub struct HistoryEntry {
    pub at: Timestamp,
    pub kind: String,
    pub line: String,
}

impl Access {
    pub fn new(store: Store, cluster: Cluster, plans: Arc<Plans>, clock: Arc<dyn Clock>) -> Access {
        Access {
            store,
            cluster,
            plans,
            clock,
            settings: AccessSettings::default(),
        }
    }

    /// With other settings than the usual ones.
    #[must_use]
    pub fn with_settings(self, settings: AccessSettings) -> Access {
        Access { settings, ..self }
    }

    /// Begins a change of the owner's cache. The resource as of now, not as of the session's look-up.
    async fn begin(&self, owner: &Owner) -> Result<(Tx, Resource), AccessError> {
        self.begin_on(owner.cache()).await
    }

    async fn begin_on(&self, cache: CacheId) -> Result<(Tx, Resource), AccessError> {
        let mut tx = self.store.begin().await?;
        match tx.lock_resource(cache).await? {
            Some(resource) if resource.state.is_live() => Ok((tx, resource)),
            _ => Err(AccessError::Gone),
        }
    }
}

impl Owner {
    fn audit(&self, action: &str, detail: impl Into<String>) -> AuditEntry {
        let actor = self.session.person.as_deref();
        AuditEntry {
            cache: Some(self.cache()),
            actor: actor.unwrap_or("dashboard").to_owned(),
            action: action.to_owned(),
            detail: detail.into(),
            remote: self.remote.map(|address| address.to_string()),
        }
    }
}
