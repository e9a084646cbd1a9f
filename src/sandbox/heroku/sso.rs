//! The sign-on form with which a customer's browser reaches the provider's dashboard.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use secrecy::ExposeSecret as _;
use serde_json::json;

use crate::domain::secret::{digest_hex, hex_lower};
use crate::sandbox::platform::hub::Hub;
use crate::sandbox::platform::ids::{AddonId, AppId};
use crate::sandbox::platform::refusal::NotPossible;
use crate::sandbox::platform::settings::Manifest;
use crate::sandbox::platform::user::User;

/// What one sign-on is about.
pub(in crate::sandbox) struct SignOn<'a> {
    pub resource_id: &'a str,
    pub user: &'a User,
    /// Name of the owning app.
    pub app: &'a str,
    /// Name of the app from which the user comes.
    pub context_app: &'a str,
    pub at: Timestamp,
}

/// Where to post the form now, and its fields. Also of an add-on that is gone: the provider must say so.
pub(in crate::sandbox) fn form(
    hub: &Hub,
    id: AddonId,
    user: &User,
    context_app: Option<AppId>,
) -> Result<(String, Vec<(String, String)>), NotPossible> {
    let at = hub.now();
    let fields = hub.read(|market| {
        let name_of = |id: AppId| market.app(id).map(|app| app.name.as_str());
        let addon = market.addon(id).ok_or(NotPossible::NoSuchAddon)?;
        let app = name_of(addon.owner).ok_or(NotPossible::NoSuchApp)?;
        let context_app = match context_app {
            Some(id) => name_of(id).ok_or(NotPossible::NoSuchApp)?,
            None => app,
        };
        let sign_on = SignOn {
            resource_id: &id.to_string(),
            user,
            app,
            context_app,
            at,
        };
        Ok(form_fields(&hub.settings.manifest, &sign_on))
    })?;
    Ok((hub.provider().sso, fields))
}

/// The fields of the form, both tokens among them.
pub(in crate::sandbox) fn form_fields(
    manifest: &Manifest,
    sign_on: &SignOn<'_>,
) -> Vec<(String, String)> {
    let User { id: user_id, email } = sign_on.user;
    let resource = sign_on.resource_id;
    let salt = manifest.api.sso_salt.expose_secret();
    let timestamp = sign_on.at.as_second();
    let resource_text = format!("{resource}:{salt}:{timestamp}");
    let user_text = format!("{resource_text}:{user_id}:{email}");
    let sha1 = digest(&SHA1_FOR_LEGACY_USE_ONLY, resource_text.as_bytes());
    let nav_data = json!({ "appname": sign_on.app, "addon": manifest.id }).to_string();
    [
        ("resource_id", resource.to_owned()),
        ("resource_token", hex_lower(sha1.as_ref())),
        (
            "user_scoped_resource_token",
            digest_hex(user_text.as_bytes()),
        ),
        ("timestamp", timestamp.to_string()),
        ("user_id", user_id.clone()),
        ("email", email.clone()),
        ("app", sign_on.app.to_owned()),
        ("context_app", sign_on.context_app.to_owned()),
        ("nav-data", URL_SAFE_NO_PAD.encode(nav_data)),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_match_the_worked_examples_of_the_reference() {
        let manifest = Manifest::parse(
            r#"{"id":"x","name":"x","api":{"password":"p","sso_salt":"example-sso-salt-0001",
                "config_vars":[],"regions":[]}}"#,
        )
        .unwrap();
        let fields = form_fields(
            &manifest,
            &SignOn {
                resource_id: "01234567-89ab-cdef-0123-456789abcdef",
                user: &User::default(),
                app: "shop",
                context_app: "jobs",
                at: Timestamp::from_second(1_795_372_200).unwrap(),
            },
        );
        let field = |wanted: &str| {
            let found = fields.iter().find(|(name, _)| name == wanted);
            found.map(|(_, value)| value.as_str()).unwrap()
        };
        assert_eq!(field("timestamp"), "1795372200");
        assert_eq!(
            field("resource_token"),
            "0d43718a8e46aff106d8cd7ced4ebfbe442b52d8"
        );
        assert_eq!(
            field("user_scoped_resource_token"),
            "224d12ee9e62ddfa1c9bebdfd1ead832358079c6b654a19271e07e27d4cce714"
        );
        assert_eq!(field("context_app"), "jobs");
    }
}
