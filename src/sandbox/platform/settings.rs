//! What the sandbox must be told, and what it takes from the add-on manifest.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;

/// The members of an add-on manifest (version 3) that a marketplace acts on. Others are ignored.
#[derive(Clone, Debug, Deserialize)]
pub struct Manifest {
    /// Slug of the add-on, and the user name of calls to the provider.
    pub id: String,
    pub name: String,
    pub api: ManifestApi,
}

/// The `api` part of a [`Manifest`].
#[derive(Clone, Debug, Deserialize)]
pub struct ManifestApi {
    /// Basic password of calls to the provider.
    pub password: SecretString,
    /// Shared secret of the sign-on hash.
    pub sso_salt: SecretString,
    /// Without it the prefix is the id in upper case, `-` as `_`.
    #[serde(default)]
    config_vars_prefix: Option<String>,
    /// Full names: all that the provider may ever set.
    pub config_vars: Vec<String>,
    pub regions: Vec<String>,
    #[serde(default)]
    pub requires: Vec<String>,
}

impl Manifest {
    /// Reads a manifest from its JSON text.
    pub fn parse(json: &str) -> Result<Manifest, serde_json::Error> {
        serde_json::from_str(json)
    }

    /// The default attachment name, with which every variable begins.
    pub fn prefix(&self) -> String {
        match &self.api.config_vars_prefix {
            Some(prefix) => prefix.clone(),
            None => self.id.to_uppercase().replace('-', "_"),
        }
    }

    /// Whether the provider may write to app logs.
    pub fn wants_log_input(&self) -> bool {
        self.api.requires.iter().any(|what| what == "log_input")
    }
}

/// Everything [`Sandbox::start`](crate::sandbox::Sandbox::start) needs. [`new`](SandboxSettings::new) fills in defaults.
#[derive(Clone, Debug)]
pub struct SandboxSettings {
    /// Where to listen; port 0 takes a free one.
    pub addr: SocketAddr,
    /// The provider's collection URL, as in `http://127.0.0.1:8080/heroku/resources`.
    pub provider_base_url: String,
    /// Where the sign-on form is posted.
    pub provider_sso_url: String,
    pub manifest: Manifest,
    /// Plan slugs offered in the console. Programs may ask for any other, to see it refused.
    pub plans: Vec<String>,
    /// What the provider must send to the token endpoint.
    pub client_secret: SecretString,
    /// Run by `sh -c` for every app from its first release on, and anew for each release.
    pub app_command: Option<String>,
    /// The soft limit of open files of these commands; `None` is this process's own.
    pub app_files: Option<u64>,
    /// Keeps apps, add-ons, tokens, variables and releases over restarts, **unsealed**: mode 0600, for
    /// development only. Logs are not kept.
    pub state_file: Option<PathBuf>,
    /// How long an access token is good. The marketplace's own is 8 hours.
    pub token_lifetime: Duration,
    /// How long a grant code is good. The marketplace's own is 5 minutes.
    pub code_lifetime: Duration,
    /// Hand out a new refresh token with every refresh and end the old one. Not known of the real platform.
    pub rotate_refresh_tokens: bool,
    /// How long a call to the provider may take before it counts as unanswered.
    pub provider_timeout: Duration,
    /// Most entries of one answer of a list, when the caller asks for no number.
    pub page_size: usize,
    /// Lines of log kept per app.
    pub log_lines: usize,
    /// How long the process of an old release goes on beside that of the new one.
    pub overlap: Duration,
    /// Time between SIGTERM and SIGKILL.
    pub grace: Duration,
}

impl SandboxSettings {
    /// Defaults for a marketplace on `127.0.0.1:8090` and a provider on port 8080.
    pub fn new(manifest: Manifest, client_secret: SecretString) -> SandboxSettings {
        SandboxSettings {
            addr: SocketAddr::from(([127, 0, 0, 1], 8090)),
            provider_base_url: "http://127.0.0.1:8080/heroku/resources".to_owned(),
            provider_sso_url: "http://127.0.0.1:8080/heroku/sso".to_owned(),
            manifest,
            plans: vec!["dev".to_owned()],
            client_secret,
            app_command: None,
            app_files: None,
            state_file: None,
            token_lifetime: Duration::from_secs(8 * 3600),
            code_lifetime: Duration::from_secs(300),
            rotate_refresh_tokens: false,
            provider_timeout: Duration::from_secs(25),
            page_size: 200,
            log_lines: 2_000,
            overlap: Duration::from_secs(1),
            grace: Duration::from_secs(10),
        }
    }
}

/// What the provider is told for a manifest region. Unknown ones travel as they are.
pub(in crate::sandbox) fn platform_region(manifest_region: &str) -> String {
    match manifest_region {
        "us" => "amazon-web-services::us-east-1",
        "eu" => "amazon-web-services::eu-west-1",
        other => other,
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_in_the_tree_is_usable_and_holds_no_secret() {
        let text = include_str!("../../../addon-manifest.json");
        let manifest = Manifest::parse(text).unwrap();
        assert_eq!(manifest.id, "larder");
        assert!(manifest.wants_log_input());
        for name in &manifest.api.config_vars {
            assert!(
                name.starts_with(&format!("{}_", manifest.prefix())),
                "{name}"
            );
        }
        assert_eq!(text.matches("PLACEHOLDER").count(), 2);
    }

    #[test]
    fn the_prefix_follows_from_the_id_when_not_given() {
        let manifest = Manifest::parse(
            r#"{"id":"my-cache","name":"x","api":{"password":"p","sso_salt":"s",
                "config_vars":[],"regions":["us"]}}"#,
        )
        .unwrap();
        assert_eq!(manifest.prefix(), "MY_CACHE");
    }
}
