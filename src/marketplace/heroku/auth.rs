//! Who calls: Basic authentication of inbound requests, before anything else of them is looked at.

use axum::http::{HeaderMap, header::AUTHORIZATION};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretString};

use crate::domain::Timestamp;
use crate::domain::secret::same_secret;

/// Of the current secret and the previous ones those that are good at `now`.
pub(super) fn good_at(
    secrets: &[SecretString],
    previous_until: Option<Timestamp>,
    now: Timestamp,
) -> &[SecretString] {
    match previous_until {
        Some(end) if now >= end => secrets.get(..1).unwrap_or_default(),
        _ => secrets,
    }
}

/// Whether the one `Authorization` header holds our id and one of our passwords. Both are always compared, with
/// every password, so that the time tells nothing.
pub fn is_heroku(headers: &HeaderMap, id: &str, passwords: &[SecretString]) -> bool {
    let mut given = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (given.next(), given.next()) else {
        return false;
    };
    let Some((user, password)) = value.to_str().ok().and_then(decode) else {
        return false;
    };
    let user_fits = same_secret(user.as_bytes(), id.as_bytes());
    let fits =
        |known: &SecretString| same_secret(password.as_bytes(), known.expose_secret().as_bytes());
    let password_fits = passwords.iter().fold(false, |any, known| fits(known) | any);
    user_fits & password_fits
}

/// User and password of a `Basic` value: one blank, padded base64, UTF-8, a colon.
fn decode(value: &str) -> Option<(String, String)> {
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    const WORKED: &str = "Basic YWRkb24tc2x1ZzpzdXBlci1zZWNyZXQ=";

    fn asks(values: &[&[u8]]) -> bool {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_bytes(value).unwrap());
        }
        let passwords = ["super-secret", "older-secret"].map(|text| text.to_owned().into());
        is_heroku(&headers, "addon-slug", &passwords)
    }

    fn basic(text: &str) -> String {
        format!("Basic {}", STANDARD.encode(text))
    }

    #[test]
    fn the_worked_value_and_the_previous_password_pass() {
        assert!(asks(&[WORKED.as_bytes()]));
        assert!(asks(&[basic("addon-slug:older-secret").as_bytes()]));
        assert!(asks(&[WORKED.replace("Basic", "basic").as_bytes()]));
    }

    #[test]
    fn malformed_and_wrong_headers_do_not_pass() {
        let long = format!("Basic {}", "A".repeat(1 << 20));
        let encoded = &WORKED["Basic ".len()..];
        let made: Vec<String> = [
            "addon-slug:wrong",
            "wrong:super-secret",
            "addon-slug:",
            ":super-secret",
            ":",
            "",
            "addon-slug",
            "addon-slugsuper-secret",
            "addon-slug:super-secret ",
            " addon-slug:super-secret",
            "Addon-Slug:super-secret",
            "addon-slug:SUPER-SECRET",
            "addon-slug:super-secret\0",
            "addon-slug\0:super-secret",
            "addon-slug:super-secret:",
            "addon-slug:super-secret\n",
            "super-secret:addon-slug",
        ]
        .iter()
        .map(|text| basic(text))
        .chain([
            encoded.to_owned(),
            format!("Basic{encoded}"),
            format!("Basic  {encoded}"),
            format!("Basic\t{encoded}"),
            format!("Basic {encoded} "),
            format!("Basic {encoded},"),
            format!("Basic {}", encoded.trim_end_matches('=')),
            format!("Basic {encoded}="),
            format!("Basic \"{encoded}\""),
            format!("Bearer {encoded}"),
            format!("Digest {encoded}"),
            format!("Basic {WORKED}"),
            "Basic".to_owned(),
            "Basic ".to_owned(),
            "Basic !!!!".to_owned(),
            "Basic addon-slug:super-secret".to_owned(),
            format!("Basic {}", STANDARD.encode([0xff, b':', 0xfe])),
            format!(
                "Basic {}",
                base64::engine::general_purpose::URL_SAFE.encode("addon-slug:\u{3e}\u{3f}~~")
            ),
            String::new(),
            long,
        ])
        .collect();
        assert!(made.len() > 30);
        for header in &made {
            assert!(!asks(&[header.as_bytes()]), "{:.60}", header);
        }
        assert!(!asks(&[]));
        assert!(!asks(&[WORKED.as_bytes(), WORKED.as_bytes()]));
        assert!(!asks(&[b"Basic \xff\xfe"]));
    }

    #[test]
    fn without_a_password_nobody_passes() {
        let mut headers = HeaderMap::new();
        headers.insert(
            AUTHORIZATION,
            HeaderValue::from_static("Basic YWRkb24tc2x1Zzo="),
        );
        assert!(!is_heroku(&headers, "addon-slug", &[]));
    }
}
