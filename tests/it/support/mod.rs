//! What several subjects need: databases, and a control plane with one node on top of them.

pub mod db;
pub mod world;
