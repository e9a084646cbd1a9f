//! Rank 5: a local marketplace to develop and demonstrate against, and to write scenario tests with.
//!
//! It plays a Heroku-like platform over HTTP only, with the real wire contract in both directions:
//!
//! ```text
//!  you, a browser ──▶ console ─┐                                ┌─▶ heroku/{calls,resources}   provision, change plan, remove ──▶ provider
//!  scenario test  ──▶ control ─┴─▶ platform/{hub,market} ◀──────┤
//!                                                               └── heroku/{oauth,platform_api,logplex} ◀── tokens, config, log lines ── provider
//! ```
//!
//! | folder or file | holds |
//! |---|---|
//! | `platform/` | apps, add-ons, releases, logs and tokens with their rules; knows no wire contract |
//! | `heroku/` | the wire contract |
//! | `console/` | pages for people |
//! | `control` | what tests and `larder dev` call |
//! | `running` | start and stop |
//!
//! It knows no other room but a few helpers of the domain and of HTTP: what it checks, it checks from the outside.

mod console;
mod control;
mod heroku;
mod platform;
mod running;
#[cfg(test)]
mod tests;

pub use control::NotInTime;
pub use heroku::calls::{ProviderError, ProviderReply};
pub use heroku::logplex::{BadFrames, Frame, parse_frames};
pub use heroku::resources::ProvisionOptions;
pub use platform::faults::{CallFaults, EndpointGroup, Fault, Faults};
pub use platform::ids::{AddonId, AppId};
pub use platform::log_line::LogLine;
pub use platform::market::{Addon, AddonState, App, Attachment, Market, ProcessState, Release};
pub use platform::persist::StateFileError;
pub use platform::recorder::{Direction, RecordedRequest, Requests};
pub use platform::refusal::NotPossible;
pub use platform::settings::{Manifest, ManifestApi, SandboxSettings};
pub use platform::user::User;
pub use running::{Sandbox, SandboxError};
