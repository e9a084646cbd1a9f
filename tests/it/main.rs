//! The integration tests: one binary, one file per subject.

mod clients;
mod conversations;
mod engine_differential;
mod engine_script;
mod engine_serving;
mod engine_stage;
mod layering;
