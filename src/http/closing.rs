//! Why the server closes a connection whose client did not ask for it: counted, so that an operator sees who holds
//! connections open, and whether there are enough of them.

/// A reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closing {
    /// The head of a request did not come in time.
    SlowHead,
    /// No request came for a long time.
    Idle,
    /// There were more connections than there may be, of one address or in all.
    TooMany,
    /// The process had no descriptor left for a new one.
    NoDescriptor,
}

impl Closing {
    /// A value of the label `reason`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Closing::SlowHead => "slow_head",
            Closing::Idle => "idle",
            Closing::TooMany => "too_many",
            Closing::NoDescriptor => "no_descriptor",
        }
    }

    pub fn count(self) {
        metrics::counter!("larder_http_connections_closed_total", "reason" => self.as_str())
            .increment(1);
    }
}
