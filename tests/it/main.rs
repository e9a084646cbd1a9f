//! All integration tests, linked once.
mod engine_serving;
mod engine_stage;
