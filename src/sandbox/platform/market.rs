//! What the marketplace knows: apps, add-ons, attachments, releases and logs. Plain data.
//!
//! The rules by which it changes are in `lifecycle`; nothing here or there does I/O or reads a clock.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::sandbox::platform::faults::Faults;
use crate::sandbox::platform::grants::Grants;
use crate::sandbox::platform::ids::{AddonId, AppId};
use crate::sandbox::platform::log_line::LogLine;
use crate::sandbox::platform::recorder::Requests;
use crate::sandbox::platform::webhook::{Webhook, WebhookEvent};

/// One customer's app.
#[derive(Clone, Serialize, Deserialize)]
pub struct App {
    pub id: AppId,
    pub name: String,
    pub created_at: Timestamp,
    /// Oldest first; versions count from 1.
    pub releases: Vec<Release>,
    /// How often the app was started, the first time included.
    pub restarts: u64,
    /// Instead of the command of the settings, from the next release on.
    #[serde(skip)]
    pub command: Option<String>,
    #[serde(skip)]
    pub process: ProcessState,
    #[serde(skip)]
    pub log: VecDeque<LogLine>,
}

/// One change of an app's config vars.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    pub version: u32,
    pub at: Timestamp,
    pub description: String,
    /// Names of the variables that came, went or got another value.
    pub changed: Vec<String>,
}

/// The real process behind an app, if it has one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProcessState {
    /// No command is set, or no release was cut yet.
    #[default]
    None,
    /// The process of `release` runs.
    Up { release: u32, pid: u32 },
    /// It ended by itself and will be started again.
    Crashed { release: u32 },
    /// The sandbox is going down.
    Stopped,
}

/// How far an add-on is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AddonState {
    Provisioning,
    Provisioned,
    /// The provider answered 202 to the removal.
    Deprovisioning,
    /// Gone. Kept to send late and repeated calls for it.
    Deprovisioned,
}

impl AddonState {
    pub fn as_str(self) -> &'static str {
        match self {
            AddonState::Provisioning => "provisioning",
            AddonState::Provisioned => "provisioned",
            AddonState::Deprovisioning => "deprovisioning",
            AddonState::Deprovisioned => "deprovisioned",
        }
    }
}

/// One add-on resource.
#[derive(Clone, Serialize, Deserialize)]
pub struct Addon {
    pub id: AddonId,
    pub name: String,
    pub owner: AppId,
    pub plan: String,
    pub region: String,
    pub state: AddonState,
    /// Under manifest names.
    pub config: BTreeMap<String, String>,
    /// The owner's first.
    pub attachments: Vec<Attachment>,
    /// The provider's last message to the customer.
    pub message: Option<String>,
    /// What the provider calls it.
    pub provider_id: Option<String>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// The provisioning call as it was sent, for repeating it.
    pub(in crate::sandbox) request: serde_json::Value,
}

/// Leaves out the config, which holds a password.
impl fmt::Debug for Addon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Addon");
        shown.field("id", &self.id).field("name", &self.name);
        shown.field("plan", &self.plan).field("state", &self.state);
        shown.finish_non_exhaustive()
    }
}

/// One app's use of an add-on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Attachment {
    pub id: Uuid,
    pub app: AppId,
    /// Stands in for the manifest's prefix in this app's variables.
    pub name: String,
    pub created_at: Timestamp,
    /// The `t.` token of this attachment's log input; none when the manifest asks for none.
    pub(in crate::sandbox) log_token: Option<Uuid>,
}

/// Everything the sandbox knows. Tests read it in [`Sandbox::wait_for`](crate::sandbox::Sandbox::wait_for).
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Market {
    pub(in crate::sandbox) apps: BTreeMap<AppId, App>,
    pub(in crate::sandbox) addons: BTreeMap<AddonId, Addon>,
    pub(in crate::sandbox) grants: Grants,
    #[serde(default)]
    pub(in crate::sandbox) webhooks: Vec<Webhook>,
    /// Events that wait to be delivered, in order.
    #[serde(default)]
    pub(in crate::sandbox) webhook_events: VecDeque<WebhookEvent>,
    #[serde(skip)]
    pub(in crate::sandbox) requests: Requests,
    #[serde(skip)]
    pub(in crate::sandbox) faults: Faults,
    #[serde(skip)]
    pub(in crate::sandbox) next_line: u64,
}

impl Market {
    pub fn app(&self, id: AppId) -> Option<&App> {
        self.apps.get(&id)
    }

    pub fn app_named(&self, name: &str) -> Option<&App> {
        self.apps.values().find(|app| app.name == name)
    }

    /// By name.
    pub fn apps(&self) -> Vec<&App> {
        let mut apps: Vec<&App> = self.apps.values().collect();
        apps.sort_by(|a, b| a.name.cmp(&b.name));
        apps
    }

    /// Also of an add-on that is gone.
    pub fn addon(&self, id: AddonId) -> Option<&Addon> {
        self.addons.get(&id)
    }

    /// Live ones, oldest first.
    pub fn addons(&self) -> Vec<&Addon> {
        let live = |addon: &&Addon| addon.state != AddonState::Deprovisioned;
        let mut addons: Vec<&Addon> = self.addons.values().filter(live).collect();
        addons.sort_by_key(|addon| addon.created_at);
        addons
    }

    /// Live add-ons attached to `app`, each with the attachment.
    pub fn attached_to(&self, app: AppId) -> Vec<(&Addon, &Attachment)> {
        let of_app = |addon| attachments_on(addon, app).map(move |found| (addon, found));
        self.addons().into_iter().flat_map(of_app).collect()
    }

    /// The environment of `app`: the variables of its finished add-ons under their attachment's name.
    pub fn config_vars(&self, app: AppId, prefix: &str) -> BTreeMap<String, String> {
        let mut vars = BTreeMap::new();
        for (addon, attachment) in self.attached_to(app) {
            if addon.state == AddonState::Provisioning {
                continue;
            }
            for (name, value) in &addon.config {
                vars.insert(attached_name(name, prefix, &attachment.name), value.clone());
            }
        }
        vars
    }

    /// Everything that came in or went out, oldest first; bounded.
    pub fn requests(&self) -> &Requests {
        &self.requests
    }

    /// The switches of the faults panel.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }
}

fn attachments_on(addon: &Addon, app: AppId) -> impl Iterator<Item = &Attachment> {
    let on_app = move |attachment: &&Attachment| attachment.app == app;
    addon.attachments.iter().filter(on_app)
}

/// `MEMCACHIER_SERVERS` under the attachment `PRIMARY` is `PRIMARY_SERVERS`.
pub(in crate::sandbox) fn attached_name(
    manifest_name: &str,
    prefix: &str,
    attachment: &str,
) -> String {
    match manifest_name.strip_prefix(prefix) {
        Some(rest) => format!("{attachment}{rest}"),
        None => manifest_name.to_owned(),
    }
}
