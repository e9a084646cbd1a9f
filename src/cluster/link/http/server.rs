//! The control plane's side: who may call, and what is answered. A token is checked before the body is read.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{
    ConnectInfo, DefaultBodyLimit, FromRequest, FromRequestParts, Path, Request, State,
};
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router, middleware};
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::DeserializeOwned;

use super::{
    BODY_BYTES_MAX, CHANGES, ErrorBody, JOIN, REPORT, REPORT_BYTES_MAX, ReportStored, TOKEN,
    WAIT_MAX, path_of_node,
};
use crate::cluster::control::Cluster;
use crate::cluster::link::LinkError;
use crate::cluster::link::wire::{
    Changes, ChangesQuery, Introduction, NodeToken, Report, TokenQuery, Welcome,
};
use crate::domain::NodeId;
use crate::domain::secret::same_secret;

/// A node has given a call up that takes longer.
const BODY_MAX: Duration = Duration::from_secs(15);

/// Called for each call without a good token, with the address that it came from. It logs and counts, with a bound.
pub type OnRefused = Arc<dyn Fn(Option<IpAddr>) + Send + Sync>;

/// The tokens of enrolment, each of which lets a machine join: the present one, and the one before while the operator
/// changes it on all machines.
#[derive(Clone, Debug)]
pub struct EnrolmentTokens(Arc<[SecretString]>);

impl EnrolmentTokens {
    pub fn new(tokens: Vec<SecretString>) -> EnrolmentTokens {
        EnrolmentTokens(tokens.into())
    }

    /// Compares with every token, so that the time does not tell which one it is.
    fn has(&self, shown: &str) -> bool {
        let is_shown =
            |token: &SecretString| same_secret(shown.as_bytes(), token.expose_secret().as_bytes());
        self.0
            .iter()
            .map(is_shown)
            .fold(false, |any, one| any | one)
    }
}

/// The routes of the node link.
pub fn routes(cluster: Cluster, enrolment: EnrolmentTokens, on_refused: OnRefused) -> Router {
    let link = LinkServer {
        cluster,
        enrolment,
        on_refused,
    };
    let of_report = DefaultBodyLimit::max(REPORT_BYTES_MAX);
    Router::new()
        .route(JOIN, post(join))
        .route(&path_of_node("{id}", CHANGES), post(changes))
        .route(&path_of_node("{id}", REPORT), post(report).layer(of_report))
        .route(&path_of_node("{id}", TOKEN), post(token))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::map_response(forbid_storing))
        .with_state(link)
}

/// Answers hold keys and tokens.
async fn forbid_storing(mut response: Response) -> Response {
    let no_store = HeaderValue::from_static("no-store");
    response.headers_mut().insert(CACHE_CONTROL, no_store);
    response
}

async fn join(
    State(link): State<LinkServer>,
    caller: Caller,
    request: Request,
) -> Result<Json<Welcome>, LinkRefusal> {
    if !link.may_enrol(&caller) {
        let why = "its enrolment token is missing or not a good one";
        let refusal = LinkRefusal::new(StatusCode::UNAUTHORIZED, why);
        return Err(link.noted(&caller, refusal));
    }
    let node: Introduction = read(request).await?;
    Ok(Json(link.cluster.admit(node).await?))
}

async fn changes(
    State(link): State<LinkServer>,
    Path(id): Path<String>,
    caller: Caller,
    request: Request,
) -> Result<Json<Changes>, LinkRefusal> {
    let node = link.node(&id, &caller).await?;
    let mut query: ChangesQuery = read(request).await?;
    let wait_max = u64::try_from(WAIT_MAX.as_millis()).unwrap_or(u64::MAX);
    query.wait_ms = query.wait_ms.min(wait_max);
    Ok(Json(link.cluster.changes_since(&node, query).await?))
}

async fn report(
    State(link): State<LinkServer>,
    Path(id): Path<String>,
    caller: Caller,
    request: Request,
) -> Result<Json<ReportStored>, LinkRefusal> {
    let node = link.node(&id, &caller).await?;
    let report: Report = read(request).await?;
    if report.unknown_events > 0 {
        tracing::warn!(
            %node, events = report.unknown_events,
            "a node's events that this release cannot read are left out; run the same larder on both"
        );
    }
    link.cluster.take_report(&node, &report).await?;
    Ok(Json(ReportStored {}))
}

/// With the token of enrolment a node gets a token again whose own has ended.
async fn token(
    State(link): State<LinkServer>,
    Path(id): Path<String>,
    caller: Caller,
    request: Request,
) -> Result<Json<NodeToken>, LinkRefusal> {
    let node = match link.may_enrol(&caller) {
        true => id.parse::<NodeId>().map_err(|_| {
            LinkRefusal::new(StatusCode::BAD_REQUEST, "the path does not name a node")
        })?,
        false => link.node(&id, &caller).await?,
    };
    let query: TokenQuery = read(request).await?;
    Ok(Json(link.cluster.renew_token(&node, &query.home).await?))
}

/// Reads a body. The reason of a failure does not quote it.
async fn read<T: DeserializeOwned>(request: Request) -> Result<T, LinkRefusal> {
    let body = tokio::time::timeout(BODY_MAX, Bytes::from_request(request, &())).await;
    let body = body.map_err(|_| {
        let why = "the body did not come in time";
        LinkRefusal::new(StatusCode::REQUEST_TIMEOUT, why)
    })?;
    let body =
        body.map_err(|rejection| LinkRefusal::new(rejection.status(), rejection.body_text()))?;
    serde_json::from_slice(&body).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let why = format!(
            "the body cannot be read at line {line}, column {column}: run the same larder on both"
        );
        LinkRefusal::new(StatusCode::BAD_REQUEST, why)
    })
}

/// What the routes share.
#[derive(Clone)]
struct LinkServer {
    cluster: Cluster,
    enrolment: EnrolmentTokens,
    on_refused: OnRefused,
}

impl LinkServer {
    fn may_enrol(&self, caller: &Caller) -> bool {
        caller
            .token()
            .is_some_and(|token| self.enrolment.has(token))
    }

    /// The node of this path, whose own token the caller must have shown.
    async fn node(&self, id: &str, caller: &Caller) -> Result<NodeId, LinkRefusal> {
        let shown = match caller.token() {
            Some(token) => self.cluster.node_of_token(token).await,
            None => Err(LinkError::NotAdmitted("it shows no token".to_owned())),
        };
        match shown {
            Ok(node) if node.as_str() == id => Ok(node),
            Ok(_) => {
                let why = "its token is that of another node";
                Err(self.noted(caller, LinkRefusal::new(StatusCode::FORBIDDEN, why)))
            }
            Err(error) => Err(self.noted(caller, error.into())),
        }
    }

    /// The refusal, which is told of if the token is the reason.
    fn noted(&self, caller: &Caller, refusal: LinkRefusal) -> LinkRefusal {
        if [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&refusal.status) {
            (self.on_refused)(caller.remote);
        }
        refusal
    }
}

/// What a call shows of who makes it.
struct Caller {
    token: Option<SecretString>,
    remote: Option<IpAddr>,
}

impl Caller {
    fn token(&self) -> Option<&str> {
        self.token.as_ref().map(|token| token.expose_secret())
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Caller, Infallible> {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        Ok(Caller {
            token: bearer(&parts.headers).map(SecretString::from),
            remote: peer.map(|ConnectInfo(peer)| peer.ip()),
        })
    }
}

/// The token that was shown. The scheme's name has no case (RFC 9110, 11.1).
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let shown = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = shown.split_once(' ')?;
    let is_bearer = scheme.eq_ignore_ascii_case("bearer");
    is_bearer.then(|| token.trim_start_matches(' '))
}

/// Why a call is not carried out.
#[derive(Debug)]
struct LinkRefusal {
    status: StatusCode,
    /// Never holds a token.
    why: String,
}

impl LinkRefusal {
    fn new(status: StatusCode, why: impl Into<String>) -> LinkRefusal {
        LinkRefusal {
            status,
            why: why.into(),
        }
    }
}

impl From<LinkError> for LinkRefusal {
    fn from(error: LinkError) -> LinkRefusal {
        match error {
            LinkError::Away(why) => LinkRefusal::new(StatusCode::SERVICE_UNAVAILABLE, why),
            LinkError::NotAdmitted(why) => LinkRefusal::new(StatusCode::UNAUTHORIZED, why),
            LinkError::Refused(why) => LinkRefusal::new(StatusCode::CONFLICT, why),
            LinkError::Gone(why) => LinkRefusal::new(StatusCode::GONE, why),
        }
    }
}

impl IntoResponse for LinkRefusal {
    fn into_response(self) -> Response {
        let body = Json(ErrorBody { error: self.why });
        match self.status {
            StatusCode::UNAUTHORIZED => {
                (self.status, [(WWW_AUTHENTICATE, "Bearer")], body).into_response()
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                (self.status, [(RETRY_AFTER, "1")], body).into_response()
            }
            status => (status, body).into_response(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(list: &[&str]) -> EnrolmentTokens {
        let list = list.iter().map(|token| SecretString::from(*token));
        EnrolmentTokens::new(list.collect())
    }

    #[test]
    fn both_tokens_of_enrolment_are_good_and_neither_is_shown() {
        let both = tokens(&["present", "previous"]);
        assert!(both.has("present") && both.has("previous"));
        for wrong in ["", "presen", "present ", "presentprevious"] {
            assert!(!both.has(wrong), "{wrong:?}");
        }
        assert!(!tokens(&[]).has(""));
        let shown = format!("{both:?}");
        assert!(!shown.contains("pre"), "{shown}");
    }

    #[test]
    fn a_token_stands_behind_its_scheme() {
        let shown = |text: &'static str| {
            let header = (AUTHORIZATION, HeaderValue::from_static(text));
            bearer(&HeaderMap::from_iter([header])).map(str::to_owned)
        };
        assert_eq!(shown("Bearer abc").as_deref(), Some("abc"));
        assert_eq!(shown("bEARER  abc").as_deref(), Some("abc"));
        for other in ["Basic abc", "abc", "Bearerabc", ""] {
            assert_eq!(shown(other), None, "{other:?}");
        }
        assert_eq!(bearer(&HeaderMap::new()), None);
    }

    #[test]
    fn each_reason_has_its_status() {
        let why = || "why".to_owned();
        for (error, status, header) in [
            (LinkError::Away(why()), 503, Some(RETRY_AFTER)),
            (LinkError::NotAdmitted(why()), 401, Some(WWW_AUTHENTICATE)),
            (LinkError::Refused(why()), 409, None),
            (LinkError::Gone(why()), 410, None),
        ] {
            let answer = LinkRefusal::from(error).into_response();
            assert_eq!(answer.status().as_u16(), status);
            assert!(header.is_none_or(|name| answer.headers().contains_key(name)));
        }
    }
}
