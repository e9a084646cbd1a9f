//! A change of one cache under way: what every change does alike.

use super::{Access, AccessError, Owner, Reach};
use crate::domain::{Actor, CacheId, Event, Resource, Revision, Timestamp};
use crate::outbox;
use crate::store::service::audit::AuditEntry;
use crate::store::{StoreError, Tx};

/// An open transaction that holds the resource's row lock, with who makes the change. Dropped, it leaves no trace.
pub(super) struct Change {
    pub(super) tx: Tx,
    /// As of now, not as of the session's look-up.
    pub(super) resource: Resource,
    pub(super) now: Timestamp,
    actor: Actor,
}

impl Change {
    pub(super) fn cache(&self) -> CacheId {
        self.resource.cache
    }

    pub(super) fn actor(&self) -> &Actor {
        &self.actor
    }

    /// Puts it into the timeline, and promises a line to the apps that hear of such events.
    pub(super) async fn tell(&mut self, event: Event) -> Result<(), StoreError> {
        let (cache, label) = (self.resource.cache, &self.resource.label);
        outbox::announce(&mut self.tx, cache, label, &event, &self.actor, self.now).await
    }

    pub(super) async fn audit(
        &mut self,
        action: &str,
        detail: impl Into<String>,
    ) -> Result<(), StoreError> {
        let entry = AuditEntry {
            cache: Some(self.resource.cache),
            actor: self.actor.clone(),
            action: action.to_owned(),
            detail: detail.into(),
        };
        self.tx.audit(&entry, self.now).await
    }

    /// Nodes must know of it. The last statement before the commit, but for a push that waits for this revision.
    pub(super) async fn bump(&mut self) -> Result<Revision, StoreError> {
        self.tx.bump(self.resource.cache).await
    }

    pub(super) async fn commit(self) -> Result<(), StoreError> {
        self.tx.commit().await
    }
}

impl Access {
    pub(super) async fn begin(&self, owner: &Owner) -> Result<Change, AccessError> {
        self.begin_as(owner.cache(), owner.actor().clone()).await
    }

    pub(super) async fn begin_as(
        &self,
        cache: CacheId,
        actor: Actor,
    ) -> Result<Change, AccessError> {
        let mut tx = self.store.begin().await?;
        match tx.lock_resource(cache).await? {
            Some(resource) if resource.state.is_live() => Ok(Change {
                tx,
                resource,
                now: self.clock.now(),
                actor,
            }),
            _ => Err(AccessError::Gone),
        }
    }

    /// Commits a change that nodes must know of, and sees how far it gets.
    pub(super) async fn carry_out(&self, mut change: Change) -> Result<Reach, AccessError> {
        let cache = change.cache();
        let revision = change.bump().await?;
        change.commit().await?;
        self.reach(cache, revision).await
    }

    /// Nothing is to be changed: how far has the change got that made it so?
    pub(super) async fn reach_of_last_change(&self, change: Change) -> Result<Reach, AccessError> {
        let cache = change.cache();
        drop(change);
        let revision = self.store.last_change(cache).await?;
        self.reach(cache, revision).await
    }
}
