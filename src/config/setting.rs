//! What a setting is: its name, what holds when nobody sets it, what it means, and how its text is read.

use std::fmt;

use super::source::Source;

/// One setting of the table, with the parser of its text.
#[derive(Debug)]
pub struct Setting<T> {
    pub about: About,
    pub(super) parse: fn(&str) -> Result<T, String>,
}

/// Everything about a setting but its type.
#[derive(Debug)]
pub struct About {
    /// Its name in the environment and in `larder.toml`.
    pub name: &'static str,
    pub exposure: Exposure,
    pub fallback: Fallback,
    pub help: &'static str,
}

/// Where a setting may be given and shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposure {
    Plain,
    /// No flag, since process lists show flags to everybody, and never printed.
    Secret,
    /// A URL that may hold a password: no flag, and printed without the password and the query.
    SecretUrl,
}

/// What holds when nobody sets a setting.
#[derive(Clone, Copy, Debug)]
pub enum Fallback {
    /// Nothing; the description says what that means.
    Unset(&'static str),
    /// This text, read like any other.
    Text(&'static str),
    /// A text that depends on the machine or on other settings; the description says on what.
    Computed(&'static str, fn(&Source) -> String),
}

impl fmt::Display for Fallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fallback::Unset(description)
            | Fallback::Text(description)
            | Fallback::Computed(description, _) => f.write_str(description),
        }
    }
}

impl About {
    /// `LARDER_HTTP_ADDR` as a flag: `http-addr`. Secrets have none.
    pub fn flag(&self) -> Option<String> {
        let name = self.name.trim_start_matches("LARDER_");
        (self.exposure == Exposure::Plain).then(|| name.to_lowercase().replace('_', "-"))
    }

    /// A value of this setting as anybody may read it.
    pub(super) fn shown(&self, value: &str) -> String {
        match self.exposure {
            Exposure::Plain => value.to_owned(),
            Exposure::Secret => "(secret)".to_owned(),
            Exposure::SecretUrl => without_password(value),
        }
    }
}

/// Scheme, user, host, port and path of a URL; a text that is none is hidden as a whole. SQLite's are file names.
pub(super) fn without_password(value: &str) -> String {
    if value.starts_with("sqlite:") {
        return value.to_owned();
    }
    let Ok(mut url) = crate::http::outbound::Url::parse(value) else {
        return "(secret)".to_owned();
    };
    let hidden = url.password().is_some() && url.set_password(Some("secret")).is_err();
    if hidden {
        return "(secret)".to_owned();
    }
    url.set_query(None);
    url.to_string()
}

/// A setting without its type, for what treats all alike.
pub trait AnySetting: Sync {
    fn about(&self) -> &About;
    /// What is wrong with a text, if anything.
    fn check(&self, text: &str) -> Result<(), String>;
}

impl<T> AnySetting for Setting<T> {
    fn about(&self) -> &About {
        &self.about
    }

    fn check(&self, text: &str) -> Result<(), String> {
        (self.parse)(text).map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_its_password() {
        let shown = without_password("postgres://larder:geheim@db:5432/larder?sslpassword=geheim");
        assert_eq!(shown, "postgres://larder:secret@db:5432/larder");
        assert_eq!(without_password("geheim"), "(secret)");
        assert_eq!(without_password("sqlite:a/b.db"), "sqlite:a/b.db");
    }
}
