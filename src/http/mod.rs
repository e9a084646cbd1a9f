//! Rank 1: what every HTTP side of the program shares.
//!
//! | file | holds |
//! |---|---|
//! | [`server`] | the accept loop of every listener: service, metrics, node link, sandbox |
//! | [`tls`] | the certificate of a listener |
//! | `closing` | why a connection is closed that did not ask for it |
//! | `connections` | how many connections a listener has, and which one makes room |
//! | `framing`, `raw_heads` | requests that another reader may take for others are refused |
//! | `refusal` | why a request is refused before a route sees it |
//! | `watched_stream` | shows a connection's bytes to `raw_heads` and `head_timeout` before hyper |
//! | `watched_body` | tells `connections` when a request's body has come |
//! | `head_timeout` | how long a client may take for the head of a request |
//! | `body_drain` | an answer arrives though the request's body was not read |
//! | `call_error` | why a call did not work, and whether to repeat it |
//! | [`forwarded`] | who a request is from, where proxies of ours stand before us |
//! | [`outbound`] | the one client for calls to the outside |
//! | `public_only` | its address guard: names lead to public addresses, or nowhere |
//! | [`internal`] | the client for addresses that the operator named |
//! | [`wiped`] | bodies with secrets are wiped when they were sent |
//!
//! It knows no route, page or marketplace.

mod body_drain;
mod call_error;
mod closing;
mod connections;
pub mod forwarded;
mod framing;
mod head_timeout;
pub mod internal;
pub mod outbound;
mod public_only;
mod raw_heads;
mod refusal;
pub mod server;
pub mod tls;
mod watched_body;
mod watched_stream;
pub mod wiped;

pub use call_error::{CallError, CallErrorKind};

#[cfg(test)]
mod tests;
