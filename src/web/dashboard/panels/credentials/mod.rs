//! *Credentials*: who may use the cache, and whether the provider has the primary's values.
//!
//! | file | holds |
//! |---|---|
//! | `row` | one credential as shown, and what to do with a former primary |
//! | `config_push` | how far the provider's config vars are |
//! | `actions` | add, promote, rotate, restrict, reveal, push |
//! | `delete` | deleting, and the question before it |
//! | `certificates` | the page of one credential's certificates |
//! | `revoke` | revoking one, and the question before it |
//! | `flash` | the messages of all of these |

mod actions;
mod certificates;
mod config_push;
mod delete;
mod flash;
mod revoke;
mod row;

#[cfg(test)]
mod tests;

use askama::Template;

use self::config_push::ConfigPush;
use self::flash::CredentialFlash;
use self::row::CredentialRow;
use crate::access::ConfigState;
use crate::cluster::CacheFigures;
use crate::domain::secret::Password;
use crate::domain::{Certificate, Credential, ResourceState, Timestamp, Username};
use crate::web::dashboard::context::{PageContext, Revealed};
use crate::web::dashboard::frame::Forms;
use crate::web::dashboard::panel::Panel;
use crate::web::dashboard::shown::FlashBox;
use crate::web::error::PageError;
use crate::web::router::Route;

#[derive(Template)]
#[template(path = "dashboard/panels/credentials/panel.html")]
pub struct CredentialsPanel {
    forms: Forms,
    config: ConfigPush,
    /// What it means that there is none.
    no_token: Option<String>,
    credentials: Vec<CredentialRow>,
    credentials_max: u32,
    /// Whether certificates can be issued.
    has_tls: bool,
}

/// Everything the panel is made of.
pub struct Facts<'a> {
    pub provider: &'a str,
    pub is_provisioning: bool,
    pub credentials: &'a [Credential],
    pub credentials_max: u32,
    pub certificates: &'a [Certificate],
    /// For each credential when its overlap with its successor ends, if it was the primary.
    pub overlap_ends: Vec<Option<Timestamp>>,
    pub config: ConfigState,
    /// Whether the provider can be called about the cache.
    pub has_token: bool,
    pub has_tls: bool,
    /// `None` while no node answers.
    pub figures: Option<&'a CacheFigures>,
    /// The one password that this answer shows.
    pub revealed: Option<(&'a Username, &'a Password)>,
    pub now: Timestamp,
}

impl Panel for CredentialsPanel {
    const ID: &'static str = "credentials";
    const TITLE: &'static str = "Credentials";
    const LINK: Option<&'static str> = Some("Credentials");

    async fn load(page: &PageContext) -> Result<CredentialsPanel, PageError> {
        let (access, owner) = (&page.web.access, &page.owner);
        let (config, has_token, certificates, credentials, tls_servers) = tokio::try_join!(
            async { Ok(access.config_state(owner).await?) },
            async { Ok(access.has_token(owner).await?) },
            async { Ok(access.certificates(owner).await?) },
            page.credentials(),
            page.tls_servers(),
        )?;
        let overlap_ends = |credential| access.overlap_ends(credential);
        let facts = Facts {
            provider: page.provider(),
            is_provisioning: page.resource().state == ResourceState::Provisioning,
            overlap_ends: credentials.iter().map(overlap_ends).collect(),
            credentials,
            credentials_max: page.plan().credentials_max,
            certificates: &certificates,
            config,
            has_token,
            has_tls: !tls_servers.is_empty(),
            figures: page.figures().await,
            revealed: match &page.revealed {
                Revealed::Password(username, password) => Some((username, password)),
                _ => None,
            },
            now: page.now,
        };
        Ok(CredentialsPanel::new(Forms::of(owner), &facts))
    }

    fn routes() -> Vec<Route> {
        let mut routes = actions::routes();
        routes.extend(delete::routes());
        routes.extend(certificates::routes());
        routes.extend(revoke::routes());
        routes
    }

    fn flash(parts: &[&str], provider: &str) -> Option<FlashBox> {
        Some(CredentialFlash::parse(parts)?.shown(provider))
    }
}

impl CredentialsPanel {
    pub fn new(forms: Forms, facts: &Facts<'_>) -> CredentialsPanel {
        let rows = facts.credentials.iter().zip(&facts.overlap_ends);
        CredentialsPanel {
            forms,
            config: match facts.is_provisioning {
                true => ConfigPush::setting_up(facts.provider),
                false => ConfigPush::new(&facts.config, facts.provider, facts.now),
            },
            no_token: (!facts.has_token).then(|| config_push::no_token(facts.provider)),
            credentials: rows
                .map(|(credential, ends)| CredentialRow::new(facts, credential, *ends))
                .collect(),
            credentials_max: facts.credentials_max,
            has_tls: facts.has_tls,
        }
    }

    fn is_full(&self) -> bool {
        self.credentials.len() >= self.credentials_max as usize
    }
}
