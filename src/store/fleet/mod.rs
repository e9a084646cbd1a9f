//! Nodes, what they must know, and what they say of their caches.

pub mod absence;
pub mod changes;
pub mod figures;
pub mod link_keys;
pub mod nodes;
pub mod placements;
