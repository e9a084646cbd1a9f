//! Webhook events from Heroku: `POST /heroku/webhooks`. Source: heroku.md §13.
//!
//! The signature is checked over the bytes as they came, before anything of them is read. What has changed is not
//! taken from the message: it only requests a reconcile, so order and repetition do not matter, and the answer waits for
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

use super::answer::{BODY_BYTES_MAX, Refusal, not_a_method, read};
use super::settings::NAME;
use super::state::HerokuRoutes;
use super::wire::WebhookBody;
use crate::web::RefusedCall;
use crate::web::guard::Remote;

const SIGNATURE: &str = "heroku-webhook-hmac-sha256";

/// The one route.
pub(super) fn router(routes: HerokuRoutes) -> Router {
    Router::new()
        .route("/heroku/webhooks", post(on_event).fallback(not_a_method))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(routes)
}

async fn on_event(
    State(routes): State<HerokuRoutes>,
    Remote(remote): Remote,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<StatusCode, Refusal> {
    let not_signed = || {
        routes.note_refused(RefusedCall::Webhook, remote);
        Refusal::new(StatusCode::UNAUTHORIZED, "Not authorised.")
    };
    let webhooks = routes.settings.webhooks.as_ref();
    let webhooks = webhooks.ok_or_else(not_signed)?;
    if let Ok(bytes) = &body
        && !is_signed(&headers, bytes, &webhooks.secret)
    {
        return Err(not_signed());
    }
    let message: WebhookBody = read(body, &[])?;
    let resource = message.addon().and_then(|id| routes.external_id(id));
    let (Some(event), Some(id)) = (message.event(), resource) else {
        // Signed, so it is Heroku's: an event of something that we did not ask for.
        return Ok(StatusCode::NO_CONTENT);
    };
    let requested = routes.provisioning.on_event(NAME, &id, event).await?;
    metrics::counter!("larder_webhook_events_total", "led_to" => if requested { "reconcile" } else { "nothing" })
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
