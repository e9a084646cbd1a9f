//! All integration tests, linked once.
mod conversations;
mod engine_differential;
mod engine_script;
mod engine_serving;
mod engine_stage;
