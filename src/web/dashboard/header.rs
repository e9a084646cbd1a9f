//! The head of the page: which cache it is, and links to its panels.

use super::shown::Tone;
use crate::access::BrowserSession;
use crate::domain::{Plan, Resource, ResourceState};
use crate::format;

pub struct Header {
    /// As the marketplace gave it.
    pub name: String,
    /// As log lines call it.
    pub label: String,
    pub state: &'static str,
    pub state_tone: Tone,
    pub plan: String,
    pub plan_memory: String,
    pub provider: String,
    pub cluster: String,
    /// Where it stands.
    pub region: String,
    /// Set when it was ordered elsewhere.
    pub region_ordered: Option<String>,
    /// The app from which the person came.
    pub app: Option<String>,
    /// How old the figures of the panels are, where they are not of now.
    pub figures_as_of: Option<String>,
    pub links: Vec<PanelLink>,
}

pub struct PanelLink {
    pub id: &'static str,
    pub text: &'static str,
}

impl Header {
    pub fn new(
        resource: &Resource,
        session: &BrowserSession,
        plan: &Plan,
        provider: &str,
    ) -> Header {
        let (state, state_tone) = match resource.state {
            ResourceState::Provisioned => ("Enabled", Tone::Good),
            ResourceState::Provisioning => ("Being set up", Tone::Fair),
            ResourceState::Deprovisioned { .. } => ("Deprovisioned", Tone::Bad),
        };
        let link = |panel: &super::panel::Entry| {
            let text = panel.link?;
            Some(PanelLink { id: panel.id, text })
        };
        let elsewhere = resource.elsewhere();
        Header {
            name: resource.name.clone(),
            label: resource.label.clone(),
            state,
            state_tone,
            plan: resource.plan.to_string(),
            plan_memory: format::bytes(plan.memory_bytes),
            provider: provider.to_owned(),
            cluster: resource.cluster.to_string(),
            region: match &elsewhere {
                Some(there) => there.served_from.clone(),
                None => resource.region.clone(),
            },
            region_ordered: elsewhere.map(|there| there.ordered),
            app: session.context_app.clone(),
            figures_as_of: None,
            links: super::panels::all().filter_map(link).collect(),
        }
    }

    /// Says that nobody reaches the cache while its node is away, whatever its state in the database.
    pub fn with_node_away(self, is_away: bool) -> Header {
        if !is_away {
            return self;
        }
        Header {
            state: "Unreachable",
            state_tone: Tone::Bad,
            ..self
        }
    }

    pub fn with_figures_as_of(self, figures_as_of: Option<String>) -> Header {
        Header {
            figures_as_of,
            ..self
        }
    }
}
