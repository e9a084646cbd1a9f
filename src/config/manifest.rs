//! `addon-manifest.json`: the single source of the add-on's id, prefix, variables, regions and URLs.
//!
//! Shape and rules: Heroku's "Add-on Manifest" article. The secrets in the committed file are placeholders; the
//! real ones come from the environment.

use std::path::PathBuf;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use crate::domain::ConfigVarNames;
use crate::http::outbound::Url;

/// How the committed manifest begins a secret that is not one.
pub const PLACEHOLDER: &str = "PLACEHOLDER";

/// Where our routes for Heroku are.
pub const BASE_PATH: &str = "/heroku/resources";
pub const SSO_PATH: &str = "/heroku/sso";
/// What an add-on may require.
const REQUIREMENTS: [&str; 5] = [
    "attachable",
    "deploy_notify",
    "log_input",
    "many_per_app",
    "syslog_drain",
];

/// The whole document. Members that we do not use are passed over.
#[derive(Clone, Debug, Deserialize)]
pub struct Manifest {
    /// The add-on's slug and the user name of inbound Basic authentication.
    pub id: String,
    #[serde(default)]
    pub name: Option<String>,
    pub api: ManifestApi,
    /// The text it was read from: what the sandbox, as the marketplace, was given.
    #[serde(skip)]
    pub text: String,
    /// The file it was read from; `None` for the one that the program was built with.
    #[serde(skip)]
    pub file: Option<PathBuf>,
    /// Those of its secrets that had blanks or a line end around them.
    #[serde(skip)]
    trimmed: Vec<String>,
}

/// Its `api` member: secrets, variables, regions and addresses.
#[derive(Clone, Debug, Deserialize)]
pub struct ManifestApi {
    pub password: SecretString,
    pub sso_salt: SecretString,
    #[serde(default)]
    pub config_vars_prefix: Option<String>,
    pub config_vars: Vec<String>,
    pub regions: Vec<String>,
    #[serde(default)]
    pub requires: Vec<String>,
    #[serde(default)]
    pub version: Option<String>,
    #[serde(default)]
    pub production: Option<ManifestUrls>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct ManifestUrls {
    pub base_url: String,
    pub sso_url: String,
}

impl Manifest {
    /// Reads the text and checks it; every fault found is in the list.
    pub fn parse(text: &str) -> Result<Manifest, Vec<String>> {
        let mut manifest: Manifest =
            serde_json::from_str(text).map_err(|error| vec![error.to_string()])?;
        text.clone_into(&mut manifest.text);
        manifest.trimmed = manifest.api.trim_secrets();
        let faults = manifest.faults();
        if faults.is_empty() {
            Ok(manifest)
        } else {
            Err(faults)
        }
    }

    /// What stands before the underscore in every variable's name. Heroku's default is the id in capitals.
    fn prefix(&self) -> String {
        let default = || self.id.to_uppercase().replace('-', "_");
        self.api.config_vars_prefix.clone().unwrap_or_else(default)
    }

    /// The full names of the variables.
    pub fn variables(&self) -> ConfigVarNames {
        ConfigVarNames::with_prefix(&self.prefix())
    }

    pub fn display_name(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.id)
    }

    /// Whether it holds a secret that opens something, and not only placeholders.
    pub(super) fn holds_secrets(&self) -> bool {
        !is_placeholder(&self.api.password) || !is_placeholder(&self.api.sso_salt)
    }

    /// What was left out of its secrets, for who wonders why one does not fit.
    pub(super) fn trimmed(&self) -> Vec<String> {
        let told = self.trimmed.iter().map(|name| {
            format!("api.{name} (manifest) has a line end or blanks around it, which are left out")
        });
        told.collect()
    }

    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let slug = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_'
        };
        if self.id.is_empty() || !self.id.bytes().all(slug) {
            faults.push(format!(
                "id {:?} must be lower-case letters, digits and dashes",
                self.id
            ));
        }
        let names = self.variables();
        for name in [names.servers, names.username, names.password] {
            if !self.api.config_vars.contains(&name) {
                faults.push(format!("api.config_vars must list {name}"));
            }
        }
        let prefix = format!("{}_", self.prefix());
        for name in &self.api.config_vars {
            let capital =
                |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
            if !name.starts_with(&prefix) || !name.bytes().all(capital) {
                faults.push(format!(
                    "api.config_vars holds {name:?}, which does not begin with {prefix}"
                ));
            }
        }
        if !self
            .api
            .regions
            .iter()
            .any(|region| region == "us" || region == "*")
        {
            faults.push("api.regions must hold \"us\" or \"*\"".to_owned());
        }
        faults.extend(self.api.faults());
        faults
    }
}

impl ManifestApi {
    /// Leaves out what stands around its secrets, as with those that are settings. Answers which had something.
    fn trim_secrets(&mut self) -> Vec<String> {
        let mut trimmed = Vec::new();
        for (name, secret) in [
            ("password", &mut self.password),
            ("sso_salt", &mut self.sso_salt),
        ] {
            let kept = secret.expose_secret().trim().to_owned();
            if kept.len() < secret.expose_secret().len() {
                *secret = kept.into();
                trimmed.push(name.to_owned());
            }
        }
        trimmed
    }

    /// What the partner portal refuses, and URLs that would not reach our routes.
    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if self.version.as_deref() != Some("3") {
            faults.push("api.version must be \"3\", as a text".to_owned());
        }
        for (name, secret) in [("password", &self.password), ("sso_salt", &self.sso_salt)] {
            if secret.expose_secret().is_empty() {
                faults.push(format!("api.{name} must not be empty"));
            }
        }
        for wish in &self.requires {
            if !REQUIREMENTS.contains(&wish.as_str()) {
                faults.push(format!(
                    "api.requires holds {wish:?}, which Heroku does not know"
                ));
            }
        }
        let Some(production) = &self.production else {
            faults.push("api.production must hold base_url and sso_url".to_owned());
            return faults;
        };
        let urls = [
            ("base_url", &production.base_url, BASE_PATH),
            ("sso_url", &production.sso_url, SSO_PATH),
        ];
        for (name, url, path) in urls {
            let fits = Url::parse(url).is_ok_and(|url| {
                url.scheme() == "https" && url.path().trim_end_matches('/') == path
            });
            if !fits {
                faults.push(format!(
                    "api.production.{name} must be an https address that ends in {path}"
                ));
            }
        }
        faults
    }
}

/// Whether this is the committed stand-in and not a secret.
pub fn is_placeholder(secret: &SecretString) -> bool {
    secret.expose_secret().starts_with(PLACEHOLDER)
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMITTED: &str = include_str!("../../addon-manifest.json");

    #[test]
    fn the_committed_manifest_is_sound_and_holds_no_secret() {
        let manifest = Manifest::parse(COMMITTED).unwrap();
        assert_eq!(manifest.variables().servers, "MEMCACHIER_SERVERS");
        assert!(is_placeholder(&manifest.api.password));
        assert!(is_placeholder(&manifest.api.sso_salt));
    }

    #[test]
    fn every_fault_is_reported() {
        let text = r#"{"id":"My Addon","api":{"password":"p","sso_salt":"s","config_vars":["OTHER_URL"],
            "regions":["mars"],"requires":["luck"],
            "production":{"base_url":"http://x.example/heroku/resources","sso_url":"https://x.example/sso"}}}"#;
        let faults = Manifest::parse(text).unwrap_err();
        assert_eq!(faults.len(), 10, "{faults:?}");
    }
}
