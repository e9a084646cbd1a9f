//! What a marketplace lets us do besides answering its calls. One that lets us do nothing is whole all the same: its
//! customers read the values of a new primary on the dashboard.

use std::collections::BTreeMap;

use super::Marketplace;

/// The calls a marketplace takes from us, each true where it has such a call and this installation may make it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Abilities {
    /// Setting an app's config vars after the order was answered.
    pub config_push: bool,
    /// Giving tokens, per resource, that the other calls need.
    pub tokens: bool,
    /// Taking lines for an app's log.
    pub log_lines: bool,
    /// Reading a resource and the apps it is attached to.
    pub resource_reading: bool,
    /// Hearing that a resource which was only accepted is ready, or never will be.
    pub completion: bool,
    /// Sending webhook events of a resource.
    pub webhooks: bool,
    /// Listing all installs.
    pub inventory: bool,
}

/// The abilities of every marketplace that is configured; one that is not in it has none.
#[derive(Clone, Debug, Default)]
pub struct AbilityTable(BTreeMap<Marketplace, Abilities>);

impl AbilityTable {
    pub fn of(&self, marketplace: Marketplace) -> Abilities {
        self.0.get(&marketplace).copied().unwrap_or_default()
    }
}

impl FromIterator<(Marketplace, Abilities)> for AbilityTable {
    fn from_iter<I: IntoIterator<Item = (Marketplace, Abilities)>>(rows: I) -> AbilityTable {
        AbilityTable(rows.into_iter().collect())
    }
}
