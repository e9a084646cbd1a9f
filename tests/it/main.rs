//! The integration tests: one binary, one file per subject.

mod clients;
mod engine_serving;
mod engine_stage;
mod layering;
