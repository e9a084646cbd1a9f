//! Nodes and what they must know.

pub mod absence;
pub mod changes;
pub mod nodes;
pub mod placements;
