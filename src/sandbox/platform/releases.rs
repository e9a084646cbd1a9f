//! Releases: whatever changes the variables of an app cuts exactly one, and nothing else does. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::sandbox::platform::change::Around;
use crate::sandbox::platform::ids::{AddonId, AppId};
use crate::sandbox::platform::market::{Addon, Market, Release};

impl Market {
    /// Applies `change` to an add-on and cuts one release on every app whose variables it changed.
    pub(in crate::sandbox) fn publish(
        &mut self,
        id: AddonId,
        why: &str,
        around: Around<'_>,
        change: impl FnOnce(&mut Addon),
    ) {
        let mut apps: BTreeSet<AppId> = self.apps_of(id);
        let before = self.environments(&apps, around.prefix);
        if let Some(addon) = self.addons.get_mut(&id) {
            change(addon);
            addon.updated_at = around.now;
        }
        apps.extend(self.apps_of(id));
        let after = self.environments(&apps, around.prefix);
        for app in apps {
            let empty = BTreeMap::new();
            let old = before.get(&app).unwrap_or(&empty);
            let new = after.get(&app).unwrap_or(&empty);
            let changed = changed_names(old, new);
            if !changed.is_empty() {
                self.cut_release(app, why, changed, around);
            }
        }
    }

    fn apps_of(&self, id: AddonId) -> BTreeSet<AppId> {
        let attachments = self.addons.get(&id).map(|addon| &addon.attachments);
        attachments.into_iter().flatten().map(|a| a.app).collect()
    }

    fn environments(
        &self,
        apps: &BTreeSet<AppId>,
        prefix: &str,
    ) -> BTreeMap<AppId, BTreeMap<String, String>> {
        let of_app = |&app| (app, self.config_vars(app, prefix));
        apps.iter().map(of_app).collect()
    }

    fn cut_release(&mut self, id: AppId, why: &str, changed: Vec<String>, around: Around<'_>) {
        let Some(app) = self.apps.get_mut(&id) else {
            return;
        };
        let version = app.releases.last().map_or(1, |last| last.version + 1);
        app.releases.push(Release {
            version,
            at: around.now,
            description: why.to_owned(),
            changed,
        });
        if around.no_process && app.command.is_none() {
            app.restarts += 1;
        }
        self.platform_line(
            id,
            "api",
            format!("Release v{version} created: {why}"),
            around,
        );
    }
}

fn changed_names(old: &BTreeMap<String, String>, new: &BTreeMap<String, String>) -> Vec<String> {
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let differs = |name: &&String| old.get(*name) != new.get(*name);
    names.into_iter().filter(differs).cloned().collect()
}
