//! Why a call to the outside did not work, and whether it is worth repeating.

use std::time::Duration;

/// Why a call did not work, and whether it may.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct CallError {
    pub kind: CallErrorKind,
    /// For the dashboard and the operator. Never holds a secret.
    pub message: String,
}

/// Who is at fault, and with that whether to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallErrorKind {
    /// Trouble on the way or over there; `after` is what the provider asked for.
    Retry { after: Option<Duration> },
    /// The token or the key in the URL is not accepted.
    Unauthorized,
    /// The provider does not know the resource.
    Gone,
    /// The same call will never work.
    Refused,
}

impl CallError {
    /// Control characters are left out of the message: it may quote the other side, and is stored and shown.
    pub fn new(kind: CallErrorKind, message: impl Into<String>) -> CallError {
        let mut message: String = message.into();
        message.retain(|c| !c.is_control());
        CallError { kind, message }
    }
}
