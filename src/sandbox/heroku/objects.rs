//! The objects of the platform API as JSON, with the members a provider reads.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::sandbox::platform::hub::Hub;
use crate::sandbox::platform::ids::AppId;
use crate::sandbox::platform::market::{Addon, App, Market};
use crate::sandbox::platform::user::User;

fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn app_reference(market: &Market, id: AppId) -> Value {
    json!({ "id": id, "name": market.app(id).map(|app| &app.name) })
}

pub(in crate::sandbox) fn config(addon: &Addon) -> Value {
    let entry = |(name, value)| json!({ "name": name, "value": value });
    addon.config.iter().map(entry).collect()
}

pub(in crate::sandbox) fn addon(hub: &Hub, market: &Market, addon: &Addon) -> Value {
    let slug = &hub.settings.manifest.id;
    let app = app_reference(market, addon.owner);
    json!({
        "id": addon.id,
        "name": addon.name,
        "addon_service": { "id": slug, "name": slug },
        "app": app,
        "billing_entity": { "id": addon.owner, "name": app["name"], "type": "app" },
        "billed_price": { "cents": 0, "contract": false, "unit": "month" },
        "plan": { "id": addon.plan, "name": format!("{slug}:{}", addon.plan) },
        "config_vars": addon.config.keys().collect::<Vec<_>>(),
        "provider_id": addon.provider_id,
        "state": addon.state.as_str(),
        "web_url": format!("{}/console/addons/{}", hub.origin, addon.id),
        "created_at": time(addon.created_at),
        "updated_at": time(addon.updated_at),
    })
}

pub(in crate::sandbox) fn attachments(hub: &Hub, market: &Market, addon: &Addon) -> Vec<Value> {
    let reference = json!({
        "id": addon.id,
        "name": addon.name,
        "app": app_reference(market, addon.owner),
        "plan": { "id": addon.plan, "name": format!("{}:{}", hub.settings.manifest.id, addon.plan) },
    });
    let show = |attachment: &crate::sandbox::platform::market::Attachment| {
        json!({
            "id": attachment.id,
            "name": attachment.name,
            "addon": reference,
            "app": app_reference(market, attachment.app),
            "namespace": null,
            "web_url": format!("{}/console/addons/{}", hub.origin, addon.id),
            "log_input_url": attachment.log_token.map(|token| hub.log_input_url(token)),
            "created_at": time(attachment.created_at),
            "updated_at": time(attachment.created_at),
        })
    };
    addon.attachments.iter().map(show).collect()
}

pub(in crate::sandbox) fn app(app: &App) -> Value {
    let owner = User::default();
    let released_at = app.releases.last().map(|release| time(release.at));
    json!({
        "id": app.id,
        "name": app.name,
        "region": { "id": "us", "name": "us" },
        "generation": { "id": "cedar", "name": "cedar" },
        "owner": { "id": owner.id, "email": owner.email },
        "released_at": released_at,
        "created_at": time(app.created_at),
        "updated_at": released_at.unwrap_or_else(|| time(app.created_at)),
    })
}

pub(in crate::sandbox) fn collaborators() -> Value {
    let owner = User::default();
    json!([{
        "user": { "id": owner.id, "email": owner.email, "federated": false },
        "role": "owner",
        "permissions": [],
    }])
}
