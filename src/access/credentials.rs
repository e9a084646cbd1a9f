//! Credentials as a service. A change is in the database before it is on its way to the nodes, and the caller is
//! told how far it got.

use std::time::Duration;

use super::change::Change;
use super::{Access, AccessError, Owner, Reach};
use crate::domain::secret::{Password, VerifierKey};
use crate::domain::{
    CacheId, Capabilities, Credential, CredentialId, Event, Revision, Timestamp, Username,
};
use crate::outbox;
use crate::store::caches::credentials::NewCredential;
use crate::store::{StoreError, Tx};

/// How long a change waits for the nodes before the answer says that it is still on its way.
const REACH_WAIT: Duration = Duration::from_secs(2);
/// User names drawn before giving up. One in 16 million is taken per cache ever made, so a second draw is rare.
const DRAWS_MAX: u32 = 16;
/// Credentials that an owner may have a cache get within a day, removed ones included. A user name is given once: without a
/// bound one who makes and removes them in a loop would have used up those of everybody within days. A team that replaces
/// all credentials of the largest plan several times a day stays far below it.
const A_DAY_MAX: u32 = 100;
const DAY: Duration = Duration::from_secs(86_400);

/// Writes a new credential; `None` when the user name was ever used.
pub(crate) async fn issue(
    tx: &mut Tx,
    key: &VerifierKey,
    cache: CacheId,
    username: &Username,
    capabilities: Capabilities,
    primary: bool,
    now: Timestamp,
) -> Result<Option<Credential>, StoreError> {
    let id = CredentialId::generate(now);
    let password = Password::generate();
    let new = NewCredential {
        id,
        cache,
        username,
        password: &password,
        verifier: &password.verifier(key, username),
        capabilities,
        primary,
    };
    if !tx.insert_credential(&new, now).await? {
        return Ok(None);
    }
    Ok(Some(Credential {
        id,
        cache,
        username: username.clone(),
        capabilities,
        primary,
        created_at: now,
        last_used: None,
        retired_at: None,
    }))
}

impl Access {
    /// Live credentials, the primary first.
    pub async fn credentials(&self, owner: &Owner) -> Result<Vec<Credential>, AccessError> {
        Ok(self.store.credentials(owner.cache()).await?)
    }

    /// Shows a password; audited.
    pub async fn reveal(
        &self,
        owner: &Owner,
        username: &Username,
    ) -> Result<Password, AccessError> {
        let password = self.store.password(owner.cache(), username).await?;
        let password = password.ok_or_else(|| unknown(username))?;
        let mut tx = self.store.begin().await?;
        let entry = owner.audit("credential.reveal", username.as_str());
        tx.audit(&entry, self.clock.now()).await?;
        tx.commit().await?;
        Ok(password)
    }

    /// A new secondary credential with all capabilities.
    pub async fn create(&self, owner: &Owner) -> Result<(Credential, Reach), AccessError> {
        let mut change = self.begin(owner).await?;
        check_day(&mut change).await?;
        let credential = self.add(&mut change, Capabilities::ALL).await?;
        let username = credential.username.as_str();
        change.audit("credential.create", username).await?;
        let reach = self.carry_out(change).await?;
        Ok((credential, reach))
    }

    /// One more credential within the plan, and its event.
    pub(super) async fn add(
        &self,
        change: &mut Change,
        capabilities: Capabilities,
    ) -> Result<Credential, AccessError> {
        let cache = change.cache();
        let plan = self.plans.find_or_smallest(&change.resource.plan);
        let max = plan.credentials_max;
        if change.tx.count_credentials(cache).await? >= u64::from(max) {
            return Err(AccessError::TooManyCredentials { max });
        }
        let key = self.store.verifier_key();
        let credential = draw(&mut change.tx, key, cache, capabilities, change.now).await?;
        change
            .tell(Event::CredentialAdded {
                credential: credential.username.clone(),
            })
            .await?;
        Ok(credential)
    }

    /// Moves the primary mark and promises the push.
    pub(super) async fn make_primary(
        &self,
        change: &mut Change,
        credential: &Credential,
    ) -> Result<(), StoreError> {
        let (cache, now) = (change.cache(), change.now);
        change.tx.move_primary(credential, now).await?;
        change
            .tell(Event::CredentialPromoted {
                credential: credential.username.clone(),
            })
            .await?;
        // The push waits for this revision, and so for whatever made this credential before it (P3).
        let revision = change.bump().await?;
        outbox::want_config(&mut change.tx, cache, revision, now).await
    }

    /// Replaces the primary `from` by a new credential with its capabilities, in one step; `from` stays as a
    /// secondary. Once `from` is no longer the primary this is without effect, so that asking twice rotates once.
    /// Gives the primary's user name.
    pub async fn rotate(&self, owner: &Owner, from: &Username) -> Result<Username, AccessError> {
        let mut change = self.begin(owner).await?;
        let primary = change.tx.primary_credential(change.cache()).await?;
        let primary = primary.ok_or_else(|| unknown(from))?;
        if primary.username != *from {
            return Ok(primary.username);
        }
        check_day(&mut change).await?;
        let credential = self.add(&mut change, primary.capabilities).await?;
        self.make_primary(&mut change, &credential).await?;
        let detail = format!("{from} by {}", credential.username);
        change.audit("credential.rotate", detail).await?;
        change.commit().await?;
        self.cluster.wake();
        Ok(credential.username)
    }

    /// How long a former primary should stay after its successor has reached the provider.
    pub fn overlap(&self) -> Duration {
        self.settings.overlap
    }

    /// When apps that got the old values can be expected to have restarted: until then a former primary should
    /// stay. `None` for one that never was the primary.
    pub fn overlap_ends(&self, credential: &Credential) -> Option<Timestamp> {
        let retired_at = credential.retired_at?;
        Some(retired_at.plus(self.settings.overlap))
    }

    /// Makes it the primary and lets the outbox push it to the provider. Without effect on the present primary.
    pub async fn promote(&self, owner: &Owner, username: &Username) -> Result<(), AccessError> {
        let mut change = self.begin(owner).await?;
        let credential = change.tx.credential(change.cache(), username).await?;
        let credential = credential.ok_or_else(|| unknown(username))?;
        if credential.primary {
            return Ok(());
        }
        change
            .audit("credential.promote", username.as_str())
            .await?;
        self.make_primary(&mut change, &credential).await?;
        change.commit().await?;
        self.cluster.wake();
        Ok(())
    }

    /// Pushes what the provider has not taken at once, whatever became of it: somebody asks. Without effect when
    /// the provider has everything.
    pub async fn push_again(&self, owner: &Owner) -> Result<(), AccessError> {
        let mut change = self.begin(owner).await?;
        let (cache, now) = (change.cache(), change.now);
        change.tx.hasten_config(cache, now).await?;
        change.audit("config.push", "").await?;
        Ok(change.commit().await?)
    }

    pub async fn set_capabilities(
        &self,
        owner: &Owner,
        username: &Username,
        capabilities: Capabilities,
    ) -> Result<Reach, AccessError> {
        let mut change = self.begin(owner).await?;
        let credential = change.tx.credential(change.cache(), username).await?;
        let credential = credential.ok_or_else(|| unknown(username))?;
        if credential.capabilities == capabilities {
            return self.reach_of_last_change(change).await;
        }
        change
            .tx
            .set_capabilities(credential.id, capabilities)
            .await?;
        change
            .tell(Event::CapabilitiesChanged {
                credential: username.clone(),
                write: capabilities.allows(Capabilities::WRITE),
                flush: capabilities.allows(Capabilities::FLUSH),
            })
            .await?;
        let detail = format!("{username} {capabilities:?}");
        change.audit("credential.restrict", detail).await?;
        self.carry_out(change).await
    }

    /// Ends a secondary credential: its secrets are wiped, new logins refused and live connections closed. Asking
    /// twice is no error: the second click tells how far the first got.
    pub async fn remove(&self, owner: &Owner, username: &Username) -> Result<Reach, AccessError> {
        let mut change = self.begin(owner).await?;
        let (cache, now) = (change.cache(), change.now);
        let credential = match change.tx.credential(cache, username).await? {
            Some(credential) if credential.primary => return Err(AccessError::PrimaryStays),
            Some(credential) => credential,
            None if change.tx.was_removed(cache, username).await? => {
                return self.reach_of_last_change(change).await;
            }
            None => return Err(unknown(username)),
        };
        change.tx.remove_credential(credential.id, now).await?;
        change
            .tell(Event::CredentialRemoved {
                credential: username.clone(),
            })
            .await?;
        change.audit("credential.remove", username.as_str()).await?;
        self.carry_out(change).await
    }

    /// Wakes the nodes for a committed change and waits to see how far it gets. The change is made whatever comes of this:
    /// when the database goes away meanwhile, it counts as not yet applied anywhere.
    pub(super) async fn reach(
        &self,
        cache: CacheId,
        revision: Revision,
    ) -> Result<Reach, AccessError> {
        self.cluster.wake();
        match self.cluster.caught_up(cache, revision, REACH_WAIT).await {
            Ok(reach) => Ok(reach.into()),
            Err(error) => {
                tracing::warn!(%cache, %error, "cannot tell how far a change has got");
                Ok(Reach::Partial {
                    applied: 0,
                    nodes: 1,
                })
            }
        }
    }
}

/// Whether the owner may have one more today. What the schedule and operators replace counts as well, but is not asked
/// about: nobody causes it in a loop, and after a leak it must not wait for tomorrow.
async fn check_day(change: &mut Change) -> Result<(), AccessError> {
    let (cache, now) = (change.cache(), change.now);
    let nth = change
        .tx
        .nth_newest_credential(cache, A_DAY_MAX, now.minus(DAY), now)
        .await?;
    match nth {
        None => Ok(()),
        Some(made_at) => Err(AccessError::TooManyCredentialsToday {
            max: A_DAY_MAX,
            // To the next whole second, as it is shown.
            again_at: Timestamp::from_secs(made_at.plus(DAY).secs() + 1),
        }),
    }
}

async fn draw(
    tx: &mut Tx,
    key: &VerifierKey,
    cache: CacheId,
    capabilities: Capabilities,
    now: Timestamp,
) -> Result<Credential, AccessError> {
    for _ in 0..DRAWS_MAX {
        let username = Username::generate();
        if let Some(credential) = issue(tx, key, cache, &username, capabilities, false, now).await?
        {
            return Ok(credential);
        }
    }
    Err(StoreError::Taken("credentials.username".to_owned()).into())
}

fn unknown(username: &Username) -> AccessError {
    AccessError::UnknownCredential(username.to_string())
}
