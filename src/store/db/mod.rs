//! The database itself: opening, migrating, dialects, sealing.

pub(in crate::store) mod connect;
pub(in crate::store) mod dialect;
pub mod file_lock;
pub(in crate::store) mod json;
pub mod rekey;
pub(in crate::store) mod row;
pub mod seal;
pub(in crate::store) mod setup;
