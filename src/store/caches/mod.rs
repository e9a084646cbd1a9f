//! A cache and what belongs to it: resource, credentials, attachments, history.

pub mod attachments;
pub mod certificates;
pub mod credentials;
pub mod events;
pub mod flushes;
pub mod last_used;
pub mod resources;
pub mod rotations;
pub mod scope;
