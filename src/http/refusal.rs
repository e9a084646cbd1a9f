//! Why a request is refused before a route sees it: with which status, and counted, as no route counts it.

use axum::http::StatusCode;

/// A reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// A proxy before us may have read it in another way.
    Ambiguous,
    /// Its body comes in a coding that we do not know.
    UnknownCoding,
    /// As many requests are under way as there may be.
    TooMany,
    /// hyper could not read its head, and has answered by itself.
    Unreadable,
    /// Its head or its address is longer than we take. hyper has answered by itself.
    TooLarge,
}

impl Refusal {
    /// Why hyper refused what came on a connection, if it did.
    pub fn by_hyper(error: &hyper::Error) -> Option<Refusal> {
        match (error.is_parse_too_large(), error.is_parse()) {
            (true, _) => Some(Refusal::TooLarge),
            // What begins as HTTP/2 gets no answer.
            (false, true) if !error.is_parse_version_h2() => Some(Refusal::Unreadable),
            _ => None,
        }
    }

    /// What the caller is answered.
    pub const fn status(self) -> StatusCode {
        match self {
            Refusal::Ambiguous | Refusal::Unreadable => StatusCode::BAD_REQUEST,
            Refusal::UnknownCoding => StatusCode::NOT_IMPLEMENTED,
            Refusal::TooMany => StatusCode::SERVICE_UNAVAILABLE,
            Refusal::TooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        }
    }

    /// A value of the label `reason`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Refusal::Ambiguous => "ambiguous",
            Refusal::UnknownCoding => "unknown_coding",
            Refusal::TooMany => "too_many",
            Refusal::Unreadable => "unreadable",
            Refusal::TooLarge => "too_large",
        }
    }

    pub fn count(self) {
        metrics::counter!("larder_http_requests_refused_total", "reason" => self.as_str())
            .increment(1);
    }
}
