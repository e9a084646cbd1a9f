//! Subscriptions of the provider, and events on their way to them. Plain data.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::sandbox::platform::ids::AddonId;

/// A subscription of the provider for one add-on.
#[derive(Clone, Serialize, Deserialize)]
pub(in crate::sandbox) struct Webhook {
    pub id: Uuid,
    pub addon: AddonId,
    pub url: String,
    pub secret: String,
    pub include: Vec<String>,
    pub level: Level,
    pub created_at: Timestamp,
}

impl Webhook {
    pub fn is_of(&self, addon: AddonId) -> bool {
        self.addon == addon
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::sandbox) enum Level {
    /// One try.
    Notify,
    /// Tried until it is taken.
    Sync,
}

/// An event on its way to one subscription.
#[derive(Clone, Serialize, Deserialize)]
pub(in crate::sandbox) struct WebhookEvent {
    pub webhook: Uuid,
    /// As it is sent and signed.
    pub body: String,
}
