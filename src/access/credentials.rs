//! Credentials as a service. A change is in the database before it is on its way to the nodes, and the caller is
//! told how far it got.

use std::time::Duration;

use super::{Access, AccessError, Owner, Reach};
use crate::domain::secret::{Password, VerifierKey};
use crate::domain::{
    CacheId, Capabilities, Credential, CredentialId, Event, Resource, Revision, Timestamp, Username,
};
use crate::outbox;
use crate::store::audit::AuditEntry;
use crate::store::credentials::NewCredential;
use crate::store::{StoreError, Tx};

/// How long a change waits for the nodes before the answer says that it is still on its way.
const REACH_WAIT: Duration = Duration::from_secs(2);
/// User names drawn before giving up. One in 16 million is taken per cache ever made, so a second draw is rare.
const DRAWS_MAX: u32 = 16;

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
        let (mut tx, resource) = self.begin(owner).await?;
        let now = self.clock.now();
        let credential = self.add(&mut tx, &resource, Capabilities::ALL, now).await?;
        let entry = owner.audit("credential.create", credential.username.as_str());
        tx.audit(&entry, now).await?;
        let revision = tx.bump(resource.cache).await?;
        tx.commit().await?;
        let reach = self.reach(resource.cache, revision).await?;
        Ok((credential, reach))
    }

    /// One more credential within the plan, and its event.
    pub(super) async fn add(
        &self,
        tx: &mut Tx,
        resource: &Resource,
        capabilities: Capabilities,
        now: Timestamp,
    ) -> Result<Credential, AccessError> {
        let cache = resource.cache;
        let max = self.plans.find_or_smallest(&resource.plan).credentials_max;
        if tx.count_credentials(cache).await? >= u64::from(max) {
            return Err(AccessError::TooManyCredentials { max });
        }
        let credential = draw(tx, self.store.verifier_key(), cache, capabilities, now).await?;
        let event = Event::CredentialCreated {
            credential: credential.username.clone(),
        };
        outbox::announce(tx, cache, &resource.label, &event, now).await?;
        Ok(credential)
    }

    /// Moves the primary mark and promises the push.
    pub(super) async fn make_primary(
        &self,
        tx: &mut Tx,
        resource: &Resource,
        credential: &Credential,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let cache = resource.cache;
        tx.move_primary(credential, now).await?;
        let event = Event::CredentialPromoted {
            credential: credential.username.clone(),
        };
        outbox::announce(tx, cache, &resource.label, &event, now).await?;
        // The push waits for this revision, and so for whatever made this credential before it (P3).
        let revision = tx.bump(cache).await?;
        outbox::want_config(tx, cache, revision, now).await
    }

    /// Replaces the primary `from` by a new credential with its capabilities, in one step; `from` stays as a
    /// secondary. Once `from` is no longer the primary this is without effect, so that asking twice rotates once.
    /// Gives the primary's user name.
    pub async fn rotate(&self, owner: &Owner, from: &Username) -> Result<Username, AccessError> {
        let (mut tx, resource) = self.begin(owner).await?;
        let now = self.clock.now();
        let primary = tx.primary_credential(resource.cache).await?;
        let primary = primary.ok_or_else(|| unknown(from))?;
        if primary.username != *from {
            return Ok(primary.username);
        }
        let credential = self
            .add(&mut tx, &resource, primary.capabilities, now)
            .await?;
        self.make_primary(&mut tx, &resource, &credential, now)
            .await?;
        let detail = format!("{from} by {}", credential.username);
        tx.audit(&owner.audit("credential.rotate", detail), now)
            .await?;
        tx.commit().await?;
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
        let (mut tx, resource) = self.begin(owner).await?;
        let cache = resource.cache;
        let now = self.clock.now();
        let credential = tx.credential(cache, username).await?;
        let credential = credential.ok_or_else(|| unknown(username))?;
        if credential.primary {
            return Ok(());
        }
        let entry = owner.audit("credential.promote", username.as_str());
        tx.audit(&entry, now).await?;
        self.make_primary(&mut tx, &resource, &credential, now)
            .await?;
        tx.commit().await?;
        self.cluster.wake();
        Ok(())
    }

    /// Pushes what the provider has not taken at once, whatever became of it: the owner asks. Without effect when
    /// the provider has everything.
    pub async fn push_again(&self, owner: &Owner) -> Result<(), AccessError> {
        let (tx, resource) = self.begin(owner).await?;
        self.send_again(tx, &resource, owner.audit("config.push", ""))
            .await
    }

    /// The same on an operator's word.
    pub async fn push_again_as_operator(&self, cache: CacheId) -> Result<(), AccessError> {
        let (tx, resource) = self.begin_on(cache).await?;
        let entry = AuditEntry {
            cache: Some(cache),
            actor: "operator".to_owned(),
            action: "config.push".to_owned(),
            detail: String::new(),
            remote: None,
        };
        self.send_again(tx, &resource, entry).await
    }

    async fn send_again(
        &self,
        mut tx: Tx,
        resource: &Resource,
        entry: AuditEntry,
    ) -> Result<(), AccessError> {
        let now = self.clock.now();
        tx.hasten_config(resource.cache, now).await?;
        tx.audit(&entry, now).await?;
        Ok(tx.commit().await?)
    }

    pub async fn set_capabilities(
        &self,
        owner: &Owner,
        username: &Username,
        capabilities: Capabilities,
    ) -> Result<Reach, AccessError> {
        let (mut tx, resource) = self.begin(owner).await?;
        let cache = resource.cache;
        let now = self.clock.now();
        let credential = tx.credential(cache, username).await?;
        let credential = credential.ok_or_else(|| unknown(username))?;
        if credential.capabilities == capabilities {
            drop(tx);
            let revision = self.store.last_change(cache).await?;
            return self.reach(cache, revision).await;
        }
        tx.set_capabilities(credential.id, capabilities).await?;
        let event = Event::CapabilitiesChanged {
            credential: username.clone(),
            write: capabilities.allows(Capabilities::WRITE),
            flush: capabilities.allows(Capabilities::FLUSH),
            api: capabilities.allows(Capabilities::API),
        };
        outbox::announce(&mut tx, cache, &resource.label, &event, now).await?;
        let detail = format!("{username} {capabilities:?}");
        tx.audit(&owner.audit("credential.restrict", detail), now)
            .await?;
        let revision = tx.bump(cache).await?;
        tx.commit().await?;
        self.reach(cache, revision).await
    }

    /// Ends a secondary credential: its secrets are wiped, new logins refused and live connections closed. Asking
    /// twice is no error: the second click tells how far the first got.
    pub async fn remove(&self, owner: &Owner, username: &Username) -> Result<Reach, AccessError> {
        let (mut tx, resource) = self.begin(owner).await?;
        let cache = resource.cache;
        let now = self.clock.now();
        let credential = match tx.credential(cache, username).await? {
            Some(credential) if credential.primary => return Err(AccessError::PrimaryStays),
            Some(credential) => credential,
            None if tx.was_removed(cache, username).await? => {
                drop(tx);
                let revision = self.store.last_change(cache).await?;
                return self.reach(cache, revision).await;
            }
            None => return Err(unknown(username)),
        };
        tx.remove_credential(credential.id, now).await?;
        let event = Event::CredentialRemoved {
            credential: username.clone(),
        };
        outbox::announce(&mut tx, cache, &resource.label, &event, now).await?;
        let entry = owner.audit("credential.remove", username.as_str());
        tx.audit(&entry, now).await?;
        let revision = tx.bump(cache).await?;
        tx.commit().await?;
        self.reach(cache, revision).await
    }

    /// Sends a committed change on its way and sees how far it gets. The change is made whatever comes of this:
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
