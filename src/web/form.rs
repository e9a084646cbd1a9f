//! The anti-forgery part of every form, and the check of where it came from.

use axum::http::HeaderMap;
use axum::http::header::ORIGIN;
use secrecy::SecretString;
use serde::Deserialize;

use super::settings::PublicUrl;

/// A posted form: the token of the login that was shown the page, and the form's own fields.
#[derive(Deserialize)]
pub struct Envelope<F> {
    pub csrf: SecretString,
    #[serde(flatten)]
    pub fields: F,
}

/// A form that is only a button.
#[derive(Debug, Deserialize)]
pub struct NoFields {}

/// Whether a request that changes something comes from a page of ours (security.md SD-13).
///
/// Browsers say where a form comes from, and pages cannot forge it: `Sec-Fetch-Site` must be `same-origin` and
/// `Origin` must be ours, each where it is sent. A client that sends neither is not a browser with somebody's
/// cookies in it; it still needs the session's token.
pub fn comes_from_us(headers: &HeaderMap, public_url: &PublicUrl) -> bool {
    let all_are = |name, expected: &str| {
        headers
            .get_all(name)
            .iter()
            .all(|value| value.as_bytes() == expected.as_bytes())
    };
    all_are("sec-fetch-site", "same-origin") && all_are(ORIGIN.as_str(), public_url.origin())
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    fn check(headers: &[(&'static str, &'static str)]) -> bool {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        comes_from_us(&map, &"https://cache.example.com".parse().unwrap())
    }

    #[test]
    fn our_own_pages_pass() {
        assert!(check(&[
            ("origin", "https://cache.example.com"),
            ("sec-fetch-site", "same-origin")
        ]));
        assert!(check(&[("origin", "https://cache.example.com")]));
        assert!(check(&[]));
    }

    #[test]
    fn everybody_else_is_refused() {
        for (name, value) in [
            ("origin", "https://evil.example"),
            ("origin", "http://cache.example.com"),
            ("origin", "https://cache.example.com.evil.example"),
            ("origin", "null"),
            ("origin", ""),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
            ("sec-fetch-site", "none"),
        ] {
            assert!(!check(&[(name, value)]), "{name}: {value}");
        }
        let one_of_two_is_foreign = [
            ("origin", "https://cache.example.com"),
            ("origin", "https://evil.example"),
        ];
        assert!(!check(&one_of_two_is_foreign));
    }
}
