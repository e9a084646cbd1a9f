//! Scheduled rotation: every so many days a new credential takes the primary's place, as *rotate now* does it.
//!
//! A rotation step is one transaction behind the resource's lock, which also sets the time of the next: of several
//! control processes one takes it, and a crash leaves either all of it or none. The former primary goes on working.
//! It is removed when its successor's values have been with the provider for the overlap, nobody has logged in with it
//! for as long and no connection is open with it; what cannot be seen (the node is another process's) counts as in
//! use. A credential that the owner made or promoted by hand, or has a client certificate of, is never removed here.

use std::time::Duration;

use super::change::Change;
use super::{Access, AccessError, Owner, Rotation};
use crate::domain::rotation::is_out_of_use;
use crate::domain::{
    Actor, CacheId, Credential, Event, Identity, ResourceState, RotationPeriod, Timestamp, Username,
};
use crate::store::StoreError;

/// A step that is put off is tried again after this.
const AGAIN_AFTER: Duration = Duration::from_secs(3_600);
/// Steps taken, and credentials removed, at a time: a clock that jumps ahead makes many due at once.
const AT_A_TIME: u32 = 20;

/// What came of an operator's demand for a new primary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replaced {
    Done,
    /// The primary is newer than what is to be replaced.
    NotNeeded,
    /// It cannot be done now.
    PutOff {
        reason: String,
    },
}

/// Why a step is put off.
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

    /// Switches the schedule on or off. Asking for the period that holds leaves the next step where it is.
    pub async fn set_rotation(
        &self,
        owner: &Owner,
        period: Option<RotationPeriod>,
    ) -> Result<(), AccessError> {
        let mut change = self.begin(owner).await?;
        let (cache, now) = (change.cache(), change.now);
        let held = self.store.rotation(cache).await?;
        if held.map(|rotation| rotation.period) == period {
            return Ok(());
        }
        change.tx.set_rotation(cache, period, now).await?;
        let every_days = period.map_or(0, RotationPeriod::days);
        change.tell(Event::RotationScheduled { every_days }).await?;
        let detail = format!("every {every_days} days");
        change.audit("rotation.schedule", detail).await?;
        Ok(change.commit().await?)
    }

    /// Takes the steps that are due, and removes what nobody uses any more. Call it now and then, from any number of
    /// processes. Tells how many steps were taken.
    pub async fn rotate_due(&self) -> Result<usize, AccessError> {
        let due = self
            .store
            .due_rotations(self.clock.now(), AT_A_TIME)
            .await?;
        let mut taken = 0;
        for cache in due {
            taken += usize::from(self.take_step(cache).await?);
        }
        self.remove_unused().await?;
        Ok(taken)
    }

    /// Replaces the primary by a new credential, as the schedule does it, if it was made before `before`: so the same
    /// demand, made again after an interruption, goes on where it stopped. The former primary is removed once nobody
    /// uses it any more.
    pub async fn replace_older(
        &self,
        owner: &Owner,
        before: Timestamp,
    ) -> Result<Replaced, AccessError> {
        let mut change = self.begin(owner).await?;
        let cache = change.cache();
        let primary = change.tx.primary_credential(cache).await?;
        if primary.is_none_or(|primary| primary.created_at >= before) {
            return Ok(Replaced::NotNeeded);
        }
        if !self.store.has_token(cache).await? {
            let reason = "its provider cannot be called about it".to_owned();
            return Ok(Replaced::PutOff { reason });
        }
        if let Err(put_off) = self.replace_primary(&mut change).await? {
            let reason = put_off.reason();
            return Ok(Replaced::PutOff { reason });
        }
        change.commit().await?;
        self.cluster.wake();
        Ok(Replaced::Done)
    }

    async fn take_step(&self, cache: CacheId) -> Result<bool, AccessError> {
        let mut change = match self.begin_as(cache, schedule()).await {
            Ok(change) => change,
            Err(AccessError::Gone) => return Ok(false),
            Err(error) => return Err(error),
        };
        let now = change.now;
        let Some(step) = change.tx.due_rotation(cache, now).await? else {
            return Ok(false);
        };
        let outcome = self.replace_primary(&mut change).await?;
        let (next, why) = match &outcome {
            Ok(()) => (now.plus(step.period.duration()), None),
            Err(put_off) => (now.plus(AGAIN_AFTER), Some(put_off.reason())),
        };
        if let Some(reason) = why
            .clone()
            .filter(|why| step.last_error.as_ref() != Some(why))
        {
            change.tell(Event::RotationPutOff { reason }).await?;
        }
        if matches!(outcome, Err(PutOff::Full { .. })) {
            // Some may have been removed, if not enough.
            change.bump().await?;
        }
        change
            .tx
            .reschedule_rotation(cache, next, why.as_deref(), now)
            .await?;
        change.commit().await?;
        self.cluster.wake();
        match why {
            None => tracing::info!(%cache, "the schedule replaced the primary credential"),
            Some(why) => tracing::warn!(%cache, why, "a scheduled rotation was put off"),
        }
        Ok(outcome.is_ok())
    }

    /// The step itself.
    async fn replace_primary(
        &self,
        change: &mut Change,
    ) -> Result<Result<(), PutOff>, AccessError> {
        let cache = change.cache();
        if change.resource.state == ResourceState::Provisioning {
            return Ok(Err(PutOff::Because("the cache is still being set up")));
        }
        if !self.abilities.of(change.resource.marketplace).config_push {
            let why = "its marketplace takes no new values from us: replace the credential by hand";
            return Ok(Err(PutOff::Because(why)));
        }
        let config = self.store.config_state(cache).await?;
        if config.is_none_or(|config| config.applied < config.desired) {
            let why = "the provider has not taken the last values yet";
            return Ok(Err(PutOff::Because(why)));
        }
        let Some(primary) = change.tx.primary_credential(cache).await? else {
            return Err(AccessError::Gone);
        };
        let plan = self.plans.find_or_smallest(&change.resource.plan);
        let max = plan.credentials_max;
        if change.tx.count_credentials(cache).await? >= u64::from(max) {
            for former in change.tx.going_of(cache).await? {
                self.remove_if_unused(change, &former).await?;
            }
        }
        let credential = match self.add(change, primary.capabilities).await {
            Ok(credential) => credential,
            Err(AccessError::TooManyCredentials { max }) => return Ok(Err(PutOff::Full { max })),
            Err(error) => return Err(error),
        };
        self.make_primary(change, &credential).await?;
        change.tx.let_go_unused(primary.id).await?;
        let detail = format!("{} by {}", primary.username, credential.username);
        change.audit("credential.rotate", detail).await?;
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
            let mut change = match self.begin_as(cache, schedule()).await {
                Ok(change) => change,
                Err(AccessError::Gone) => continue,
                Err(error) => return Err(error),
            };
            let going = change.tx.going_of(cache).await?;
            let Some(former) = going.iter().find(|former| former.username == username) else {
                continue;
            };
            if self.remove_if_unused(&mut change, former).await? {
                change.bump().await?;
                change.commit().await?;
                self.cluster.wake();
                removed += 1;
            }
        }
        Ok(())
    }

    /// The caller bumps the revision.
    async fn remove_if_unused(
        &self,
        change: &mut Change,
        former: &Credential,
    ) -> Result<bool, StoreError> {
        let (cache, now) = (change.cache(), change.now);
        if !is_out_of_use(former, self.settings.overlap, now)
            || self.is_connected(cache, &former.username).await?
        {
            return Ok(false);
        }
        change.tx.remove_credential(former.id, now).await?;
        change
            .tell(Event::CredentialRemoved {
                credential: former.username.clone(),
            })
            .await?;
        let username = former.username.as_str();
        change.audit("credential.remove", username).await?;
        Ok(true)
    }

    /// Whether a connection is open with this credential, as far as it can be told.
    async fn is_connected(&self, cache: CacheId, username: &Username) -> Result<bool, StoreError> {
        let open = self.cluster.connections_with(cache, username).await?;
        Ok(open != Some(0))
    }
}

fn schedule() -> Actor {
    Actor::local(Identity::Schedule)
}
