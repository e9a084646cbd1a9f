//! Rank 3: pages, forms and their routes. It knows no marketplace: whoever signs people on does so in its own routes,
//! which this room mounts, and hands them over by [`Web::enter`].
//!
//! ```text
//!  request ─▶ layers (headers, id and log, fault pages, time limit, panic, size limit)
//!          ─▶ router (every route on one page) ─▶ guard (Owner, Signed) ─▶ handler ─▶ Access
//!                                                                            │
//!                                                          templates ◀── panels
//! ```
//!
//! - A handler cannot reach a cache without an [`Owner`](crate::access::Owner), and a handler that changes
//!   something takes [`guard::Signed`], which also checks where the form came from.
//! - Handlers return [`error::PageError`]; the one page for it is made in [`layers`], so that all faults of a kind
//!   look the same to the byte.
//! - Templates see texts, numbers and choices already made. Each of [`dashboard::panels`] makes its own from domain
//!   types.
//! - No secret is ever in a page before its owner asked for it with a form, nor in any address but the
//!   long-lived one that the owner keeps.

pub mod assets;
mod cookies;
pub mod dashboard;
mod enter;
pub mod error;
mod flash;
mod form;
pub mod guard;
pub mod health;
pub mod home;
pub mod layers;
pub mod router;
pub mod settings;
pub mod signin;

#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use crate::access::{RefusedCall, RefusedCalls};
pub use enter::{SignOn, Visitor};
pub use router::app;
pub use settings::{BadPublicUrl, Console, MarketplaceFace, PublicUrl, WebSettings};

use tokio_util::sync::CancellationToken;

use crate::access::Access;
use crate::domain::{Clock, Plans};
use crate::provisioning::Provisioning;
use crate::store::Store;

/// What the handlers share. Cheap to clone.
#[derive(Clone)]
pub struct Web {
    pub access: Access,
    pub provisioning: Provisioning,
    pub store: Store,
    pub plans: Arc<Plans>,
    pub clock: Arc<dyn Clock>,
    /// Cancelled when the process was told to stop, some time before it takes no more requests.
    pub stopping: CancellationToken,
    pub outage_lines: health::OutageLines,
    pub settings: Arc<WebSettings>,
}
