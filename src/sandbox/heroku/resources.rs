//! What a customer does with add-ons, each with its call to the provider and what the answer means.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::http::outbound::Method;
use crate::sandbox::heroku::calls::{Call, ProviderError, ProviderReply, read_reply, send};
use crate::sandbox::platform::hub::Hub;
use crate::sandbox::platform::ids::{AddonId, AppId};
use crate::sandbox::platform::lifecycle::NewAddon;
use crate::sandbox::platform::market::{Addon, AddonState};
use crate::sandbox::platform::names;
use crate::sandbox::platform::refusal::NotPossible;
use crate::sandbox::platform::settings::platform_region;

/// How an add-on is asked for. The default is what most customers get.
#[derive(Clone, Debug, Default)]
pub struct ProvisionOptions {
    /// A manifest region such as `eu`, or any text; without it the first of the manifest.
    pub region: Option<String>,
    /// Without it one is made up.
    pub name: Option<String>,
    /// Attachment name instead of the manifest's prefix.
    pub attach_as: Option<String>,
    /// `--foo bar` of the command line.
    pub options: BTreeMap<String, String>,
    /// Send no `oauth_grant`, as old testers do.
    pub without_grant: bool,
    /// Send no `log_input_url`, as for apps of the Fir generation.
    pub without_log_input: bool,
}

/// Asks the provider for an add-on and waits for the answer. After [`ProviderError::NoAnswer`] the add-on
/// stays `provisioning`: the call can be repeated, or the add-on removed.
pub(in crate::sandbox) async fn provision(
    hub: &Hub,
    app: AppId,
    plan: &str,
    options: ProvisionOptions,
) -> Result<Addon, ProviderError> {
    let id = prepare_provision(hub, app, plan, options)?;
    let request = snapshot(hub, id)?.request;
    let reply = send(hub, provision_call(request)).await?;
    settle_provision(hub, id, &reply)?;
    snapshot(hub, id)
}

/// Enters an order without sending it.
pub(in crate::sandbox) fn prepare_provision(
    hub: &Hub,
    app: AppId,
    plan: &str,
    options: ProvisionOptions,
) -> Result<AddonId, NotPossible> {
    let id = AddonId::generate();
    enter(hub, id, app, plan, options).map(|()| id)
}

/// Sends the provisioning call of `id` once more, byte for byte, whatever became of it. A refusal is an answer too: of
/// an add-on that still waits it takes away what waits.
pub(in crate::sandbox) async fn repeat_provision(
    hub: &Hub,
    id: AddonId,
) -> Result<ProviderReply, ProviderError> {
    let request = hub.read(|market| market.addon(id).map(|addon| addon.request.clone()));
    let request = request.ok_or(NotPossible::NoSuchAddon)?;
    let reply = send(hub, provision_call(request)).await?;
    let waiting = hub.read(|market| state_of(market.addon(id)) == Some(AddonState::Provisioning));
    if waiting {
        match settle_provision(hub, id, &reply) {
            Ok(()) | Err(ProviderError::Refused(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(reply)
}

fn provision_call(request: Value) -> Call {
    Call {
        method: Method::POST,
        path: String::new(),
        body: Some(request),
    }
}

/// Enters the add-on and writes its provisioning call.
fn enter(
    hub: &Hub,
    id: AddonId,
    app: AppId,
    plan: &str,
    options: ProvisionOptions,
) -> Result<(), NotPossible> {
    let manifest = &hub.settings.manifest;
    let region = options
        .region
        .or_else(|| manifest.api.regions.first().cloned())
        .unwrap_or_else(|| "us".to_owned());
    let name = options
        .name
        .unwrap_or_else(|| names::made_up_name(&manifest.id));
    let new = NewAddon {
        id,
        name: name.clone(),
        owner: app,
        plan: plan.to_owned(),
        region: region.clone(),
        attach_as: options.attach_as,
        with_log_input: manifest.wants_log_input() && !options.without_log_input,
    };
    hub.change(|market, around| {
        market.begin_provision(new, around)?;
        let mut request = json!({
            "callback_url": hub.callback_url(id),
            "name": name,
            "oauth_grant": null,
            "options": options.options,
            "plan": plan,
            "region": platform_region(&region),
            "uuid": id,
        });
        if !options.without_grant {
            let expires_at = around.now + hub.settings.code_lifetime;
            request["oauth_grant"] = json!({
                "code": market.grants.issue_code(id, expires_at),
                // The platform writes its offset without a colon.
                "expires_at": expires_at.strftime("%Y-%m-%dT%H:%M:%S-0000").to_string(),
                "type": "authorization_code",
            });
        }
        let addon = market.live_addon(id)?;
        let log_token = addon.attachments.first().and_then(|first| first.log_token);
        if let Some(token) = log_token {
            request["log_input_url"] = json!(hub.log_input_url(token));
        }
        addon.request = request;
        Ok(())
    })
}

/// 202 leaves the add-on waiting, other success completes it, everything else takes it away.
fn settle_provision(hub: &Hub, id: AddonId, reply: &ProviderReply) -> Result<(), ProviderError> {
    let read = match reply.status {
        200..=299 => read_reply(hub, reply),
        _ => Err(ProviderError::Refused(reply.clone())),
    };
    let body = match read {
        Ok(body) => body,
        Err(error) => {
            // A repeated call that fails does not undo what the first one brought.
            hub.change(|market, around| {
                if state_of(market.addon(id)) == Some(AddonState::Provisioning) {
                    market.remove_addon(id, around);
                }
            });
            return Err(error);
        }
    };
    hub.change(|market, around| {
        let addon = market.live_addon(id)?;
        addon.provider_id = body.id;
        addon.message = body.message;
        let waiting = addon.state == AddonState::Provisioning;
        if reply.status != 202 && waiting {
            let config = body.config.into_iter().flatten();
            let values = config.map(|(name, value)| (name, Some(value)));
            market.merge_config(id, values.collect(), around)?;
            market.complete_provision(id, around)?;
        }
        Ok(())
    })
}

/// Moves an add-on to another plan. 202 counts as done, its config comes by the platform API.
pub(in crate::sandbox) async fn change_plan(
    hub: &Hub,
    id: AddonId,
    plan: &str,
) -> Result<Addon, ProviderError> {
    snapshot(hub, id)?;
    let call = Call {
        method: Method::PUT,
        path: format!("/{id}"),
        body: Some(json!({ "plan": plan })),
    };
    let reply = send(hub, call).await?;
    if !(200..=299).contains(&reply.status) {
        return Err(ProviderError::Refused(reply));
    }
    let body = read_reply(hub, &reply)?;
    hub.change(|market, around| {
        market.set_plan(id, plan, around)?;
        if body.message.is_some() {
            market.live_addon(id)?.message = body.message;
        }
        let config = body.config.into_iter().flatten();
        let values = config.map(|(name, value)| (name, Some(value)));
        market.merge_config(id, values.collect(), around)
    })?;
    snapshot(hub, id)
}

/// Removes an add-on. Also sent for one that is gone already, as a late or repeated call.
pub(in crate::sandbox) async fn deprovision(
    hub: &Hub,
    id: AddonId,
) -> Result<ProviderReply, ProviderError> {
    snapshot(hub, id)?;
    let call = Call {
        method: Method::DELETE,
        path: format!("/{id}"),
        body: None,
    };
    let reply = send(hub, call).await?;
    match reply.status {
        202 => hub.change(|market, _| {
            if let Ok(addon) = market.live_addon(id) {
                addon.state = AddonState::Deprovisioning;
            }
        }),
        200..=299 | 410 => hub.change(|market, around| market.remove_addon(id, around)),
        _ => return Err(ProviderError::Refused(reply)),
    }
    Ok(reply)
}

fn snapshot(hub: &Hub, id: AddonId) -> Result<Addon, ProviderError> {
    let addon = hub.read(|market| market.addon(id).cloned());
    Ok(addon.ok_or(NotPossible::NoSuchAddon)?)
}

fn state_of(addon: Option<&Addon>) -> Option<AddonState> {
    addon.map(|addon| addon.state)
}
