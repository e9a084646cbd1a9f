//! Browser sessions, and the two ways to open one: a marketplace's single sign-on and the long-lived URL.
//!
//! A session lives 12 hours at most and 30 minutes without use (security.md SD-11). The cookie's value is new for
//! every login and stored only as a digest.

use std::net::IpAddr;
use std::time::Duration;

use super::{Access, AccessError, BrowserSession, NewSession, Owner, SignedIn, SsoVisit};
use crate::domain::printable::{PERSON_CHARS_MAX, printable_if_any};
use crate::domain::secret::{BearerSecret, digest_hex};
use crate::domain::{Actor, CacheId, CameBy, Event, Identity, Marketplace, Timestamp};
use crate::store::service::audit::AuditEntry;
use crate::store::service::sessions::{NewSessionRow, OpenedBy, StoredSession};
use crate::store::{StoreError, Tx};

/// A session's use is written down at most this often.
const TOUCH_EVERY: Duration = Duration::from_secs(60);
/// Sign-on proofs are good for 300 s, and may come from a clock 60 s ahead. They are kept for longer than a clock is wrong
/// that somebody sets right again: after that its old proofs would be new.
const PROOF_KEPT: Duration = Duration::from_secs(2 * 86_400);
/// The clocks of two processes may differ by so much.
const CLOCKS_APART: Duration = Duration::from_secs(300);
/// The longest proof that is kept as it is.
const PROOF_BYTES_MAX: usize = 256;
/// Expired certificates stay in their owner's list so long, to be found there as the reason for a refusal.
const EXPIRED_KEPT: Duration = Duration::from_secs(30 * 86_400);

impl Access {
    /// Opens a session for whoever holds the long-lived dashboard URL; `None` when the hash is unknown or old.
    ///
    /// `held` is the cookie that the browser has of a cache. Who was signed in by it stays who they proved to be: the
    /// URL itself says nothing of the person, and after *Rotate SSO secret* it is the way back to the page.
    pub async fn open_by_link(
        &self,
        hash: &BearerSecret,
        held: impl FnOnce(CacheId) -> Option<BearerSecret>,
        remote: Option<IpAddr>,
    ) -> Result<Option<NewSession>, AccessError> {
        let Some(found) = self.store.resource_by_sso(&hash.digest()).await? else {
            return Ok(None);
        };
        let former = match held(found.cache) {
            Some(cookie) => self.signed_in(&cookie, found.cache, remote).await?,
            None => None,
        };
        let former = former.map(|owner| owner.session);
        let mut tx = self.store.begin().await?;
        // Rotation ends every session earned through the old URL: once it has begun, none may be opened.
        tx.lock_resource(found.cache).await?;
        if !tx.has_sso(found.cache, &hash.digest()).await? {
            return Ok(None);
        }
        let visit = Visit {
            cache: found.cache,
            marketplace: found.marketplace,
            opened_by: OpenedBy::Link,
            person: former.as_ref().and_then(|former| former.person.clone()),
            context_app: former.and_then(|former| former.context_app),
            remote,
        };
        let session = self.open(&mut tx, visit).await?;
        tx.commit().await?;
        Ok(Some(session))
    }

    /// Opens a session for a proven single sign-on, once per proof. Person and app are shown only: an odd one refuses
    /// nobody.
    pub async fn open_by_sso(
        &self,
        visit: SsoVisit,
        remote: Option<IpAddr>,
    ) -> Result<NewSession, AccessError> {
        let proof = proof_key(&visit.proof_digest);
        let mut tx = self.store.begin().await?;
        let resource = match tx.lock_resource(visit.cache).await? {
            Some(resource) if resource.state.is_live() => resource,
            _ => return Err(AccessError::Gone),
        };
        let now = self.clock.now();
        if !tx.use_proof(&proof, now).await? {
            return Err(AccessError::UsedProof);
        }
        let alone = |proof: &str| format!("{proof} alone");
        match visit.weaker_digest.as_deref().map(proof_key) {
            // Somebody else who came in the same second may have used the weaker proof up beside theirs. A login by the
            // weaker proof alone is one of this very form, cut short.
            Some(weaker) => {
                if tx.is_proof_used(&alone(&weaker)).await? {
                    return Err(AccessError::UsedProof);
                }
                tx.use_proof(&weaker, now).await?;
            }
            None => {
                tx.use_proof(&alone(&proof), now).await?;
            }
        }
        let shown = |text: String| printable_if_any(&text, PERSON_CHARS_MAX);
        let visit = Visit {
            cache: visit.cache,
            marketplace: resource.marketplace,
            opened_by: OpenedBy::Sso,
            person: visit.person.and_then(shown),
            context_app: visit.context_app.and_then(shown),
            remote,
        };
        let session = self.open(&mut tx, visit).await?;
        tx.commit().await?;
        Ok(session)
    }

    /// The owner behind a session cookie, if that session is alive and belongs to this cache.
    pub async fn signed_in(
        &self,
        cookie: &BearerSecret,
        cache: CacheId,
        remote: Option<IpAddr>,
    ) -> Result<Option<SignedIn>, AccessError> {
        let digest = cookie.digest();
        let now = self.clock.now();
        let stored = self.store.session(&digest).await?;
        let Some(session) =
            stored.filter(|session| session.cache == cache && self.is_alive(session, now))
        else {
            return Ok(None);
        };
        let resource = self.store.resource(cache).await?;
        let Some(resource) = resource.filter(|resource| resource.state.is_live()) else {
            return Ok(None);
        };
        if now.since(session.seen_at) >= TOUCH_EVERY.min(self.settings.session_idle / 4) {
            let mut tx = self.store.begin().await?;
            tx.touch_session(&digest, now).await?;
            tx.commit().await?;
        }
        let identity = browser(
            session.person.clone(),
            session.opened_by,
            resource.marketplace,
        );
        let session = BrowserSession {
            csrf: session.csrf,
            person: session.person,
            context_app: session.context_app,
            opened_at: session.created_at,
        };
        let owner = Owner {
            resource,
            actor: Actor { identity, remote },
            session: Some(digest),
        };
        Ok(Some(SignedIn { owner, session }))
    }

    /// Ends the owner's session. Without effect for whoever acts without one.
    pub async fn close_session(&self, owner: &Owner) -> Result<(), AccessError> {
        let Some(digest) = &owner.session else {
            return Ok(());
        };
        let mut tx = self.store.begin().await?;
        tx.delete_session(digest).await?;
        tx.audit(&owner.audit("session.close", ""), self.clock.now())
            .await?;
        Ok(tx.commit().await?)
    }

    /// A new long-lived URL; the old one and every session but this one end.
    pub async fn rotate_sso(&self, owner: &Owner) -> Result<BearerSecret, AccessError> {
        let mut change = self.begin(owner).await?;
        let secret = BearerSecret::generate();
        change.tx.set_sso(&change.resource, &secret).await?;
        let ended = change
            .tx
            .delete_sessions_of(owner.cache(), owner.session.as_deref())
            .await?;
        change.tell(Event::SsoSecretRotated).await?;
        let detail = format!("{ended} other sessions ended");
        change.audit("sso.rotate", detail).await?;
        change.commit().await?;
        Ok(secret)
    }

    /// The long-lived URL's hash, for the Settings panel.
    pub async fn sso_hash(&self, owner: &Owner) -> Result<BearerSecret, AccessError> {
        let secret = self.store.sso_secret(owner.cache()).await?;
        secret.ok_or(AccessError::Gone)
    }

    /// The cache behind a long-lived dashboard URL, for whoever only asks whether it is good: opens no session.
    pub async fn cache_of_link(&self, hash: &BearerSecret) -> Result<Option<CacheId>, AccessError> {
        let found = self.store.resource_by_sso(&hash.digest()).await?;
        Ok(found.map(|resource| resource.cache))
    }

    /// Drops sessions, proofs and certificates that are over, and what timeline and audit have kept long enough, from the
    /// database's files too. Call it now and then, behind what else deletes.
    pub async fn tidy(&self) -> Result<(), AccessError> {
        let now = self.clock.now();
        let mut tx = self.store.begin().await?;
        let (age, idle) = (self.settings.session_age, self.settings.session_idle);
        tx.prune_sessions(now.minus(age), now.minus(idle)).await?;
        tx.prune_proofs(now.minus(PROOF_KEPT)).await?;
        tx.prune_certificates(now.minus(EXPIRED_KEPT)).await?;
        tx.prune_audit(now.minus(self.settings.audit_kept)).await?;
        tx.prune_history(now.minus(self.settings.events_kept))
            .await?;
        tx.commit().await?;
        self.drop_oldest_events().await?;
        Ok(self.store.empty_wal().await?)
    }

    /// A session of a time that is still to come ends: the clock was set back, and nobody knows how old it is.
    fn is_alive(&self, session: &StoredSession, now: Timestamp) -> bool {
        let latest = now.plus(CLOCKS_APART);
        session.created_at <= latest
            && session.seen_at <= latest
            && now.since(session.created_at) < self.settings.session_age
            && now.since(session.seen_at) < self.settings.session_idle
    }

    async fn open(&self, tx: &mut Tx, visit: Visit) -> Result<NewSession, StoreError> {
        let now = self.clock.now();
        let (cookie, csrf) = (BearerSecret::generate(), BearerSecret::generate());
        let row = NewSessionRow {
            digest: &cookie.digest(),
            cache: visit.cache,
            opened_by: visit.opened_by,
            person: visit.person.as_deref(),
            context_app: visit.context_app.as_deref(),
            csrf: &csrf,
        };
        tx.insert_session(&row, now).await?;
        let action = match visit.opened_by {
            OpenedBy::Sso => "session.open.sso",
            OpenedBy::Link => "session.open.link",
        };
        let entry = AuditEntry {
            cache: Some(visit.cache),
            actor: Actor {
                identity: browser(visit.person, visit.opened_by, visit.marketplace),
                remote: visit.remote,
            },
            action: action.to_owned(),
            detail: visit.context_app.unwrap_or_default(),
        };
        tx.audit(&entry, now).await?;
        Ok(NewSession {
            cookie,
            cache: visit.cache,
        })
    }
}

/// A proof as it stands in the index of those that were used: PostgreSQL takes no NUL there, and no long text.
fn proof_key(proof: &str) -> String {
    if proof.len() <= PROOF_BYTES_MAX && !proof.contains(char::is_control) {
        return proof.to_owned();
    }
    digest_hex(proof.as_bytes())
}

struct Visit {
    cache: CacheId,
    marketplace: Marketplace,
    opened_by: OpenedBy,
    person: Option<String>,
    context_app: Option<String>,
    remote: Option<IpAddr>,
}

fn browser(person: Option<String>, opened_by: OpenedBy, marketplace: Marketplace) -> Identity {
    let came_by = match opened_by {
        OpenedBy::Sso => CameBy::Marketplace(marketplace),
        OpenedBy::Link => CameBy::Link,
    };
    Identity::Browser { person, came_by }
}
