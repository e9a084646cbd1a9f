//! What the web room needs to be told.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use axum::http::Uri;

use crate::access::AccessSettings;
use crate::domain::{ConfigVarNames, Marketplace};

/// Settings of the pages. `config` fills them in.
#[derive(Clone, Debug)]
pub struct WebSettings {
    pub public_url: PublicUrl,
    /// Off only where plain http is allowed (tests, `dev`): a Secure cookie would never come back there.
    pub secure_cookies: bool,
    /// The name over every page.
    pub product_name: String,
    pub variables: ConfigVarNames,
    /// How each marketplace appears to the owners of its caches.
    pub marketplaces: BTreeMap<Marketplace, MarketplaceFace>,
    /// Where the caches' servers take TLS, if they do.
    pub tls_port: Option<u16>,
    /// What clients must be told to trust there, where no authority that they know has signed: a path for the samples.
    pub tls_ca_file: Option<String>,
    /// Where customers open their dashboards.
    pub consoles: Vec<Console>,
    /// How many caches one browser may be signed in to; the oldest sign-in gives way.
    pub sessions_per_browser_max: usize,
    /// Length of the Events list.
    pub history_rows_max: u32,
    /// Largest request body on any route.
    pub body_bytes_max: usize,
    /// From the last header to the answer (security.md PA-8).
    pub request_timeout: Duration,
    /// How long a session lives without use, and in any case: for people to read.
    pub session_idle: Duration,
    pub session_age: Duration,
}

impl WebSettings {
    /// The defaults around what has none.
    pub fn new(
        public_url: PublicUrl,
        secure_cookies: bool,
        product_name: String,
        variables: ConfigVarNames,
    ) -> WebSettings {
        let access = AccessSettings::default();
        WebSettings {
            public_url,
            secure_cookies,
            product_name,
            variables,
            marketplaces: BTreeMap::new(),
            tls_port: None,
            tls_ca_file: None,
            consoles: Vec::new(),
            sessions_per_browser_max: 20,
            history_rows_max: 50,
            body_bytes_max: 64 * 1024,
            request_timeout: Duration::from_secs(20),
            session_idle: access.session_idle,
            session_age: access.session_age,
        }
    }

    /// A marketplace's name in sentences. One that is not registered any more goes by its own name.
    pub fn shown_as<'a>(&'a self, marketplace: &'a Marketplace) -> &'a str {
        match self.marketplaces.get(marketplace) {
            Some(face) => &face.shown_as,
            None => marketplace.as_str(),
        }
    }

    /// The config vars that an app of this marketplace reads.
    pub fn variables_of(&self, marketplace: Marketplace) -> &ConfigVarNames {
        let face = self.marketplaces.get(&marketplace);
        let own = face.and_then(|face| face.variables.as_ref());
        own.unwrap_or(&self.variables)
    }

    /// What a marketplace wants at the top of the pages of its caches.
    pub fn header(&self, marketplace: Marketplace) -> Option<&'static str> {
        self.marketplaces.get(&marketplace)?.header
    }
}

/// What pages show of a marketplace; this room knows no more of one.
#[derive(Clone, Debug)]
pub struct MarketplaceFace {
    /// Its name in sentences.
    pub shown_as: String,
    /// HTML that it wants at the top of the pages of its caches.
    pub header: Option<&'static str>,
    /// The config vars of its customers' apps, where they are not the product's.
    pub variables: Option<ConfigVarNames>,
}

/// A marketplace's pages for its customers.
#[derive(Clone, Debug)]
pub struct Console {
    /// The marketplace's name in sentences.
    pub name: String,
    pub url: String,
}

/// How the outside reaches us: scheme and host, without a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl {
    origin: String,
    https: bool,
}

/// Why a text is no public address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a public address: http or https, a host and nothing behind it are expected")]
pub struct BadPublicUrl;

impl PublicUrl {
    /// As browsers write it in `Origin`: lower case, without the scheme's own port.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    pub fn is_https(&self) -> bool {
        self.https
    }

    /// The full address of a path of ours.
    pub fn join(&self, path: &str) -> String {
        format!("{}{path}", self.origin)
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin)
    }
}

impl FromStr for PublicUrl {
    type Err = BadPublicUrl;

    fn from_str(text: &str) -> Result<PublicUrl, BadPublicUrl> {
        // A parsed `Uri` has lost its fragment.
        let uri: Uri = text.parse().map_err(|_| BadPublicUrl)?;
        let https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(BadPublicUrl),
        };
        let authority = uri.authority().ok_or(BadPublicUrl)?.as_str();
        let bare = matches!(uri.path(), "" | "/") && !text.contains(['?', '#']);
        if !bare || authority.contains('@') || uri.host().is_none_or(str::is_empty) {
            return Err(BadPublicUrl);
        }
        let own_port = if https { ":443" } else { ":80" };
        let host = authority.strip_suffix(own_port).unwrap_or(authority);
        let scheme = if https { "https" } else { "http" };
        Ok(PublicUrl {
            origin: format!("{scheme}://{}", host.to_ascii_lowercase()),
            https,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_written_as_browsers_do() {
        let origin = |text: &str| text.parse::<PublicUrl>().unwrap().origin().to_owned();
        assert_eq!(
            origin("https://Cache.Example.com/"),
            "https://cache.example.com"
        );
        assert_eq!(
            origin("https://cache.example.com:443"),
            "https://cache.example.com"
        );
        assert_eq!(origin("http://127.0.0.1:8080"), "http://127.0.0.1:8080");
    }

    #[test]
    fn other_addresses_are_refused() {
        for bad in [
            "",
            "cache.example.com",
            "ftp://x",
            "https://",
            "https://x/larder",
            "https://x/?q",
            "https://x/#f",
            "https://u:p@x",
        ] {
            assert_eq!(bad.parse::<PublicUrl>(), Err(BadPublicUrl), "{bad:?}");
        }
    }
}
