//! What concerns the service as a whole: sessions, audit, housekeeping, and what is done over all tables.

pub mod audit;
mod clock_jump;
pub mod newest;
pub mod overview;
mod resource_end;
pub mod sessions;
pub mod tables;
pub mod tidy;
