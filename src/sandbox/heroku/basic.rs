//! HTTP Basic and Bearer, as the far side of what the provider sends.

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// User and password of a Basic `Authorization`.
pub(in crate::sandbox) fn basic_credentials(headers: &HeaderMap) -> Option<(String, String)> {
    let encoded = scheme(headers, "Basic")?;
    let decoded = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
    let (user, password) = decoded.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

/// The token of a Bearer `Authorization`.
pub(in crate::sandbox) fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    scheme(headers, "Bearer")
}

fn scheme<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, rest) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case(name).then_some(rest.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worked_header_of_the_reference_is_read() {
        let mut headers = HeaderMap::new();
        let value = "Basic dG9rZW46dC4wMTIzNDU2Ny04OWFiLWNkZWYtMDEyMy00NTY3ODlhYmNkZWY=";
        headers.insert(AUTHORIZATION, value.parse().unwrap());
        let expected = "t.01234567-89ab-cdef-0123-456789abcdef";
        assert_eq!(
            basic_credentials(&headers),
            Some(("token".to_owned(), expected.to_owned()))
        );
        assert_eq!(bearer_token(&headers), None);
    }
}
