//! Heroku and marketplaces that speak its add-on contract (v3; v1 shapes behind a switch).
//!
//! | file | holds |
//! |---|---|
//! | [`wire`] | what goes over the wire, in Heroku's spelling |
//! | `routes` | the calls Heroku makes: provision, plan change, deprovision |
//! | `webhooks` | events that Heroku sends |
//! | `answer` | how both are answered |
//! | [`sso`] | who proves to come from Heroku |
//! | `sign_on` | the routes of the browsers that bring such a proof |
//! | `abilities` | what the outbox can ask of it |
//! | [`client`] | the calls we make |
//! | [`logplex`] | the framing of log lines |
//! | [`settings`] | what Heroku and we share |

mod abilities;
mod answer;
mod auth;
pub mod client;
pub mod logplex;
mod routes;
pub mod settings;
mod sign_on;
pub mod sso;
mod state;
mod webhooks;
pub mod wire;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use client::HerokuClient;
pub use settings::{Heroku, HerokuSettings, NAME, Webhooks};
use sign_on::SignOnRoutes;
pub use state::HerokuRoutes;

use super::adapter::{Adapter, Installation, Rooms};
use crate::domain::Marketplace;
use crate::http::outbound::NoClient;
use crate::outbox::ports::Provider;
use crate::web::MarketplaceFace;

/// The place that a script of the first generation's marketplaces fills.
const OLD_HEADER: &str = "<div id=\"heroku-header\"></div>";

impl Adapter for Heroku {
    fn name(&self) -> Marketplace {
        NAME
    }

    fn face(&self) -> MarketplaceFace {
        MarketplaceFace {
            shown_as: "Heroku".to_owned(),
            header: self.0.legacy.then_some(OLD_HEADER),
            variables: Some(self.0.variables.clone()),
        }
    }

    /// A stand-in has its console where it has its sign-on.
    fn console_url(&self) -> Option<String> {
        Some(match self.0.id_url.as_str() {
            "https://id.heroku.com" => "https://dashboard.heroku.com/".to_owned(),
            stand_in => format!("{stand_in}/"),
        })
    }

    fn reconcile_every(&self) -> Option<Duration> {
        Some(self.0.reconcile_every)
    }

    fn provider(&self, installation: &Installation) -> Result<Option<Arc<dyn Provider>>, NoClient> {
        let client = HerokuClient::new(HerokuSettings::new(self, installation))?;
        Ok(Some(Arc::new(client)))
    }

    fn routes(&self, installation: &Installation, rooms: Rooms) -> Router {
        let settings = Arc::new(HerokuSettings::new(self, installation));
        let refused = rooms.web.access.refused_calls().clone();
        let sign_on = SignOnRoutes {
            settings: Arc::clone(&settings),
            web: rooms.web,
            clock: Arc::clone(&rooms.clock),
        };
        let calls = HerokuRoutes {
            settings,
            provisioning: rooms.provisioning,
            clock: rooms.clock,
            refused,
        };
        calls_router(calls).merge(sign_on::router(sign_on))
    }
}

/// The calls that Heroku itself makes: `/heroku/resources` and `/heroku/webhooks`.
pub fn calls_router(calls: HerokuRoutes) -> Router {
    routes::router(calls.clone()).merge(webhooks::router(calls))
}
