//! Browser sessions, and the two doors they are opened through.
//!
//! A session lives 12 hours at most and 30 minutes without use (security.md SD-11). The cookie's value is new for
//! every login and stored only as a digest.

use std::net::IpAddr;
use std::time::Duration;

use super::{Access, AccessError, NewSession, Owner, Session, SsoVisit};
use crate::domain::secret::BearerSecret;
use crate::domain::{CacheId, Event, Timestamp};
use crate::outbox;
use crate::store::audit::AuditEntry;
use crate::store::sessions::{Door, NewSessionRow, StoredSession};
use crate::store::{StoreError, Tx};

const IDLE_MAX: Duration = Duration::from_secs(30 * 60);
const AGE_MAX: Duration = Duration::from_secs(12 * 3_600);
/// A session's use is written down at most this often.
const TOUCH_EVERY: Duration = Duration::from_secs(60);
/// Sign-on proofs are good for 300 s, and may come from a clock 60 s ahead: kept well beyond both.
const PROOF_KEPT: Duration = Duration::from_secs(15 * 60);
/// Expired certificates stay in their owner's list so long, to be found there as the reason for a refusal.
const EXPIRED_KEPT: Duration = Duration::from_secs(30 * 86_400);

impl Access {
    /// Opens a session for whoever holds the long-lived dashboard URL; `None` when the hash is unknown or old.
    pub async fn open_by_link(
        &self,
        hash: &BearerSecret,
        remote: Option<IpAddr>,
    ) -> Result<Option<NewSession>, AccessError> {
        let Some(found) = self.store.resource_by_sso(&hash.digest()).await? else {
            return Ok(None);
        };
        let mut tx = self.store.begin().await?;
        // Rotation ends every session earned through the old URL: once it has begun, none may be opened.
        tx.lock_resource(found.cache).await?;
        if !tx.has_sso(found.cache, &hash.digest()).await? {
            return Ok(None);
        }
        let visit = Visit {
            cache: found.cache,
            door: Door::Link,
            person: None,
            context_app: None,
            remote,
        };
        let session = self.open(&mut tx, visit).await?;
        tx.commit().await?;
        Ok(Some(session))
    }

    /// Opens a session for a proven single sign-on, once per proof.
    pub async fn open_by_sso(
        &self,
        visit: SsoVisit,
        remote: Option<IpAddr>,
    ) -> Result<NewSession, AccessError> {
        let mut tx = self.store.begin().await?;
        match tx.lock_resource(visit.cache).await? {
            Some(resource) if resource.state.is_live() => {}
            _ => return Err(AccessError::Gone),
        }
        let now = self.clock.now();
        if !tx.use_proof(&visit.proof_digest, now).await? {
            return Err(AccessError::UsedProof);
        }
        if let Some(weaker) = &visit.weaker_digest {
            tx.use_proof(weaker, now).await?;
        }
        let visit = Visit {
            cache: visit.cache,
            door: Door::Sso,
            person: visit.person,
            context_app: visit.context_app,
            remote,
        };
        let session = self.open(&mut tx, visit).await?;
        tx.commit().await?;
        Ok(session)
    }

    /// The owner behind a session cookie, if that session is alive and belongs to this cache.
    pub async fn owner(
        &self,
        cookie: &BearerSecret,
        cache: CacheId,
        remote: Option<IpAddr>,
    ) -> Result<Option<Owner>, AccessError> {
        let digest = cookie.digest();
        let now = self.clock.now();
        let stored = self.store.session(&digest).await?;
        let Some(session) = stored.filter(|session| session.cache == cache && alive(session, now))
        else {
            return Ok(None);
        };
        let resource = self.store.resource(cache).await?;
        let Some(resource) = resource.filter(|resource| resource.state.is_live()) else {
            return Ok(None);
        };
        if now.since(session.seen_at) >= TOUCH_EVERY {
            let mut tx = self.store.begin().await?;
            tx.touch_session(&digest, now).await?;
            tx.commit().await?;
        }
        let session = Session {
            csrf: session.csrf,
            person: session.person,
            context_app: session.context_app,
            opened_at: session.created_at,
        };
        Ok(Some(Owner {
            resource,
            session,
            digest,
            remote,
        }))
    }

    pub async fn close_session(&self, owner: &Owner) -> Result<(), AccessError> {
        let mut tx = self.store.begin().await?;
        tx.delete_session(&owner.digest).await?;
        tx.audit(&owner.audit("session.close", ""), self.clock.now())
            .await?;
        Ok(tx.commit().await?)
    }

    /// A new long-lived URL; the old one and every session but this one end.
    pub async fn rotate_sso(&self, owner: &Owner) -> Result<BearerSecret, AccessError> {
        let (mut tx, resource) = self.begin(owner).await?;
        let now = self.clock.now();
        let secret = BearerSecret::generate();
        tx.set_sso(&resource, &secret).await?;
        let ended = tx
            .delete_sessions_of(resource.cache, Some(&owner.digest))
            .await?;
        let event = Event::SsoSecretRotated;
        outbox::announce(&mut tx, resource.cache, &resource.label, &event, now).await?;
        let detail = format!("{ended} other sessions ended");
        tx.audit(&owner.audit("sso.rotate", detail), now).await?;
        tx.commit().await?;
        Ok(secret)
    }

    /// The long-lived URL's hash, for the Settings panel.
    pub async fn sso_hash(&self, owner: &Owner) -> Result<BearerSecret, AccessError> {
        let secret = self.store.sso_secret(owner.cache()).await?;
        secret.ok_or(AccessError::Gone)
    }

    /// Drops sessions, proofs and certificates that are over. Call it now and then.
    pub async fn tidy(&self) -> Result<(), AccessError> {
        let now = self.clock.now();
        let mut tx = self.store.begin().await?;
        tx.prune_sessions(now.minus(AGE_MAX), now.minus(IDLE_MAX))
            .await?;
        tx.prune_proofs(now.minus(PROOF_KEPT)).await?;
        tx.prune_certificates(now.minus(EXPIRED_KEPT)).await?;
        Ok(tx.commit().await?)
    }

    async fn open(&self, tx: &mut Tx, visit: Visit) -> Result<NewSession, StoreError> {
        let now = self.clock.now();
        let (cookie, csrf) = (BearerSecret::generate(), BearerSecret::generate());
        let row = NewSessionRow {
            digest: &cookie.digest(),
            cache: visit.cache,
            door: visit.door,
            person: visit.person.as_deref(),
            context_app: visit.context_app.as_deref(),
            csrf: &csrf,
        };
        tx.insert_session(&row, now).await?;
        let (actor, action) = match visit.door {
            Door::Sso => (visit.person.as_deref().unwrap_or("sso"), "session.open.sso"),
            Door::Link => ("dashboard", "session.open.link"),
        };
        let entry = AuditEntry {
            cache: Some(visit.cache),
            actor: actor.to_owned(),
            action: action.to_owned(),
            detail: visit.context_app.unwrap_or_default(),
            remote: visit.remote.map(|address| address.to_string()),
        };
        tx.audit(&entry, now).await?;
        Ok(NewSession {
            cookie,
            cache: visit.cache,
        })
    }
}

struct Visit {
    cache: CacheId,
    door: Door,
    person: Option<String>,
    context_app: Option<String>,
    remote: Option<IpAddr>,
}

/// A clock that jumped back makes a session no younger than new: it does not lengthen its life beyond the jump.
fn alive(session: &StoredSession, now: Timestamp) -> bool {
    now.since(session.created_at) < AGE_MAX && now.since(session.seen_at) < IDLE_MAX
}
