//! What Heroku and we share.

use std::time::Duration;

use secrecy::SecretString;

use super::sso::SsoSettings;
use crate::config;
use crate::domain::{ConfigVarNames, HostPattern, Marketplace, Timestamp};
use crate::http::outbound;
use crate::marketplace::adapter::Installation;

/// As the database spells it.
pub const NAME: Marketplace = Marketplace::named("heroku");

/// Heroku as it is configured.
#[derive(Clone, Debug)]
pub struct Heroku(pub config::Heroku);

/// What Heroku's routes and client are made of.
#[derive(Clone, Debug)]
pub struct HerokuSettings {
    /// The add-on's slug: user name of inbound Basic authentication, and the process name of log lines.
    pub id: String,
    /// The name shown in the `User-Agent`, with an address to ask.
    pub user_agent: String,
    /// Passwords that authenticate Heroku: the current one, and the previous one during a rotation.
    pub passwords: Vec<SecretString>,
    /// When the previous password ends by itself.
    pub previous_until: Option<Timestamp>,
    pub sso: SsoSettings,
    pub client_secret: Option<SecretString>,
    /// Without a slash at the end, as the next two.
    pub id_url: String,
    pub api_url: String,
    pub addons_url: String,
    /// Hosts that a log input may name.
    pub log_hosts: Vec<HostPattern>,
    /// Webhook events of resources; `None` asks for none and takes none.
    pub webhooks: Option<Webhooks>,
    /// The v1 shapes of provisioning, for kensa and marketplaces that copied it.
    pub legacy: bool,
    pub variables: ConfigVarNames,
    /// Plain http and private addresses, for tests and development.
    pub allow_http: bool,
    /// How long one call to Heroku may take in all; by default [`outbound::CALL_MAX`].
    pub call_max: Duration,
}

/// Where Heroku sends webhook events, and what it signs them with.
#[derive(Clone, Debug)]
pub struct Webhooks {
    pub url: String,
    /// One for the installation: the signature is checked before it is known which resource an event is about.
    pub secret: SecretString,
}

impl HerokuSettings {
    /// What is configured, in this installation.
    pub(super) fn new(Heroku(config): &Heroku, installation: &Installation) -> HerokuSettings {
        let Installation {
            public_url,
            product,
            secret,
            allow_http,
        } = installation;
        let pair = |current: &SecretString, previous: &Option<SecretString>| {
            let current = std::iter::once(current.clone());
            current.chain(previous.clone()).collect::<Vec<_>>()
        };
        HerokuSettings {
            id: product.id.clone(),
            user_agent: format!(
                "{}/{} ({public_url})",
                product.id,
                env!("CARGO_PKG_VERSION")
            ),
            passwords: pair(&config.password, &config.password_previous),
            previous_until: config.previous_until,
            sso: SsoSettings {
                previous_until: config.previous_until,
                salts: pair(&config.sso_salt, &config.sso_salt_previous),
                legacy: config.legacy,
            },
            client_secret: config.client_secret.clone(),
            id_url: config.id_url.clone(),
            api_url: config.api_url.clone(),
            addons_url: config.addons_url.clone(),
            log_hosts: config.log_hosts.clone(),
            webhooks: Some(Webhooks {
                url: public_url.join("/heroku/webhooks"),
                secret: secret.clone(),
            }),
            legacy: config.legacy,
            variables: config.variables.clone(),
            allow_http: *allow_http,
            call_max: outbound::CALL_MAX,
        }
    }
}
