//! News from Heroku: `POST /heroku/webhooks`. Source: heroku.md §13.
//!
//! The signature is checked over the bytes as they came, before anything of them is read. What has changed is not
//! taken from the message: it only asks for a look, so order and repetition do not matter, and the answer waits for
//! one small transaction.

use aws_lc_rs::hmac;
use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretString};

use super::routes::{BODY_BYTES_MAX, HerokuRoutes, Refusal, not_a_method, read};
use super::wire::WebhookBody;
use crate::domain::Marketplace;

const SIGNATURE: &str = "heroku-webhook-hmac-sha256";
/// An id is a uuid; whatever is longer is not one.
const EVENT_CHARS_MAX: usize = 128;

/// The one route.
pub(super) fn router(routes: HerokuRoutes) -> Router {
    Router::new()
        .route("/heroku/webhooks", post(hear).fallback(not_a_method))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(routes)
}

async fn hear(
    State(routes): State<HerokuRoutes>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<StatusCode, Refusal> {
    const NOT_SIGNED: Refusal = Refusal(StatusCode::UNAUTHORIZED, "Not authorised.");
    let webhooks = routes.settings.webhooks.as_ref().ok_or(NOT_SIGNED)?;
    if let Ok(bytes) = &body
        && !is_signed(&headers, bytes, &webhooks.secret)
    {
        return Err(NOT_SIGNED);
    }
    let news: WebhookBody = read(body)?;
    let (Some(event), Some(resource)) = (news.event(), news.addon()) else {
        // Signed, so it is Heroku's: news of something that we did not ask for.
        return Ok(StatusCode::NO_CONTENT);
    };
    let id = routes.external_id(resource);
    let (Some(id), true) = (id, event.len() <= EVENT_CHARS_MAX) else {
        return Ok(StatusCode::NO_CONTENT);
    };
    let looked = routes
        .provisioning
        .hear(Marketplace::Heroku, &id, event)
        .await?;
    metrics::counter!("larder_news_total", "led_to" => if looked { "look" } else { "nothing" })
        .increment(1);
    Ok(StatusCode::NO_CONTENT)
}

/// Whether the one signature is the base64 of HMAC-SHA-256 over the body; compared in constant time.
fn is_signed(headers: &HeaderMap, body: &[u8], secret: &SecretString) -> bool {
    let mut given = headers.get_all(SIGNATURE).iter();
    let (Some(value), None) = (given.next(), given.next()) else {
        return false;
    };
    let Ok(tag) = STANDARD.decode(value.as_bytes()) else {
        return false;
    };
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose_secret().as_bytes());
    hmac::verify(&key, body, &tag).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn signed(values: &[&str]) -> bool {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(SIGNATURE, HeaderValue::from_str(value).unwrap());
        }
        let secret = "webhook-secret".to_owned().into();
        is_signed(&headers, br#"{"id":"evt-1"}"#, &secret)
    }

    #[test]
    fn only_the_worked_signature_passes() {
        const WORKED: &str = "h1p5BzQVVEITN5oGaZMFeu4SSEqrGmfS7yzqQMot0Oc=";
        assert!(signed(&[WORKED]));
        assert!(!signed(&[]));
        assert!(!signed(&[WORKED, WORKED]));
        assert!(!signed(&[""]));
        assert!(!signed(&["not base64!"]));
        assert!(!signed(&[&WORKED.replace("h1p5", "h1p6")]));
        assert!(!signed(&[&STANDARD.encode([0; 31])]));
    }
}
