//! *Settings*: addresses, names of variables, and code to connect with.

mod dashboard_url;
pub mod snippets;

use askama::Template;

use self::snippets::Snippet;
use crate::domain::ConfigVarNames;
use crate::web::dashboard::context::{PageContext, Revealed};
use crate::web::dashboard::frame::Forms;
use crate::web::dashboard::panel::Panel;
use crate::web::dashboard::shown::FlashBox;
use crate::web::error::PageError;
use crate::web::router::Route;

#[derive(Template)]
#[template(path = "dashboard/panels/settings/panel.html")]
pub struct SettingsPanel {
    forms: Forms,
    servers: Vec<String>,
    /// The same by TLS, where that is offered.
    tls_servers: Vec<String>,
    variables: ConfigVarNames,
    snippets: Vec<Snippet>,
    /// Only in the answer to its own reveal.
    dashboard_url: Option<String>,
}

impl Panel for SettingsPanel {
    const ID: &'static str = "settings";
    const TITLE: &'static str = "Settings";
    const LINK: Option<&'static str> = Some("Settings");

    async fn load(page: &PageContext) -> Result<SettingsPanel, PageError> {
        let settings = &page.web.settings;
        let dashboard_url = match &page.revealed {
            Revealed::DashboardUrl(hash) => {
                Some(settings.public_url.join(&format!("/d/{}", hash.expose())))
            }
            _ => None,
        };
        Ok(SettingsPanel::new(
            Forms::of(&page.owner),
            page.servers().await?,
            page.tls_servers().await?,
            settings.variables_of(page.owner.resource().marketplace),
            dashboard_url,
        ))
    }

    fn routes() -> Vec<Route> {
        dashboard_url::routes()
    }

    fn flash(parts: &[&str], _: &str) -> Option<FlashBox> {
        dashboard_url::flash_box(parts)
    }
}

impl SettingsPanel {
    /// `servers` as in the SERVERS variable.
    pub fn new(
        forms: Forms,
        servers: &str,
        tls_servers: Vec<String>,
        variables: &ConfigVarNames,
        dashboard_url: Option<String>,
    ) -> SettingsPanel {
        SettingsPanel {
            forms,
            servers: servers
                .split(',')
                .filter(|server| !server.is_empty())
                .map(str::to_owned)
                .collect(),
            tls_servers,
            variables: variables.clone(),
            snippets: snippets::all(variables),
            dashboard_url,
        }
    }
}
