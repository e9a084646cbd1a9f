//! What the outbox asks of others: the nodes, and each marketplace.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;

use crate::domain::secret::Password;
use crate::domain::{BoxFuture, CacheId, ExternalId, Marketplace, Revision, Timestamp, Username};
use crate::store::StoreError;

/// Knows where caches are, and how far their nodes are.
pub trait Nodes: Send + Sync {
    /// True once every node of the cache has applied `revision`; false when that takes longer than `within`.
    fn wait_applied(
        &self,
        cache: CacheId,
        revision: Revision,
        within: Duration,
    ) -> BoxFuture<'_, bool>;

    /// Gives a cache that has no node yet one, and promises the push of its first config vars. False while no node
    /// has room.
    fn find_room(&self, cache: CacheId) -> BoxFuture<'_, Result<bool, StoreError>>;
}

/// What an app needs to reach its cache. The adapter knows the variables' names.
#[derive(Clone, Debug)]
pub struct ConfigValues {
    pub servers: String,
    pub username: Username,
    pub password: Password,
}

/// A line for an app's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// When it happened.
    pub at: Timestamp,
    pub text: String,
}

/// What a provider gives for a code or a refresh token.
#[derive(Debug)]
pub struct Tokens {
    pub access: SecretString,
    pub expires_in: Duration,
    pub refresh: Option<SecretString>,
}

/// An app that a resource is attached to, as the provider tells.
#[derive(Clone, Debug)]
pub struct AttachedApp {
    /// The provider's id of the app.
    pub app: String,
    /// Whether the app owns the resource.
    pub owns: bool,
    pub log_url: Option<SecretString>,
}

/// A resource as its provider knows it.
#[derive(Clone, Debug)]
pub struct ResourceNow {
    /// The display name.
    pub name: String,
    pub stage: Stage,
}

/// How far a resource is in the provider's books.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Provisioning,
    Provisioned,
    Deprovisioned,
}

/// Why a call did not work, and whether it may.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SendError {
    pub kind: SendErrorKind,
    /// For the dashboard and the operator. Never holds a secret.
    pub message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendErrorKind {
    /// Trouble on the way or over there; `after` is what the provider asked for.
    Retry { after: Option<Duration> },
    /// The token or the key in the URL is not accepted.
    Unauthorized,
    /// The provider does not know the resource.
    Gone,
    /// The same call will never work.
    Refused,
}

impl SendError {
    pub fn new(kind: SendErrorKind, message: impl Into<String>) -> SendError {
        SendError {
            kind,
            message: message.into(),
        }
    }
}

/// One marketplace, as far as we call it. Every call ends within its own deadline (15 s).
pub trait Provider: Send + Sync {
    /// Sets all variables of a resource in one call.
    fn push_config<'a>(
        &'a self,
        resource: &'a ExternalId,
        token: &'a SecretString,
        values: &'a ConfigValues,
    ) -> BoxFuture<'a, Result<(), SendError>>;

    /// Exchanges a one-time code for tokens.
    fn exchange<'a>(&'a self, code: &'a SecretString) -> BoxFuture<'a, Result<Tokens, SendError>>;

    /// A new code for a resource whose code or tokens are lost; `None` where the provider gives none.
    fn fresh_code<'a>(
        &'a self,
        _resource: &'a ExternalId,
    ) -> BoxFuture<'a, Result<Option<SecretString>, SendError>> {
        Box::pin(async { Ok(None) })
    }

    /// Gets a new access token.
    fn refresh<'a>(
        &'a self,
        refresh_token: &'a SecretString,
    ) -> BoxFuture<'a, Result<Tokens, SendError>>;

    /// The apps a resource is attached to now, with fresh log inputs.
    fn attachments<'a>(
        &'a self,
        resource: &'a ExternalId,
        token: &'a SecretString,
    ) -> BoxFuture<'a, Result<Vec<AttachedApp>, SendError>>;

    /// What the provider knows of a resource now.
    fn resource<'a>(
        &'a self,
        resource: &'a ExternalId,
        token: &'a SecretString,
    ) -> BoxFuture<'a, Result<ResourceNow, SendError>>;

    /// Tells that a resource which was accepted is ready: its config vars reach the app.
    fn finish<'a>(
        &'a self,
        resource: &'a ExternalId,
        token: &'a SecretString,
    ) -> BoxFuture<'a, Result<(), SendError>>;

    /// Tells that a resource which was accepted will never be ready: the provider removes it.
    fn give_up<'a>(
        &'a self,
        resource: &'a ExternalId,
        token: &'a SecretString,
    ) -> BoxFuture<'a, Result<(), SendError>>;

    /// Where news of resources is to be sent; `None` where none is asked for.
    fn news_url(&self) -> Option<&str>;

    /// Asks the provider to send news of a resource to [`news_url`](Provider::news_url). Asking twice is harmless.
    fn ask_for_news<'a>(
        &'a self,
        resource: &'a ExternalId,
        token: &'a SecretString,
    ) -> BoxFuture<'a, Result<(), SendError>>;

    /// All installs that the marketplace has of us; `None` when it has no such list.
    fn installs(&self) -> BoxFuture<'_, Result<Option<Vec<ExternalId>>, SendError>>;

    /// Writes lines to an app's log, in order, all or none. `batch` is the same when the same lines are sent again.
    fn send_log<'a>(
        &'a self,
        resource: &'a ExternalId,
        url: &'a SecretString,
        batch: &'a str,
        lines: &'a [LogLine],
    ) -> BoxFuture<'a, Result<(), SendError>>;
}

/// The marketplaces that can be called. One that is not listed takes no pushes: its customers read the values
/// from the dashboard.
pub type Providers = HashMap<Marketplace, Arc<dyn Provider>>;
