//! `larder admin manifest`: the manifest as it is pushed to Heroku's partner portal.

use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::forbid_dumps;
use super::settings::SettingFlags;
use crate::config::{BASE_PATH, Config, Environment, Manifest, SSO_PATH};
use crate::domain::secret::{hex_lower, random_bytes};

const WHAT_TO_DO: &str = "\
This text holds secrets: push it, and keep it where the service reads it and nowhere else. In this order:
  1. Save it as addon-manifest.json in the folder that the service is started from, readable by its user alone.
     Where the service has LARDER_HEROKU_PASSWORD or LARDER_HEROKU_SSO_SALT, those win: set them to the manifest's
     api.password and api.sso_salt. Where other secrets were in use, give those as LARDER_HEROKU_PASSWORD_PREVIOUS and
     LARDER_HEROKU_SSO_SALT_PREVIOUS. Restart every process: both pairs are accepted now.
  2. Push it: `heroku addons:admin:manifest:push`.
  3. A day later, take the two PREVIOUS settings away and restart.
";

pub(super) fn print(settings: SettingFlags, file: Option<PathBuf>) -> anyhow::Result<()> {
    let mut layers = Environment::of_process(settings.0, file.as_deref())?;
    forbid_dumps(&layers);
    // Before the first push there are no secrets yet, and none of them is looked at.
    let key = STANDARD.encode([0; 32]);
    layers.dev.push(("LARDER_MASTER_KEY".to_owned(), key));
    leave_secrets_unset(&mut layers);
    let config = Config::read(layers)?;
    println!(
        "{}",
        for_pushing(&config.manifest, config.public_url.origin())?
    );
    eprint!("{WHAT_TO_DO}");
    Ok(())
}

/// For commands that take no call of Heroku's: they need not know what such a call must show. Over what is set, which may
/// be the placeholder that is to be replaced.
pub(super) fn leave_secrets_unset(layers: &mut Environment) {
    for name in ["LARDER_HEROKU_PASSWORD", "LARDER_HEROKU_SSO_SALT"] {
        layers.flags.push((name.to_owned(), "unset".to_owned()));
    }
}

/// The manifest with this public address and new secrets, checked.
fn for_pushing(manifest: &Manifest, public_url: &str) -> anyhow::Result<String> {
    ensure!(
        public_url.starts_with("https://"),
        "Heroku calls https addresses only: set LARDER_PUBLIC_URL to the one the outside reaches, it is {public_url}"
    );
    let mut text: Value = serde_json::from_str(&manifest.text).context("the manifest")?;
    text["api"]["password"] = json!(hex_lower(&random_bytes::<16>()));
    text["api"]["sso_salt"] = json!(hex_lower(&random_bytes::<16>()));
    text["api"]["production"] = json!({
        "base_url": format!("{public_url}{BASE_PATH}"),
        "sso_url": format!("{public_url}{SSO_PATH}"),
    });
    let text = serde_json::to_string_pretty(&text)?;
    if let Err(faults) = Manifest::parse(&text) {
        anyhow::bail!("the manifest would be refused: {}", faults.join("; "));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret as _;

    const COMMITTED: &str = include_str!("../../addon-manifest.json");

    #[test]
    fn the_printed_manifest_is_sound_and_new_each_time() {
        let committed = Manifest::parse(COMMITTED).unwrap();
        let made = || {
            let text = for_pushing(&committed, "https://cache.example.com").unwrap();
            Manifest::parse(&text).unwrap().api
        };
        let (first, second) = (made(), made());
        let urls = first.production.unwrap();
        assert_eq!(urls.base_url, "https://cache.example.com/heroku/resources");
        assert_eq!(urls.sso_url, "https://cache.example.com/heroku/sso");
        assert_eq!(first.config_vars, committed.api.config_vars);
        assert_eq!(first.password.expose_secret().len(), 32);
        assert_ne!(
            first.password.expose_secret(),
            first.sso_salt.expose_secret()
        );
        assert_ne!(
            first.password.expose_secret(),
            second.password.expose_secret()
        );
        assert!(for_pushing(&committed, "http://cache.example.com").is_err());
    }
}
