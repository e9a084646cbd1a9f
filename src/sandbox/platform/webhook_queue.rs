//! Which events wait for which subscription. Pure rules.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::sandbox::platform::change::Around;
use crate::sandbox::platform::ids::{AddonId, AppId};
use crate::sandbox::platform::market::Market;
use crate::sandbox::platform::webhook::{Webhook, WebhookEvent};

impl Market {
    /// Ends the subscriptions of a provider at another address than this one's.
    pub(in crate::sandbox) fn forget_webhooks_elsewhere(&mut self, provider_url: &str) {
        let origin = |url: &str| {
            crate::http::outbound::Url::parse(url)
                .ok()
                .map(|url| url.origin())
        };
        let provider = origin(provider_url);
        self.webhooks.retain(|hook| origin(&hook.url) == provider);
    }

    /// Queues an event for everybody who asked for this kind of event of `addon`.
    pub(in crate::sandbox) fn queue_event(
        &mut self,
        addon: AddonId,
        entity: &str,
        action: &str,
        data: Value,
        around: Around<'_>,
    ) {
        let include = format!("api:{entity}");
        let wanted = |hook: &&Webhook| hook.addon == addon && hook.include.contains(&include);
        let event = Uuid::new_v4();
        for hook in self.webhooks.iter().filter(wanted) {
            let body = json!({
                "id": event,
                "action": action,
                "resource": entity,
                "data": data,
                "previous_data": {},
                "created_at": around.now.to_string(),
                "published_at": around.now.to_string(),
                "version": "application/vnd.heroku+json; version=3",
                "webhook_metadata": {
                    "event": { "id": event, "include": include },
                    "webhook": { "id": hook.id },
                },
            });
            self.webhook_events.push_back(WebhookEvent {
                webhook: hook.id,
                body: body.to_string(),
            });
        }
    }

    /// Queues the event of an attachment that was created or destroyed.
    pub(in crate::sandbox) fn queue_attachment_event(
        &mut self,
        addon: AddonId,
        app: AppId,
        action: &str,
        around: Around<'_>,
    ) {
        let name = |id: AppId| self.app(id).map(|app| app.name.clone());
        let Some(found) = self.addon(addon) else {
            return;
        };
        let attachment = found.attachments.iter().find(|used| used.app == app);
        let data = json!({
            "id": attachment.map(|used| used.id),
            "name": attachment.map(|used| &used.name),
            "addon": { "id": addon, "name": found.name, "app": { "id": found.owner, "name": name(found.owner) } },
            "app": { "id": app, "name": name(app) },
        });
        self.queue_event(addon, "addon-attachment", action, data, around);
    }
}
