//! The link between machines: calls over HTTP with JSON bodies.
//!
//! | file | side | holds |
//! |---|---|---|
//! | [`client`] | node | the calls, the choice of the control process, the node's token |
//! | [`server`] | control | the routes, and who may call them |
//!
//! All calls are `POST`. A machine joins with the token of enrolment, which all nodes share. It is given a token of its
//! own, which ends within the hour and is good for that node alone. Bodies are messages of [`wire`](super::wire). An
//! answer other than 200 says why, in the member `error`:
//!
//! | status | means | the node |
//! |---|---|---|
//! | 401, 403 | no good token; the token of another node | gets another token, tries again |
//! | 400, 409, 413 | the same call will never work | gives this call up |
//! | 410 | the node was retired, or another process runs it | ends, and its supervisor starts it as a new node |
//! | 503 and any other | this process cannot answer | calls another control process, tries again |

pub mod client;
pub mod server;

pub use client::{HttpLink, HttpLinkError, HttpLinkSettings};
pub use server::{EnrolmentTokens, OnRefused, routes};

use std::fmt::Display;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::wire::VERSION;

const JOIN: &str = "/link/v1/join";
// The names of a node's own calls.
const CHANGES: &str = "changes";
const REPORT: &str = "report";
const TOKEN: &str = "token";

/// The longest wait for something to tell.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// Of a report's body. A node reports at most 500 events at once, and the latest login of each credential.
const REPORT_BYTES_MAX: usize = 4 << 20;
/// Of every other call's body.
const BODY_BYTES_MAX: usize = 16 << 10;
/// Of one part of a list of changes, which has about a thousand caches.
const PART_BYTES_MAX: usize = 64 << 20;
/// Of every other answer.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// The path of a node's own call. It has the version of the messages, so that a node which joined another release keeps what
/// it has to tell and serves on. A join has the version in its message, and is answered why it is refused.
fn path_of_node(node: impl Display, call: &str) -> String {
    format!("/link/v{VERSION}/nodes/{node}/{call}")
}

/// Why a call was not carried out. Never holds a token.
#[derive(Debug, Serialize, Deserialize)]
struct ErrorBody {
    error: String,
}

/// The answer to a report.
#[derive(Debug, Serialize, Deserialize)]
struct ReportStored {}

#[cfg(test)]
mod tests;
