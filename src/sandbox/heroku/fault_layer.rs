//! Applies the faults that are switched on to the provider's calls, and records each call.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::http::server::LoseAnswer;
use crate::sandbox::heroku::api_error::ApiError;
use crate::sandbox::platform::faults::{EndpointGroup, Fault};
use crate::sandbox::platform::hub::Hub;
use crate::sandbox::platform::recorder::Direction;

/// Middleware of one endpoint group: applies its fault, and records the call.
pub(in crate::sandbox) async fn apply_faults(
    State((hub, group)): State<(Arc<Hub>, EndpointGroup)>,
    request: Request,
    next: Next,
) -> Response {
    let method = request.method().to_string();
    let path = request.uri().path().to_owned();
    let fault = hub.change_quietly(|market| market.faults.take(group));
    let record = |status: Option<u16>| {
        let direction = Direction::FromProvider;
        hub.record(direction, &method, &path, status, fault.map(Fault::name));
    };
    let refuse = |status: StatusCode, id: &'static str| {
        ApiError::new(status, id, "a fault is switched on in the sandbox").into_response()
    };
    let mut response = match fault {
        None => next.run(request).await,
        Some(Fault::Slow(delay)) => {
            tokio::time::sleep(delay).await;
            next.run(request).await
        }
        Some(Fault::ServerError) => refuse(StatusCode::INTERNAL_SERVER_ERROR, "internal_error"),
        Some(Fault::Unauthorized) => refuse(StatusCode::UNAUTHORIZED, "unauthorized"),
        Some(Fault::Forbidden) => refuse(StatusCode::FORBIDDEN, "forbidden"),
        Some(Fault::TooManyRequests { retry_after_secs }) => {
            let mut response = refuse(StatusCode::TOO_MANY_REQUESTS, "rate_limit");
            let wait = HeaderValue::from(retry_after_secs);
            response.headers_mut().insert(RETRY_AFTER, wait);
            response
        }
        Some(Fault::Hang) => {
            record(None);
            std::future::pending().await
        }
        Some(Fault::LostReply) => next.run(request).await,
    };
    if fault == Some(Fault::LostReply) {
        record(None);
        response.extensions_mut().insert(LoseAnswer);
    } else {
        record(Some(response.status().as_u16()));
    }
    response
}
