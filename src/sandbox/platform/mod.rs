//! The platform behind the marketplace: apps, add-ons, releases, logs and tokens, whatever the wire contract is.
//!
//! | file | holds |
//! |---|---|
//! | `settings` | what the sandbox must be told; the manifest |
//! | `ids`, `user`, `log_line`, `webhook`, `market`, `refusal` | plain data |
//! | `lifecycle`, `releases`, `app_log`, `names`, `grants`, `webhook_queue`, `faults`, `change` | its rules, pure |
//! | `hub` | the market under its lock, the clock, and a wake-up for each change |
//! | `recorder` | calls that were made and answered |
//! | `persist` | the state file |
//! | `process`, `process_group` | real processes for apps, restarted on each release |

pub(in crate::sandbox) mod app_log;
pub(in crate::sandbox) mod change;
pub(in crate::sandbox) mod faults;
pub(in crate::sandbox) mod grants;
pub(in crate::sandbox) mod hub;
pub(in crate::sandbox) mod ids;
pub(in crate::sandbox) mod lifecycle;
pub(in crate::sandbox) mod log_line;
pub(in crate::sandbox) mod market;
pub(in crate::sandbox) mod names;
pub(in crate::sandbox) mod persist;
pub(in crate::sandbox) mod process;
pub(in crate::sandbox) mod process_group;
pub(in crate::sandbox) mod recorder;
pub(in crate::sandbox) mod refusal;
pub(in crate::sandbox) mod releases;
pub(in crate::sandbox) mod settings;
pub(in crate::sandbox) mod user;
pub(in crate::sandbox) mod webhook;
pub(in crate::sandbox) mod webhook_queue;
