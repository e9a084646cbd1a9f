//! What a marketplace is to the rest of the program.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use secrecy::SecretString;

use crate::domain::{Catalogue, Clock, Marketplace, Plans, Product};
use crate::http::outbound::NoClient;
use crate::outbox::ports::Provider;
use crate::provisioning::Provisioning;
use crate::web::{MarketplaceFace, PublicUrl, Web};

/// One marketplace, as it is configured. Everything that is particular to it is behind this: its wire shapes, its routes,
/// its calls, its sign-on and its texts.
pub trait Adapter: fmt::Debug + Send + Sync {
    /// As the database spells it. It is written into every resource, so it never changes.
    fn name(&self) -> Marketplace;

    /// What pages show of it.
    fn face(&self) -> MarketplaceFace;

    /// Where its customers open the dashboards of their caches, for whoever comes without a sign-on.
    fn console_url(&self) -> Option<String> {
        None
    }

    /// The plans and regions that it may order: by default all that are on sale.
    fn catalogue(&self, plans: &Plans) -> Catalogue {
        Catalogue::everything(plans)
    }

    /// How often the apps attached to its resources are read anew when no webhook gives cause. `None` leaves it to the
    /// outbox.
    fn reconcile_every(&self) -> Option<Duration> {
        None
    }

    /// What we may ask of it. By default nothing: its customers read new values on the dashboard.
    fn provider(
        &self,
        _installation: &Installation,
    ) -> Result<Option<Arc<dyn Provider>>, NoClient> {
        Ok(None)
    }

    /// The calls that it makes to us, and the sign-on of its customers' browsers. The paths begin with its name, so that
    /// no two marketplaces can claim the same.
    fn routes(&self, installation: &Installation, rooms: Rooms) -> Router;
}

/// What a marketplace must know of the installation.
#[derive(Clone, Debug)]
pub struct Installation {
    pub public_url: PublicUrl,
    pub product: Product,
    /// The marketplace's own secret in this installation, drawn once and the same in every process: to sign with.
    pub secret: SecretString,
    /// Plain http and private addresses, for tests and development.
    pub allow_http: bool,
}

/// The rooms that a marketplace's routes work with. Cheap to clone.
#[derive(Clone)]
pub struct Rooms {
    pub provisioning: Provisioning,
    /// Lets its customers in, by [`Web::enter`].
    pub web: Web,
    pub clock: Arc<dyn Clock>,
}
