//! The integration tests: one binary, one file per subject.

mod access;
mod engine_serving;
mod engine_stage;
mod layering;
mod node_link;
mod provisioning;
mod store_battery;
mod support;
