//! Rank 3: one folder per marketplace. A provider's field names appear only in its `wire.rs`.

pub mod heroku;
pub mod outbound;
