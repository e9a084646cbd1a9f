//! Heroku and marketplaces that speak its add-on contract (v3; v1 shapes behind a switch).
//!
//! | file | holds |
//! |---|---|
//! | [`wire`] | what goes over the wire, in Heroku's spelling |
//! | [`routes`] | the calls Heroku makes: provision, plan change, deprovision |
//! | `webhooks` | news from Heroku |
//! | [`sso`] | who proves to come from Heroku |
//! | [`client`] | the calls we make |
//! | [`logplex`] | the framing of log lines |

mod auth;
pub mod client;
pub mod logplex;
pub mod routes;
pub mod sso;
mod webhooks;
pub mod wire;

use std::time::Duration;

use secrecy::SecretString;

use crate::domain::{ConfigVarNames, HostPattern};

/// What Heroku and we share.
#[derive(Clone, Debug)]
pub struct HerokuSettings {
    /// The add-on's slug: user name of inbound Basic authentication, and the process name of log lines.
    pub id: String,
    /// The name shown in the `User-Agent`, with an address to ask.
    pub user_agent: String,
    /// Passwords that authenticate Heroku: the current one, and the previous one during a rotation.
    pub passwords: Vec<SecretString>,
    pub sso: sso::SsoSettings,
    pub client_secret: Option<SecretString>,
    /// Without a slash at the end, as the next.
    pub id_url: String,
    pub api_url: String,
    pub addons_url: String,
    /// Hosts that a log input may name.
    pub log_hosts: Vec<HostPattern>,
    /// News of resources; `None` asks for none and takes none.
    pub webhooks: Option<Webhooks>,
    /// The v1 shapes of provisioning, for kensa and marketplaces that copied it.
    pub legacy: bool,
    pub variables: ConfigVarNames,
    /// Plain http and private addresses, for tests and development.
    pub allow_http: bool,
    /// How long one call to Heroku may take in all; [`outbound::CALL_MAX`](super::outbound::CALL_MAX).
    pub call_max: Duration,
}

/// Where Heroku sends news, and what it signs it with.
#[derive(Clone, Debug)]
pub struct Webhooks {
    pub url: String,
    /// One for the installation: the signature is checked before it is known whose news it is.
    pub secret: SecretString,
}
