//! Rank 2: credentials, browser sessions and flushes as a service to whoever proves to own a cache.
//!
//! Every call on a cache takes an [`Owner`], which only this room can make, from a live session: a handler that
//! forgets to ask who is there has nothing to call with (security.md G-3).

#![allow(clippy::todo, unused_variables)]

use std::net::IpAddr;

use crate::cluster::Figures;
use crate::domain::secret::{BearerSecret, Password};
use crate::domain::{CacheId, Capabilities, Credential, Resource, Timestamp, Username};
use crate::store::StoreError;

/// Credentials, sessions and flushes. Cheap to clone.
#[derive(Clone)]
pub struct Access {}

/// Proof that the caller holds a live session of this cache.
#[derive(Clone, Debug)]
pub struct Owner {
    resource: Resource,
    session: Session,
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
    /// The SSO proof was used before, or the resource is gone.
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

/// An entry of a cache's history, newest first in lists.
#[derive(Clone, Debug)]
pub struct HistoryEntry {
    pub at: Timestamp,
    pub kind: String,
    pub line: String,
}

impl Access {
    /// Opens a session for whoever holds the long-lived dashboard URL; `None` when the hash is unknown or old.
    pub async fn open_by_link(
        &self,
        hash: &BearerSecret,
        remote: Option<IpAddr>,
    ) -> Result<Option<NewSession>, AccessError> {
        todo!()
    }
    /// Opens a session for a proven single sign-on, once per proof.
    pub async fn open_by_sso(
        &self,
        visit: SsoVisit,
        remote: Option<IpAddr>,
    ) -> Result<NewSession, AccessError> {
        todo!()
    }
    /// The owner behind a session cookie, if that session is alive and belongs to this cache.
    pub async fn owner(
        &self,
        cookie: &BearerSecret,
        cache: CacheId,
        remote: Option<IpAddr>,
    ) -> Result<Option<Owner>, AccessError> {
        todo!()
    }
    pub async fn close_session(&self, owner: &Owner) -> Result<(), AccessError> {
        todo!()
    }

    /// Live credentials, the primary first.
    pub async fn credentials(&self, owner: &Owner) -> Result<Vec<Credential>, AccessError> {
        todo!()
    }
    /// Shows a password; audited.
    pub async fn reveal(
        &self,
        owner: &Owner,
        username: &Username,
    ) -> Result<Password, AccessError> {
        todo!()
    }
    pub async fn create(&self, owner: &Owner) -> Result<(Credential, Reach), AccessError> {
        todo!()
    }
    /// Makes it the primary and lets the outbox push it to the provider.
    pub async fn promote(&self, owner: &Owner, username: &Username) -> Result<(), AccessError> {
        todo!()
    }
    pub async fn set_capabilities(
        &self,
        owner: &Owner,
        username: &Username,
        capabilities: Capabilities,
    ) -> Result<Reach, AccessError> {
        todo!()
    }
    pub async fn remove(&self, owner: &Owner, username: &Username) -> Result<Reach, AccessError> {
        todo!()
    }
    /// A new long-lived URL; the old one and every session but this one end.
    pub async fn rotate_sso(&self, owner: &Owner) -> Result<BearerSecret, AccessError> {
        todo!()
    }
    /// The long-lived URL's hash, for the Settings panel.
    pub async fn sso_hash(&self, owner: &Owner) -> Result<BearerSecret, AccessError> {
        todo!()
    }
    pub async fn flush(&self, owner: &Owner) -> Result<FlushResult, AccessError> {
        todo!()
    }
    pub async fn config_state(&self, owner: &Owner) -> Result<ConfigState, AccessError> {
        todo!()
    }
    pub async fn history(
        &self,
        owner: &Owner,
        most: u32,
    ) -> Result<Vec<HistoryEntry>, AccessError> {
        todo!()
    }
    /// Figures from the nodes that hold the cache; `None` while none answers.
    pub async fn figures(&self, owner: &Owner) -> Option<Figures> {
        todo!()
    }
    /// The value of the SERVERS variable.
    pub async fn servers(&self, owner: &Owner) -> Result<String, AccessError> {
        todo!()
    }
}
