//! Bad weather, on demand: what goes wrong with which calls. The switches are pure; [`weather`] applies them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::hub::Hub;
use super::platform::ApiError;
use super::recorder::Direction;

/// Endpoints of the sandbox that fail together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EndpointGroup {
    /// `/addons/{id}/config`
    Config,
    /// `/oauth/token`
    Token,
    /// `/logs`
    Logs,
    /// `/addons/{id}/webhooks`
    Webhooks,
    /// `/addons/{id}/actions/…`
    Actions,
    /// The rest of the platform API.
    Api,
}

impl EndpointGroup {
    pub const ALL: [EndpointGroup; 6] = [
        EndpointGroup::Config,
        EndpointGroup::Token,
        EndpointGroup::Logs,
        EndpointGroup::Webhooks,
        EndpointGroup::Actions,
        EndpointGroup::Api,
    ];
}

/// What happens to a call of the provider to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Answered properly, this much later.
    Slow(Duration),
    /// 500, nothing done.
    ServerError,
    /// 429 with `Retry-After`, nothing done.
    TooManyRequests { retry_after_secs: u32 },
    /// Nothing done, and no answer for as long as the caller waits.
    Hang,
    /// Done, but the connection closes without an answer.
    LostReply,
    /// 401, nothing done: a dead log input, or a revoked token.
    Unauthorized,
    /// 403, nothing done: the provider lacks the permission.
    Forbidden,
}

impl Fault {
    pub fn name(self) -> &'static str {
        match self {
            Fault::Slow(_) => "slow",
            Fault::ServerError => "500",
            Fault::TooManyRequests { .. } => "429",
            Fault::Hang => "hang",
            Fault::LostReply => "lost reply",
            Fault::Unauthorized => "401",
            Fault::Forbidden => "403",
        }
    }
}

/// What happens to calls of the marketplace to the provider. Several may be on at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallFaults {
    /// Sent this much later.
    pub slow: Option<Duration>,
    /// Sent and processed, but the answer is thrown away.
    pub lose_reply: bool,
    /// Sent twice at the same time; the first answer counts.
    pub duplicate: bool,
    /// Held back until the next call has been answered, for 3 seconds at most.
    pub reorder: bool,
}

/// All switches.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    standing: BTreeMap<EndpointGroup, Fault>,
    queued: BTreeMap<EndpointGroup, VecDeque<Option<Fault>>>,
    /// For calls to the provider.
    pub calls: CallFaults,
}

impl Faults {
    /// Stands until set otherwise.
    pub fn set(&mut self, group: EndpointGroup, fault: Option<Fault>) {
        match fault {
            Some(fault) => self.standing.insert(group, fault),
            None => self.standing.remove(&group),
        };
    }

    /// One entry for each of the next calls, before what stands; `None` lets one pass.
    pub fn queue(&mut self, group: EndpointGroup, faults: impl IntoIterator<Item = Option<Fault>>) {
        self.queued.entry(group).or_default().extend(faults);
    }

    pub fn standing(&self, group: EndpointGroup) -> Option<Fault> {
        self.standing.get(&group).copied()
    }

    /// How many queued entries were not met yet.
    pub fn queued(&self, group: EndpointGroup) -> usize {
        self.queued.get(&group).map_or(0, VecDeque::len)
    }

    /// Whether anything at all is switched on.
    pub fn any(&self) -> bool {
        let queued = EndpointGroup::ALL
            .iter()
            .any(|group| self.queued(*group) > 0);
        queued || !self.standing.is_empty() || self.calls != CallFaults::default()
    }

    fn take(&mut self, group: EndpointGroup) -> Option<Fault> {
        let queued = self.queued.get_mut(&group).and_then(VecDeque::pop_front);
        queued.unwrap_or_else(|| self.standing(group))
    }
}

/// Marks an answer that must not be sent; the server closes the connection instead.
#[derive(Clone, Copy)]
pub(super) struct DropReply;

/// Middleware of one endpoint group: applies its fault, and records the call.
pub(super) async fn weather(
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
        response.extensions_mut().insert(DropReply);
    } else {
        record(Some(response.status().as_u16()));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queued_faults_come_first_and_one_by_one() {
        let mut faults = Faults::default();
        let group = EndpointGroup::Config;
        assert!(!faults.any());
        faults.set(group, Some(Fault::Hang));
        faults.queue(group, [Some(Fault::ServerError), None]);
        assert_eq!(faults.take(group), Some(Fault::ServerError));
        assert_eq!(faults.take(group), None);
        assert_eq!(faults.take(group), Some(Fault::Hang));
        assert_eq!(faults.take(EndpointGroup::Logs), None);
        faults.set(group, None);
        assert!(!faults.any());
    }
}
