//! How the marketplace changes: apps and add-ons come, get config, are attached, and go. Pure.
//!
//! The rule that matters to a provider is in [`Market::publish`]: whatever changes the variables of an app cuts
//! exactly one release on it, and nothing is cut when no variable changed.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use serde_json::json;
use uuid::Uuid;

use crate::sandbox::platform::change::Around;
use crate::sandbox::platform::ids::{AddonId, AppId};
use crate::sandbox::platform::market::{Addon, AddonState, App, Attachment, Market, ProcessState};
use crate::sandbox::platform::names;
use crate::sandbox::platform::refusal::NotPossible;

/// How long the platform waits for a provider that answered 202.
const UNFINISHED_MAX: SignedDuration = SignedDuration::from_hours(12);

/// What a new add-on is to be.
pub(in crate::sandbox) struct NewAddon {
    pub id: AddonId,
    pub name: String,
    pub owner: AppId,
    pub plan: String,
    pub region: String,
    pub attach_as: Option<String>,
    pub with_log_input: bool,
}

impl Market {
    pub(in crate::sandbox) fn create_app(
        &mut self,
        name: &str,
        around: Around<'_>,
    ) -> Result<AppId, NotPossible> {
        names::check_name(name)?;
        if self.app_named(name).is_some() {
            return Err(NotPossible::NameTaken);
        }
        let id = AppId::generate();
        let app = App {
            id,
            name: name.to_owned(),
            created_at: around.now,
            releases: Vec::new(),
            restarts: 0,
            command: None,
            process: ProcessState::None,
            log: Default::default(),
        };
        self.apps.insert(id, app);
        Ok(id)
    }

    /// Enters an add-on whose provisioning call is about to be sent.
    pub(in crate::sandbox) fn begin_provision(
        &mut self,
        new: NewAddon,
        around: Around<'_>,
    ) -> Result<(), NotPossible> {
        names::check_name(&new.name)?;
        if !self.apps.contains_key(&new.owner) {
            return Err(NotPossible::NoSuchApp);
        }
        if self.addons().iter().any(|addon| addon.name == new.name) {
            return Err(NotPossible::NameTaken);
        }
        let taken = self.attachment_names(new.owner);
        let attachment_name = names::attachment_name(new.attach_as, &taken, around.prefix)?;
        let attachment = Attachment {
            id: Uuid::new_v4(),
            app: new.owner,
            name: attachment_name,
            created_at: around.now,
            log_token: new.with_log_input.then(Uuid::new_v4),
        };
        let addon = Addon {
            id: new.id,
            name: new.name,
            owner: new.owner,
            plan: new.plan,
            region: new.region,
            state: AddonState::Provisioning,
            config: BTreeMap::new(),
            attachments: vec![attachment],
            message: None,
            provider_id: None,
            created_at: around.now,
            updated_at: around.now,
            request: json!({}),
        };
        self.addons.insert(new.id, addon);
        Ok(())
    }

    /// The add-on is ready: its config reaches the apps in one release each.
    pub(in crate::sandbox) fn complete_provision(
        &mut self,
        id: AddonId,
        around: Around<'_>,
    ) -> Result<(), NotPossible> {
        let addon = self.live_addon(id)?;
        if addon.state != AddonState::Provisioning {
            return Err(NotPossible::WrongState);
        }
        let why = format!("Attach {}", addon.name);
        self.publish(id, &why, around, |addon| {
            addon.state = AddonState::Provisioned;
        });
        Ok(())
    }

    /// Merges values under manifest names; `None` takes a name away. Unmentioned names keep their values.
    pub(in crate::sandbox) fn merge_config(
        &mut self,
        id: AddonId,
        values: Vec<(String, Option<String>)>,
        around: Around<'_>,
    ) -> Result<(), NotPossible> {
        let addon = self.live_addon(id)?;
        let why = format!("Update config of {}", addon.name);
        self.publish(id, &why, around, |addon| {
            for (name, value) in values {
                match value {
                    Some(value) => addon.config.insert(name, value),
                    None => addon.config.remove(&name),
                };
            }
        });
        Ok(())
    }

    pub(in crate::sandbox) fn set_plan(
        &mut self,
        id: AddonId,
        plan: &str,
        around: Around<'_>,
    ) -> Result<(), NotPossible> {
        let addon = self.live_addon(id)?;
        addon.plan = plan.to_owned();
        addon.updated_at = around.now;
        Ok(())
    }

    /// Attaches `id` to a further app under `name`, or under the first free one.
    pub(in crate::sandbox) fn attach(
        &mut self,
        id: AddonId,
        app: AppId,
        name: Option<String>,
        with_log_input: bool,
        around: Around<'_>,
    ) -> Result<(), NotPossible> {
        if self.live_addon(id)?.state != AddonState::Provisioned {
            return Err(NotPossible::WrongState);
        }
        if !self.apps.contains_key(&app) {
            return Err(NotPossible::NoSuchApp);
        }
        let name = names::attachment_name(name, &self.attachment_names(app), around.prefix)?;
        let why = format!("Attach {}", self.live_addon(id)?.name);
        self.publish(id, &why, around, |addon| {
            addon.attachments.push(Attachment {
                id: Uuid::new_v4(),
                app,
                name,
                created_at: around.now,
                log_token: with_log_input.then(Uuid::new_v4),
            });
        });
        self.queue_attachment_event(id, app, "create", around);
        Ok(())
    }

    /// Gives an add-on another name.
    pub(in crate::sandbox) fn rename(
        &mut self,
        id: AddonId,
        name: &str,
        around: Around<'_>,
    ) -> Result<(), NotPossible> {
        names::check_name(name)?;
        if self.addons().iter().any(|addon| addon.name == name) {
            return Err(NotPossible::NameTaken);
        }
        let addon = self.live_addon(id)?;
        addon.name = name.to_owned();
        addon.updated_at = around.now;
        let data = json!({ "id": id, "name": name });
        self.queue_event(id, "addon", "update", data, around);
        Ok(())
    }

    pub(in crate::sandbox) fn detach(
        &mut self,
        id: AddonId,
        app: AppId,
        around: Around<'_>,
    ) -> Result<(), NotPossible> {
        let addon = self.live_addon(id)?;
        if addon.owner == app {
            return Err(NotPossible::OwnerStays);
        }
        let why = format!("Detach {}", addon.name);
        self.queue_attachment_event(id, app, "destroy", around);
        self.publish(id, &why, around, |addon| {
            addon.attachments.retain(|attachment| attachment.app != app);
        });
        Ok(())
    }

    /// Takes an add-on away: its variables, its tokens and its log inputs. The record stays for late calls.
    pub(in crate::sandbox) fn remove_addon(&mut self, id: AddonId, around: Around<'_>) {
        let Ok(addon) = self.live_addon(id) else {
            return;
        };
        let why = format!("Detach {}", addon.name);
        self.publish(id, &why, around, |addon| {
            addon.state = AddonState::Deprovisioned;
        });
        self.grants.forget(id);
        self.webhooks.retain(|hook| !hook.is_of(id));
    }

    /// Takes away the add-ons whose provider never said that they are ready.
    pub(in crate::sandbox) fn drop_overdue(&mut self, around: Around<'_>) {
        let overdue = |addon: &&Addon| {
            addon.state == AddonState::Provisioning
                && around.now.duration_since(addon.created_at) >= UNFINISHED_MAX
        };
        let overdue: Vec<AddonId> = self.addons.values().filter(overdue).map(|a| a.id).collect();
        for id in overdue {
            self.remove_addon(id, around);
        }
    }

    /// The add-on, unless it is gone.
    pub(in crate::sandbox) fn live_addon(
        &mut self,
        id: AddonId,
    ) -> Result<&mut Addon, NotPossible> {
        match self.addons.get_mut(&id) {
            Some(addon) if addon.state != AddonState::Deprovisioned => Ok(addon),
            _ => Err(NotPossible::NoSuchAddon),
        }
    }

    fn attachment_names(&self, app: AppId) -> Vec<&str> {
        let attached = self.attached_to(app).into_iter();
        attached.map(|(_, used)| used.name.as_str()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    fn around() -> Around<'static> {
        Around {
            now: Timestamp::UNIX_EPOCH,
            prefix: "MEMCACHIER",
            log_lines: 3,
            no_process: true,
        }
    }

    fn begin(market: &mut Market, name: &str, owner: AppId) -> AddonId {
        let id = AddonId::generate();
        let new = NewAddon {
            id,
            name: name.to_owned(),
            owner,
            plan: "dev".to_owned(),
            region: "us".to_owned(),
            attach_as: None,
            with_log_input: true,
        };
        market.begin_provision(new, around()).unwrap();
        id
    }

    fn set(market: &mut Market, id: AddonId, value: &str) {
        let values = vec![("MEMCACHIER_PASSWORD".to_owned(), Some(value.to_owned()))];
        market.merge_config(id, values, around()).unwrap();
    }

    fn versions(market: &Market, app: AppId) -> usize {
        market.app(app).unwrap().releases.len()
    }

    #[test]
    fn config_is_silent_while_provisioning_and_one_release_after() {
        let mut market = Market::default();
        let shop = market.create_app("shop", around()).unwrap();
        let id = begin(&mut market, "larder-one-1", shop);
        set(&mut market, id, "a");
        set(&mut market, id, "b");
        assert_eq!(versions(&market, shop), 0);
        assert!(market.config_vars(shop, "MEMCACHIER").is_empty());
        market.complete_provision(id, around()).unwrap();
        assert_eq!(versions(&market, shop), 1);
        set(&mut market, id, "b");
        assert_eq!(
            versions(&market, shop),
            1,
            "an unchanged value cuts nothing"
        );
        set(&mut market, id, "c");
        assert_eq!(versions(&market, shop), 2);
        assert_eq!(
            market.complete_provision(id, around()),
            Err(NotPossible::WrongState)
        );
    }

    #[test]
    fn what_is_never_finished_is_taken_away_after_half_a_day() {
        let mut market = Market::default();
        let shop = market.create_app("shop", around()).unwrap();
        let id = begin(&mut market, "larder-one-1", shop);
        let at = |hours| Around {
            now: Timestamp::UNIX_EPOCH + SignedDuration::from_hours(hours),
            ..around()
        };
        market.drop_overdue(at(11));
        assert_eq!(market.addon(id).unwrap().state, AddonState::Provisioning);
        market.drop_overdue(at(12));
        assert_eq!(market.addon(id).unwrap().state, AddonState::Deprovisioned);
    }

    #[test]
    fn names_are_taken_once() {
        let mut market = Market::default();
        market.create_app("shop", around()).unwrap();
        let again = market.create_app("shop", around());
        assert_eq!(again, Err(NotPossible::NameTaken));
        let bad = market.create_app("<b>", around());
        assert_eq!(bad, Err(NotPossible::BadName));
    }

    #[test]
    fn every_attached_app_gets_its_release_under_its_own_names() {
        let mut market = Market::default();
        let shop = market.create_app("shop", around()).unwrap();
        let jobs = market.create_app("jobs", around()).unwrap();
        let first = begin(&mut market, "larder-one-1", shop);
        let own = begin(&mut market, "larder-two-2", jobs);
        for id in [first, own] {
            set(&mut market, id, "a");
            market.complete_provision(id, around()).unwrap();
        }
        market.attach(first, jobs, None, true, around()).unwrap();
        set(&mut market, first, "new");
        let vars = market.config_vars(jobs, "MEMCACHIER");
        assert_eq!(vars["MEMCACHIER_PASSWORD"], "a");
        assert_eq!(vars["MEMCACHIER_TEAL_PASSWORD"], "new");
        assert_eq!((versions(&market, shop), versions(&market, jobs)), (2, 3));

        market.detach(first, jobs, around()).unwrap();
        assert_eq!((versions(&market, shop), versions(&market, jobs)), (2, 4));
        assert_eq!(
            market.detach(first, shop, around()),
            Err(NotPossible::OwnerStays)
        );
    }

    #[test]
    fn removal_takes_variables_tokens_and_log_input() {
        let mut market = Market::default();
        let shop = market.create_app("shop", around()).unwrap();
        let id = begin(&mut market, "larder-one-1", shop);
        set(&mut market, id, "a");
        market.complete_provision(id, around()).unwrap();
        let token = market.addon(id).unwrap().attachments[0].log_token.unwrap();
        assert_eq!(market.log_input(token), Some((id, shop)));
        market.remove_addon(id, around());
        assert!(market.config_vars(shop, "MEMCACHIER").is_empty());
        assert_eq!(market.log_input(token), None);
        assert_eq!(versions(&market, shop), 2);
        assert!(market.addons().is_empty());
        assert!(market.addon(id).is_some());
    }
}
