//! Scheduled rotation: every so many days a new credential takes the primary's place, as *rotate now* does it.
//!
//! A turn is one transaction behind the resource's lock, which also sets the next turn: of several control processes
//! one takes it, and a crash leaves either all of it or none. The former primary goes on working. It goes by itself
//! when its successor's values have been with the provider for the overlap, nobody has logged in with it for as long
//! and no connection is open with it; what cannot be seen (the node is another process's) counts as in use. A
//! credential that the owner made or promoted by hand, or has a client certificate of, never goes by itself.

use std::time::Duration;

use super::{Access, AccessError, Owner, Rotation};
use crate::domain::rotation::is_out_of_use;
use crate::domain::{
    CacheId, Credential, Event, Resource, ResourceState, RotationPeriod, Timestamp, Username,
};
use crate::outbox;
use crate::store::audit::AuditEntry;
use crate::store::{StoreError, Tx};

/// A turn that is put off is taken again after this.
const AGAIN_AFTER: Duration = Duration::from_secs(3_600);
/// Turns taken, and credentials removed, at a time: a clock that jumps ahead makes many due at once.
const AT_A_TIME: u32 = 20;

/// Why a turn is put off.
enum PutOff {
    Because(&'static str),
    Full { max: u32 },
}

impl PutOff {
    fn reason(&self) -> String {
        match self {
            PutOff::Because(why) => (*why).to_owned(),
            PutOff::Full { max } => format!("all {max} credentials of the plan are in use"),
        }
    }
}

impl Access {
    /// The cache's schedule; `None` when it is off.
    pub async fn rotation(&self, owner: &Owner) -> Result<Option<Rotation>, AccessError> {
        Ok(self.store.rotation(owner.cache()).await?)
    }

    /// Switches the schedule on or off. Asking for the period that holds leaves the next turn where it is.
    pub async fn set_rotation(
        &self,
        owner: &Owner,
        period: Option<RotationPeriod>,
    ) -> Result<(), AccessError> {
        let (mut tx, resource) = self.begin(owner).await?;
        let cache = resource.cache;
        let held = self.store.rotation(cache).await?;
        if held.map(|rotation| rotation.period) == period {
            return Ok(());
        }
        let now = self.clock.now();
        tx.set_rotation(cache, period, now).await?;
        let every_days = period.map_or(0, RotationPeriod::days);
        let event = Event::RotationScheduled { every_days };
        outbox::announce(&mut tx, cache, &resource.label, &event, now).await?;
        let entry = owner.audit("rotation.schedule", format!("every {every_days} days"));
        tx.audit(&entry, now).await?;
        Ok(tx.commit().await?)
    }

    /// Takes the turns that are due, and removes what nobody uses any more. Call it now and then, from any number of
    /// processes. Tells how many turns were taken.
    pub async fn rotate_due(&self) -> Result<usize, AccessError> {
        let due = self
            .store
            .due_rotations(self.clock.now(), AT_A_TIME)
            .await?;
        let mut taken = 0;
        for cache in due {
            taken += usize::from(self.take_turn(cache).await?);
        }
        self.remove_unused().await?;
        Ok(taken)
    }

    async fn take_turn(&self, cache: CacheId) -> Result<bool, AccessError> {
        let (mut tx, resource) = match self.begin_on(cache).await {
            Ok(begun) => begun,
            Err(AccessError::Gone) => return Ok(false),
            Err(error) => return Err(error),
        };
        let now = self.clock.now();
        let Some(turn) = tx.due_rotation(cache, now).await? else {
            return Ok(false);
        };
        let outcome = self.replace_primary(&mut tx, &resource, now).await?;
        let (next, why) = match &outcome {
            Ok(()) => (now.plus(turn.period.duration()), None),
            Err(put_off) => (now.plus(AGAIN_AFTER), Some(put_off.reason())),
        };
        if let Some(reason) = why
            .clone()
            .filter(|why| turn.last_error.as_ref() != Some(why))
        {
            let event = Event::RotationPutOff { reason };
            outbox::announce(&mut tx, cache, &resource.label, &event, now).await?;
        }
        if matches!(outcome, Err(PutOff::Full { .. })) {
            // Some may have been removed, if not enough.
            tx.bump(cache).await?;
        }
        tx.reschedule_rotation(cache, next, why.as_deref(), now)
            .await?;
        tx.commit().await?;
        self.cluster.wake();
        match why {
            None => tracing::info!(%cache, "the schedule replaced the primary credential"),
            Some(why) => tracing::warn!(%cache, why, "a scheduled rotation was put off"),
        }
        Ok(outcome.is_ok())
    }

    /// The turn itself.
    async fn replace_primary(
        &self,
        tx: &mut Tx,
        resource: &Resource,
        now: Timestamp,
    ) -> Result<Result<(), PutOff>, AccessError> {
        let cache = resource.cache;
        if resource.state == ResourceState::Provisioning {
            return Ok(Err(PutOff::Because("the cache is still being set up")));
        }
        let config = self.store.config_state(cache).await?;
        if config.is_none_or(|config| config.applied < config.desired) {
            let why = "the provider has not taken the last values yet";
            return Ok(Err(PutOff::Because(why)));
        }
        let Some(primary) = tx.primary_credential(cache).await? else {
            return Err(AccessError::Gone);
        };
        let max = self.plans.find_or_smallest(&resource.plan).credentials_max;
        if tx.count_credentials(cache).await? >= u64::from(max) {
            for former in tx.going_of(cache).await? {
                self.remove_if_unused(tx, resource, &former, now).await?;
            }
        }
        let credential = match self.add(tx, resource, primary.capabilities, now).await {
            Ok(credential) => credential,
            Err(AccessError::TooManyCredentials { max }) => return Ok(Err(PutOff::Full { max })),
            Err(error) => return Err(error),
        };
        self.make_primary(tx, resource, &credential, now).await?;
        tx.let_go_unused(primary.id).await?;
        let detail = format!("{} by {}", primary.username, credential.username);
        tx.audit(&by_schedule(cache, "credential.rotate", detail), now)
            .await?;
        Ok(Ok(()))
    }

    /// Removes former primaries on the node of this process that are out of use.
    async fn remove_unused(&self) -> Result<(), AccessError> {
        let Some(node) = self.cluster.local_node() else {
            return Ok(());
        };
        let before = self.clock.now().minus(self.settings.overlap);
        let mut removed = 0;
        for (cache, username) in self.store.going_credentials(node, before).await? {
            if removed == AT_A_TIME {
                break;
            }
            if self.is_connected(cache, &username).await? {
                continue;
            }
            let (mut tx, resource) = match self.begin_on(cache).await {
                Ok(begun) => begun,
                Err(AccessError::Gone) => continue,
                Err(error) => return Err(error),
            };
            let now = self.clock.now();
            let going = tx.going_of(cache).await?;
            let Some(former) = going.iter().find(|former| former.username == username) else {
                continue;
            };
            if self
                .remove_if_unused(&mut tx, &resource, former, now)
                .await?
            {
                tx.bump(cache).await?;
                tx.commit().await?;
                self.cluster.wake();
                removed += 1;
            }
        }
        Ok(())
    }

    /// The caller bumps the revision.
    async fn remove_if_unused(
        &self,
        tx: &mut Tx,
        resource: &Resource,
        former: &Credential,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let cache = resource.cache;
        if !is_out_of_use(former, self.settings.overlap, now)
            || self.is_connected(cache, &former.username).await?
        {
            return Ok(false);
        }
        tx.remove_credential(former.id, now).await?;
        let event = Event::CredentialRemoved {
            credential: former.username.clone(),
        };
        outbox::announce(tx, cache, &resource.label, &event, now).await?;
        let entry = by_schedule(cache, "credential.remove", former.username.to_string());
        tx.audit(&entry, now).await?;
        Ok(true)
    }

    /// Whether a connection is open with this credential, as far as it can be told.
    async fn is_connected(&self, cache: CacheId, username: &Username) -> Result<bool, StoreError> {
        let open = self.cluster.connections_with(cache, username).await?;
        Ok(open != Some(0))
    }
}

fn by_schedule(cache: CacheId, action: &str, detail: String) -> AuditEntry {
    AuditEntry {
        cache: Some(cache),
        actor: "schedule".to_owned(),
        action: action.to_owned(),
        detail,
        remote: None,
    }
}
