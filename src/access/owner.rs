//! Who may act on a cache. What is made here is the proof that every call takes.

use std::ops::Deref;

use super::{Access, AccessError};
use crate::domain::secret::BearerSecret;
use crate::domain::{Actor, CacheId, Identity, Origin, Resource, Timestamp};
use crate::store::service::audit::AuditEntry;

/// Proof that an actor may act on a cache: the cache and who acts, checked once. Only this room makes one.
///
/// ```
/// use larder::access::Owner;
/// use larder::domain::{Actor, CacheId, Resource};
///
/// fn cache_of(owner: &Owner, _: Resource, _: Actor) -> CacheId {
///     owner.cache()
/// }
/// ```
/// The same with a proof that was not checked does not compile:
/// ```compile_fail
/// use larder::access::Owner;
/// use larder::domain::{Actor, CacheId, Resource};
///
/// fn cache_of(resource: Resource, actor: Actor) -> CacheId {
///     let session = None;
///     Owner { resource, actor, session }.cache()
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Owner {
    pub(super) resource: Resource,
    pub(super) actor: Actor,
    /// Digest of the session's cookie, for a browser.
    pub(super) session: Option<String>,
}

impl Owner {
    /// As it was when the proof was made; a change reads it again.
    pub fn resource(&self) -> &Resource {
        &self.resource
    }
    pub fn cache(&self) -> CacheId {
        self.resource.cache
    }
    pub fn actor(&self) -> &Actor {
        &self.actor
    }

    pub(super) fn audit(&self, action: &str, detail: impl Into<String>) -> AuditEntry {
        AuditEntry {
            cache: Some(self.cache()),
            actor: self.actor.clone(),
            action: action.to_owned(),
            detail: detail.into(),
        }
    }

    /// The way by which this actor's flushes come.
    pub(super) fn flush_origin(&self) -> Origin {
        match self.actor.identity {
            Identity::Browser { .. } | Identity::Credential(_) | Identity::Account(_) => {
                Origin::WebInterface
            }
            Identity::Operator
            | Identity::Schedule
            | Identity::Marketplace(_)
            | Identity::Service
            | Identity::Unproven
            | Identity::Unknown(_) => Origin::AdminOperation,
        }
    }
}

/// An owner in a browser, with the live session that proves it.
#[derive(Clone, Debug)]
pub struct SignedIn {
    pub(super) owner: Owner,
    pub(super) session: BrowserSession,
}

impl SignedIn {
    pub fn session(&self) -> &BrowserSession {
        &self.session
    }
    pub fn into_owner(self) -> Owner {
        self.owner
    }
}

impl Deref for SignedIn {
    type Target = Owner;

    fn deref(&self) -> &Owner {
        &self.owner
    }
}

/// A browser's login, bound to one cache.
#[derive(Clone, Debug)]
pub struct BrowserSession {
    /// Must come back in every form of this session.
    pub csrf: BearerSecret,
    /// E-mail or name of the person, where the marketplace proved it.
    pub person: Option<String>,
    /// The app from which the person came.
    pub context_app: Option<String>,
    pub opened_at: Timestamp,
}

impl Access {
    /// Whoever runs the service may act on every live cache. The proof is the database at hand: call it for
    /// `larder admin` only.
    pub async fn for_operator(&self, cache: CacheId) -> Result<Owner, AccessError> {
        let resource = self.store.resource(cache).await?;
        let resource = resource.filter(|resource| resource.state.is_live());
        Ok(Owner {
            resource: resource.ok_or(AccessError::Gone)?,
            actor: Actor::local(Identity::Operator),
            session: None,
        })
    }
}
