//! What Heroku's calls to us work with.

use std::net::IpAddr;
use std::sync::Arc;

use uuid::Uuid;

use super::settings::{HerokuSettings, NAME};
use crate::domain::{Clock, ExternalId};
use crate::provisioning::Provisioning;
use crate::web::{RefusedCall, RefusedCalls};

/// What the routes work with. Cheap to clone.
#[derive(Clone)]
pub struct HerokuRoutes {
    pub settings: Arc<HerokuSettings>,
    pub provisioning: Provisioning,
    pub clock: Arc<dyn Clock>,
    pub refused: RefusedCalls,
}

impl HerokuRoutes {
    /// Notes a call that does not come from Heroku, and tells whether its source has made too many of them.
    pub(super) fn note_refused(&self, call: RefusedCall, remote: Option<IpAddr>) -> bool {
        self.refused
            .note(call, Some(NAME), remote, self.clock.now())
    }

    /// A uuid in its usual form; with the v1 shapes switched on, whatever id their senders use.
    pub(super) fn external_id(&self, text: &str) -> Option<ExternalId> {
        match Uuid::try_parse(text) {
            Ok(uuid) => uuid.hyphenated().to_string().parse().ok(),
            Err(_) if self.settings.legacy => text.parse().ok(),
            Err(_) => None,
        }
    }
}
