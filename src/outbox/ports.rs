//! What the outbox asks of others: the nodes, and each marketplace.
//!
//! A marketplace is a set of optional abilities, one trait each. Nothing is promised that needs an ability which the
//! marketplace has not: its rows are never claimed, and *cannot be pushed to* is a state of its own.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;

use crate::domain::{
    Abilities, AbilityTable, BoxFuture, CacheId, ConfigValues, ExternalId, Marketplace, Revision,
    Timestamp,
};
use crate::http::CallError;
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

    /// Sees to it that a cache which is being set up is on a node that answers, and promises the push of its first
    /// config vars. False while no node has room.
    fn find_room(&self, cache: CacheId) -> BoxFuture<'_, Result<bool, StoreError>>;
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
    /// The display name; `None` where the provider tells none.
    pub name: Option<String>,
    pub state: ProviderState,
}

/// How far a resource is by the provider's account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProviderState {
    Provisioning,
    Provisioned,
    Deprovisioned,
}

/// One marketplace, as far as we call it. Each method hands out one ability, `None` where the marketplace has no such
/// call or this installation may not make it. A provider that answers `None` throughout can still sell caches.
///
/// Every call of an ability ends within its own deadline (15 s).
pub trait Provider: Send + Sync {
    fn tokens(&self) -> Option<&dyn TokenIssuer> {
        None
    }
    fn config_push(&self) -> Option<&dyn ConfigPush> {
        None
    }
    fn log_sink(&self) -> Option<&dyn LogSink> {
        None
    }
    fn resource_reader(&self) -> Option<&dyn ResourceReader> {
        None
    }
    fn completion(&self) -> Option<&dyn Completion> {
        None
    }
    fn webhooks(&self) -> Option<&dyn Webhooks> {
        None
    }
    fn inventory(&self) -> Option<&dyn Inventory> {
        None
    }
}

/// The resource's access token; `None` at a marketplace that has no [`TokenIssuer`] and knows us by other means.
pub type Token<'a> = Option<&'a SecretString>;

/// Gives tokens, per resource, for a one-time code that came with the order.
pub trait TokenIssuer: Send + Sync {
    /// Exchanges a one-time code for tokens. [`CallErrorKind::Refused`](crate::http::CallErrorKind::Refused) says
    /// that this code is spent or void and must not be sent again.
    fn exchange<'a>(&'a self, code: &'a SecretString) -> BoxFuture<'a, Result<Tokens, CallError>>;

    /// A new code for a resource whose code or tokens are lost; `None` where the provider gives none.
    fn fresh_code<'a>(
        &'a self,
        _resource: &'a ExternalId,
    ) -> BoxFuture<'a, Result<Option<SecretString>, CallError>> {
        Box::pin(async { Ok(None) })
    }

    /// Gets a new access token.
    fn refresh<'a>(
        &'a self,
        refresh_token: &'a SecretString,
    ) -> BoxFuture<'a, Result<Tokens, CallError>>;
}

/// Sets an app's config vars after the order was answered.
pub trait ConfigPush: Send + Sync {
    /// Sets all variables of a resource in one call.
    fn push_config<'a>(
        &'a self,
        resource: &'a ExternalId,
        token: Token<'a>,
        values: &'a ConfigValues,
    ) -> BoxFuture<'a, Result<(), CallError>>;
}

/// Takes lines for an app's log.
pub trait LogSink: Send + Sync {
    /// Writes lines to an app's log, in order, all or none. `batch` is the same when the same lines are sent again.
    fn send_log<'a>(
        &'a self,
        resource: &'a ExternalId,
        url: &'a SecretString,
        batch: &'a str,
        lines: &'a [LogLine],
    ) -> BoxFuture<'a, Result<(), CallError>>;
}

/// Reads what the provider knows.
pub trait ResourceReader: Send + Sync {
    /// What the provider knows of a resource now.
    fn resource<'a>(
        &'a self,
        resource: &'a ExternalId,
        token: Token<'a>,
    ) -> BoxFuture<'a, Result<ResourceNow, CallError>>;

    /// The apps a resource is attached to now, with fresh log inputs.
    fn attachments<'a>(
        &'a self,
        resource: &'a ExternalId,
        token: Token<'a>,
    ) -> BoxFuture<'a, Result<Vec<AttachedApp>, CallError>>;
}

/// Is told what became of an order that was only accepted.
pub trait Completion: Send + Sync {
    /// Tells that the resource is ready: its config vars reach the app.
    fn finish<'a>(
        &'a self,
        resource: &'a ExternalId,
        token: Token<'a>,
    ) -> BoxFuture<'a, Result<(), CallError>>;

    /// Tells that the resource will never be ready: the provider removes it.
    fn give_up<'a>(
        &'a self,
        resource: &'a ExternalId,
        token: Token<'a>,
    ) -> BoxFuture<'a, Result<(), CallError>>;
}

/// Sends webhook events of a resource.
pub trait Webhooks: Send + Sync {
    /// Where the events are to be sent.
    fn url(&self) -> &str;

    /// Asks the provider to send events of a resource to [`url`](Webhooks::url). Asking twice is harmless.
    fn subscribe<'a>(
        &'a self,
        resource: &'a ExternalId,
        token: Token<'a>,
    ) -> BoxFuture<'a, Result<(), CallError>>;
}

/// Lists what the marketplace has of us.
pub trait Inventory: Send + Sync {
    /// The external ids of all installs.
    fn installs(&self) -> BoxFuture<'_, Result<Vec<ExternalId>, CallError>>;
}

/// The marketplaces that can be called.
pub type Providers = HashMap<Marketplace, Arc<dyn Provider>>;

/// What a provider can do, for the rooms that make no calls.
pub fn abilities(provider: &dyn Provider) -> Abilities {
    Abilities {
        config_push: provider.config_push().is_some(),
        tokens: provider.tokens().is_some(),
        log_lines: provider.log_sink().is_some(),
        resource_reading: provider.resource_reader().is_some(),
        completion: provider.completion().is_some(),
        webhooks: provider.webhooks().is_some(),
        inventory: provider.inventory().is_some(),
    }
}

/// The same of all.
pub fn ability_table(providers: &Providers) -> AbilityTable {
    providers
        .iter()
        .map(|(marketplace, provider)| (*marketplace, abilities(provider.as_ref())))
        .collect()
}
