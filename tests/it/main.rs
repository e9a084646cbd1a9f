//! The integration tests: one binary, one file per subject.

mod layering;
mod provisioning;
mod support;
