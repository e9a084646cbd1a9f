//! Promises to the outside, and what they are about.

pub mod async_provisions;
pub mod claims;
pub mod config_sync;
pub mod deliveries;
pub mod early_deprovisions;
pub mod grants;
pub mod inventories;
pub mod old_tokens;
pub mod promised;
pub mod reconciles;
pub mod workers;
