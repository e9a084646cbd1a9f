//! Rank 3: pages, forms and the table of routes.
//!
//! ```text
//!  request ─▶ layers (headers, id and log, fault pages, time limit, panic, size limit)
//!          ─▶ router (every route on one page) ─▶ guard (Owner, Signed) ─▶ handler ─▶ Access
//!                                                                            │
//!                                          templates ◀── view structs ◀── present
//! ```
//!
//! - A handler cannot reach a cache without an [`Owner`](crate::access::Owner), and a handler that changes
//!   something takes [`guard::Signed`], which also checks where the form came from.
//! - Handlers return [`error::Fault`]; the one page for it is made in [`layers`], so that all faults of a kind
//!   look the same to the byte.
//! - Templates see plain view structs of texts and numbers. `dashboard::present` is the one place where domain
//!   types become views.
//! - No secret is ever in a page before its owner asked for it with a form, nor in any address but the
//!   long-lived one that the owner keeps.

pub mod assets;
mod cookies;
pub mod dashboard;
pub mod error;
mod form;
pub mod guard;
pub mod health;
pub mod layers;
mod notice;
mod pace;
pub mod router;
pub mod server;
pub mod settings;
pub mod signin;

#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use router::app;
pub use settings::{BadPublicUrl, PublicUrl, WebSettings};

use crate::access::Access;
use crate::domain::{Clock, Plans};
use crate::marketplace::heroku::sso::SsoSettings;
use crate::provisioning::Provisioning;
use crate::store::Store;

/// What the handlers share. Cheap to clone.
#[derive(Clone)]
pub struct Web {
    pub access: Access,
    pub provisioning: Provisioning,
    pub store: Store,
    pub plans: Arc<Plans>,
    /// What Heroku's signed sign-on forms are checked against.
    pub heroku_sso: SsoSettings,
    pub clock: Arc<dyn Clock>,
    pub settings: Arc<WebSettings>,
}
