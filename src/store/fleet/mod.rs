//! Nodes and what they must know.

pub mod absence;
pub mod changes;
pub mod link_keys;
pub mod nodes;
pub mod placements;
