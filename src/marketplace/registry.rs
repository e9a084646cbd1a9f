//! The marketplaces of this installation, and the sum of what they bring.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;

use super::adapter::{Adapter, Installation, Rooms};
use super::heroku::Heroku;
use crate::config::Config;
use crate::domain::{Catalogue, Marketplace, Plans, Timestamp};
use crate::http::outbound::NoClient;
use crate::outbox::ports::Providers;
use crate::store::{OpenError, Store};
use crate::web::{Console, MarketplaceFace};

/// The marketplaces that the program brings, as they are configured: one line each.
pub fn built_in(config: &Config) -> Vec<Arc<dyn Adapter>> {
    vec![Arc::new(Heroku(config.heroku.clone()))]
}

/// Marketplaces at work in this installation.
#[derive(Clone, Debug)]
pub struct Registry(Arc<BTreeMap<Marketplace, Opened>>);

/// A marketplace with what this installation holds for it.
type Opened = (Arc<dyn Adapter>, Installation);

/// Why the marketplaces could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    #[error("two marketplaces are called {0}")]
    Twice(Marketplace),
    #[error(transparent)]
    Store(#[from] OpenError),
}

impl Registry {
    /// Gives each marketplace its secret in this installation, and refuses a name that is taken.
    pub async fn open(
        adapters: Vec<Arc<dyn Adapter>>,
        config: &Config,
        store: &Store,
        now: Timestamp,
    ) -> Result<Registry, RegistryError> {
        let mut open = BTreeMap::new();
        for adapter in adapters {
            let name = adapter.name();
            let installation = Installation {
                public_url: config.public_url.clone(),
                product: config.product.clone(),
                secret: store
                    .installation_secret(&format!("{name}_webhooks"), now)
                    .await?,
                allow_http: config.allow_http,
            };
            if open.insert(name, (adapter, installation)).is_some() {
                return Err(RegistryError::Twice(name));
            }
        }
        Ok(Registry(Arc::new(open)))
    }

    /// What the outbox may ask of each.
    pub fn providers(&self) -> Result<Providers, NoClient> {
        let mut providers = Providers::new();
        for (name, (adapter, installation)) in self.0.iter() {
            if let Some(provider) = adapter.provider(installation)? {
                providers.insert(*name, provider);
            }
        }
        Ok(providers)
    }

    /// The shortest time after which one of them wants its attached apps read anew.
    pub fn reconcile_every(&self) -> Option<Duration> {
        let all = self.0.values();
        all.filter_map(|(adapter, _)| adapter.reconcile_every())
            .min()
    }

    /// Where the customers of each open the dashboards of their caches.
    pub fn consoles(&self) -> Vec<Console> {
        let consoles = self.0.values().filter_map(|(adapter, _)| {
            let url = adapter.console_url()?;
            let name = adapter.face().shown_as;
            Some(Console { name, url })
        });
        consoles.collect()
    }

    /// How pages show each.
    pub fn faces(&self) -> BTreeMap<Marketplace, MarketplaceFace> {
        self.each(|adapter, _| adapter.face())
    }

    /// What each may order.
    pub fn catalogues(&self, plans: &Plans) -> BTreeMap<Marketplace, Catalogue> {
        self.each(|adapter, _| adapter.catalogue(plans))
    }

    /// The calls that each makes to us, and its sign-on.
    pub fn routes(&self, rooms: &Rooms) -> Router {
        self.0
            .values()
            .map(|(adapter, installation)| adapter.routes(installation, rooms.clone()))
            .fold(Router::new(), Router::merge)
    }

    fn each<T>(&self, part: impl Fn(&dyn Adapter, &Installation) -> T) -> BTreeMap<Marketplace, T> {
        self.0
            .iter()
            .map(|(name, (adapter, installation))| (*name, part(adapter.as_ref(), installation)))
            .collect()
    }
}
