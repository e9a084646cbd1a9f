//! A bounded record of what was called and answered, for assertions and for the console.

use std::collections::VecDeque;

use jiff::Timestamp;

/// Enough for any one test, and small enough to forget about.
const KEPT: usize = 5_000;

/// Who called whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The provider called the marketplace.
    FromProvider,
    /// The marketplace called the provider.
    ToProvider,
}

/// One call. Headers and bodies are left out: they hold secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedRequest {
    pub at: Timestamp,
    pub direction: Direction,
    pub method: String,
    pub path: String,
    /// `None` when the caller got no answer.
    pub status: Option<u16>,
    /// The fault that was switched on for it.
    pub fault: Option<&'static str>,
}

/// The record, oldest first.
#[derive(Clone, Default)]
pub struct Requests(VecDeque<RecordedRequest>);

impl Requests {
    pub(in crate::sandbox) fn push(&mut self, request: RecordedRequest) {
        self.0.push_back(request);
        if self.0.len() > KEPT {
            self.0.pop_front();
        }
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &RecordedRequest> {
        self.0.iter()
    }

    /// How many calls of `method` to a path that ends in `path_end` were answered with `status`.
    pub fn count(&self, method: &str, path_end: &str, status: u16) -> usize {
        let fits = |request: &&RecordedRequest| {
            request.method == method
                && request.path.ends_with(path_end)
                && request.status == Some(status)
        };
        self.iter().filter(fits).count()
    }
}
