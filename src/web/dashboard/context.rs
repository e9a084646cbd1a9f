//! What the panels of one page share.

use tokio::sync::OnceCell;

use crate::access::SignedIn;
use crate::cluster::{CacheFigures, FiguresSource};
use crate::domain::secret::{BearerSecret, Password};
use crate::domain::{CacheId, Credential, Plan, Resource, Timestamp, Username};
use crate::format;
use crate::web::Web;
use crate::web::error::PageError;

/// The secret, if any, that this one answer shows.
pub enum Revealed {
    Nothing,
    Password(Username, Password),
    DashboardUrl(BearerSecret),
}

/// Whose page it is, and what more than one panel shows of it. That is loaded once, for whoever asks first, so that one
/// page never shows two figures for one thing.
pub struct PageContext {
    pub web: Web,
    pub owner: SignedIn,
    pub revealed: Revealed,
    pub now: Timestamp,
    figures: OnceCell<FiguresSource>,
    credentials: OnceCell<Vec<Credential>>,
    servers: OnceCell<String>,
}

impl PageContext {
    pub fn new(web: Web, owner: SignedIn, revealed: Revealed) -> PageContext {
        PageContext {
            now: web.clock.now(),
            web,
            owner,
            revealed,
            figures: OnceCell::new(),
            credentials: OnceCell::new(),
            servers: OnceCell::new(),
        }
    }

    pub fn resource(&self) -> &Resource {
        self.owner.resource()
    }

    pub fn cache(&self) -> CacheId {
        self.owner.cache()
    }

    pub fn plan(&self) -> &Plan {
        self.web.plans.find_or_smallest(&self.resource().plan)
    }

    /// The marketplace's name in sentences.
    pub fn provider(&self) -> &str {
        self.web.settings.shown_as(&self.resource().marketplace)
    }

    /// `None` while they are not to be had.
    pub async fn figures(&self) -> Option<&CacheFigures> {
        self.figures_or_why().await.ok()
    }

    /// The figures, or a sentence without its full stop that says why there are none.
    pub async fn figures_or_why(&self) -> Result<&CacheFigures, String> {
        let load = async || {
            let source = self.web.access.figures(&self.owner).await;
            source.unwrap_or(FiguresSource::Nowhere)
        };
        let source = self.figures.get_or_init(load).await;
        source
            .known()
            .ok_or_else(|| why_no_figures(source, self.now))
    }

    /// How old the figures are that the panels have asked for, where they are not of now.
    pub fn figures_as_of(&self) -> Option<String> {
        figures_as_of(self.figures.get()?, self.now)
    }

    /// Whether the cache's node is away, as far as the panels have asked.
    pub fn is_node_away(&self) -> bool {
        matches!(self.figures.get(), Some(FiguresSource::Away { .. }))
    }

    /// The primary first.
    pub async fn credentials(&self) -> Result<&[Credential], PageError> {
        let load = async || self.web.access.credentials(&self.owner).await;
        Ok(self.credentials.get_or_try_init(load).await?)
    }

    /// The value of the SERVERS variable.
    pub async fn servers(&self) -> Result<&str, PageError> {
        let load = async || self.web.access.servers(&self.owner).await;
        Ok(self.servers.get_or_try_init(load).await?)
    }

    /// Where the same servers take TLS; empty when they do not.
    pub async fn tls_servers(&self) -> Result<Vec<String>, PageError> {
        let servers = self.servers().await?;
        let Some(port) = self.web.settings.tls_port else {
            return Ok(Vec::new());
        };
        let host = |server: &str| Some(format!("{}:{port}", server.rsplit_once(':')?.0));
        Ok(servers.split(',').filter_map(host).collect())
    }
}

/// Why a page has no figures, as a sentence without its full stop.
pub fn why_no_figures(source: &FiguresSource, now: Timestamp) -> String {
    match source {
        FiguresSource::Elsewhere { node } => {
            format!("The cache's node {node} has not reported its figures of late")
        }
        FiguresSource::Away { node, seen_at } => format!(
            "The cache cannot be reached: its node {node} was last heard of {}",
            format::ago(*seen_at, now)
        ),
        FiguresSource::Here(_) | FiguresSource::Reported { .. } | FiguresSource::Nowhere => {
            "The cache's node does not answer at the moment".to_owned()
        }
    }
}

/// How old figures are that a node of another process has reported, as a sentence without its full stop.
pub fn figures_as_of(source: &FiguresSource, now: Timestamp) -> Option<String> {
    match source {
        FiguresSource::Reported { at, .. } => Some(format!(
            "The cache's node reported these figures {}",
            format::ago(*at, now)
        )),
        _ => None,
    }
}

/// Live connections of one credential; a credential that no node mentions has none.
pub fn connections_of(figures: &CacheFigures, username: &Username) -> u64 {
    figures
        .connections_by_credential
        .iter()
        .find(|(name, _)| name == username)
        .map_or(0, |(_, number)| *number)
}
