//! The sandbox as tests and `larder dev` drive it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use secrecy::SecretString;

use crate::sandbox::heroku::calls::{ProviderError, ProviderReply};
use crate::sandbox::heroku::resources::{self, ProvisionOptions};
use crate::sandbox::heroku::sso::{self};
use crate::sandbox::platform::faults::{CallFaults, EndpointGroup, Fault};
use crate::sandbox::platform::hub::ProviderUrls;
use crate::sandbox::platform::ids::{AddonId, AppId};
use crate::sandbox::platform::log_line::LogLine;
use crate::sandbox::platform::market::{Addon, Market, Release};
use crate::sandbox::platform::recorder::RecordedRequest;
use crate::sandbox::platform::refusal::NotPossible;
use crate::sandbox::platform::user::User;
use crate::sandbox::running::Sandbox;

/// A condition did not come true before its deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the sandbox did not reach the awaited state within {waited:?}")]
pub struct NotInTime {
    pub waited: Duration,
}

/// Where things are, and what time it is.
impl Sandbox {
    /// The address it listens on.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// `http://…` without a slash at the end: platform API, token endpoint and console alike.
    pub fn url(&self) -> &str {
        &self.hub.origin
    }

    /// Points later calls elsewhere, for a provider that starts after the sandbox or moves.
    pub fn set_provider(&self, base_url: &str, sso_url: &str) {
        self.hub.set_provider(ProviderUrls {
            base: base_url.to_owned(),
            sso: sso_url.to_owned(),
        });
    }

    /// Lets time pass for codes, tokens, sign-ons and add-ons that wait for the provider. Only forward.
    pub fn advance_clock(&self, by: Duration) {
        self.hub.advance_clock(by);
        self.hub
            .change(|market, around| market.drop_overdue(around));
    }
}

/// What customers do.
impl Sandbox {
    pub fn create_app(&self, name: &str) -> Result<AppId, NotPossible> {
        self.hub
            .change(|market, around| market.create_app(name, around))
    }

    /// Orders an add-on for `app` and waits for the provider's answer. After 202 the add-on is returned while
    /// `provisioning`; after no answer it stays so, and the error says nothing of its id: see
    /// [`addons`](Sandbox::addons).
    pub async fn provision(
        &self,
        app: AppId,
        plan: &str,
        options: ProvisionOptions,
    ) -> Result<Addon, ProviderError> {
        resources::provision(&self.hub, app, plan, options).await
    }

    /// Enters an order without sending it: [`repeat_provision`](Sandbox::repeat_provision) then sends it, any
    /// number of times at once.
    pub fn prepare_provision(
        &self,
        app: AppId,
        plan: &str,
        options: ProvisionOptions,
    ) -> Result<AddonId, NotPossible> {
        resources::prepare_provision(&self.hub, app, plan, options)
    }

    /// Sends the provisioning call once more, the same bytes with the same grant code; also for an add-on that
    /// is gone. Whatever the provider answers is returned.
    pub async fn repeat_provision(&self, addon: AddonId) -> Result<ProviderReply, ProviderError> {
        resources::repeat_provision(&self.hub, addon).await
    }

    pub async fn change_plan(&self, addon: AddonId, plan: &str) -> Result<Addon, ProviderError> {
        resources::change_plan(&self.hub, addon, plan).await
    }

    /// Also for an add-on that is gone, as a repeated call.
    pub async fn deprovision(&self, addon: AddonId) -> Result<ProviderReply, ProviderError> {
        resources::deprovision(&self.hub, addon).await
    }

    /// Attaches an add-on to a further app, under the first free attachment name.
    pub fn attach(&self, addon: AddonId, app: AppId) -> Result<(), NotPossible> {
        self.attach_as(addon, app, None)
    }

    /// Attaches under a name that takes the place of the manifest's prefix in this app.
    pub fn attach_as(
        &self,
        addon: AddonId,
        app: AppId,
        name: Option<&str>,
    ) -> Result<(), NotPossible> {
        let log_input = self.hub.settings.manifest.wants_log_input();
        let name = name.map(str::to_owned);
        self.hub
            .change(|market, around| market.attach(addon, app, name, log_input, around))
    }

    /// Takes an add-on from an app other than its owner.
    pub fn detach(&self, addon: AddonId, app: AppId) -> Result<(), NotPossible> {
        self.hub
            .change(|market, around| market.detach(addon, app, around))
    }

    /// Closes an add-on's log inputs and opens others, of which the provider is not told.
    pub fn renew_log_inputs(&self, addon: AddonId) -> Result<(), NotPossible> {
        self.hub.change(|market, _| market.renew_log_inputs(addon))
    }

    /// Takes an add-on away without telling the provider, as when a removal was lost for good.
    pub fn forget(&self, addon: AddonId) {
        self.hub
            .change(|market, around| market.remove_addon(addon, around));
    }

    /// Gives an add-on another name.
    pub fn rename(&self, addon: AddonId, name: &str) -> Result<(), NotPossible> {
        self.hub
            .change(|market, around| market.rename(addon, name, around))
    }

    /// Where to post the sign-on form, and its fields. The customer comes from the owning app.
    pub fn sso_form(
        &self,
        addon: AddonId,
        user: &User,
    ) -> Result<(String, Vec<(String, String)>), NotPossible> {
        self.sso_form_from(addon, user, None)
    }

    /// As [`sso_form`](Sandbox::sso_form), coming from an attached app.
    pub fn sso_form_from(
        &self,
        addon: AddonId,
        user: &User,
        context_app: Option<AppId>,
    ) -> Result<(String, Vec<(String, String)>), NotPossible> {
        sso::form(&self.hub, addon, user, context_app)
    }

    /// Runs `command` for this app instead of the command of the settings, from its next release on.
    pub fn set_app_command(&self, app: AppId, command: &str) -> Result<(), NotPossible> {
        self.hub.change_quietly(|market| {
            let app = market.apps.get_mut(&app).ok_or(NotPossible::NoSuchApp)?;
            app.command = Some(command.to_owned());
            Ok(())
        })
    }
}

/// What a test wants to know.
impl Sandbox {
    /// Reconcile at everything at once.
    pub fn read<T>(&self, read: impl FnOnce(&Market) -> T) -> T {
        self.hub.read(read)
    }

    /// The environment of an app; empty for an unknown one.
    pub fn config_vars(&self, app: AppId) -> BTreeMap<String, String> {
        self.read(|market| market.config_vars(app, &self.hub.prefix))
    }

    /// Oldest first.
    pub fn releases(&self, app: AppId) -> Vec<Release> {
        self.read(|market| market.app(app).map(|app| app.releases.clone()))
            .unwrap_or_default()
    }

    /// What is kept of an app's log, oldest first.
    pub fn log_lines(&self, app: AppId) -> Vec<LogLine> {
        self.read(|market| market.app(app).map(|app| app.log.iter().cloned().collect()))
            .unwrap_or_default()
    }

    /// Live add-ons, oldest first.
    pub fn addons(&self) -> Vec<Addon> {
        self.read(|market| market.addons().into_iter().cloned().collect())
    }

    /// Everything that came in or went out, oldest first.
    pub fn requests(&self) -> Vec<RecordedRequest> {
        self.read(|market| market.requests().iter().cloned().collect())
    }

    /// Waits until `what` finds something; it is asked after every change.
    pub async fn wait_for<T>(
        &self,
        deadline: Duration,
        mut what: impl FnMut(&Market) -> Option<T>,
    ) -> Result<T, NotInTime> {
        let mut changes = self.hub.changes();
        let found = async {
            loop {
                if let Some(found) = self.read(&mut what) {
                    return Some(found);
                }
                // The hub outlives this borrow, so its changes never end.
                changes.changed().await.ok()?;
            }
        };
        match tokio::time::timeout(deadline, found).await {
            Ok(Some(found)) => Ok(found),
            _ => Err(NotInTime { waited: deadline }),
        }
    }

    /// Waits for a line of `app` whose text contains `part`, and returns it.
    pub async fn wait_for_line(
        &self,
        app: AppId,
        part: &str,
        deadline: Duration,
    ) -> Result<LogLine, NotInTime> {
        let find = |market: &Market| {
            let mut log = market.app(app)?.log.iter();
            log.find(|line| line.text.contains(part)).cloned()
        };
        self.wait_for(deadline, find).await
    }

    /// Waits until a variable of `app` has the value `wanted`.
    pub async fn wait_for_var(
        &self,
        app: AppId,
        name: &str,
        wanted: &str,
        deadline: Duration,
    ) -> Result<(), NotInTime> {
        let matches = |market: &Market| {
            let vars = market.config_vars(app, &self.hub.prefix);
            (vars.get(name)? == wanted).then_some(())
        };
        self.wait_for(deadline, matches).await
    }
}

/// Faults on demand.
impl Sandbox {
    /// Stands until set otherwise.
    pub fn set_fault(&self, group: EndpointGroup, fault: Option<Fault>) {
        self.hub
            .change_quietly(|market| market.faults.set(group, fault));
    }

    /// One entry for each of the next requests, before what stands; `None` lets one pass.
    pub fn queue_faults(
        &self,
        group: EndpointGroup,
        faults: impl IntoIterator<Item = Option<Fault>>,
    ) {
        self.hub
            .change_quietly(|market| market.faults.queue(group, faults));
    }

    /// For calls to the provider.
    pub fn set_call_faults(&self, faults: CallFaults) {
        self.hub
            .change_quietly(|market| market.faults.calls = faults);
    }

    /// Ends all access tokens now; refresh tokens go on.
    pub fn expire_tokens(&self) {
        self.hub.change(|market, _| market.grants.expire_access());
    }

    /// As when the secret is reset in the partner portal: every access token ends, and refreshing takes the new
    /// secret. Until the sandbox is started anew.
    pub fn reset_client_secret(&self, secret: SecretString) {
        self.hub.set_client_secret(secret);
        self.expire_tokens();
    }
}
