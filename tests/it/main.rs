//! All integration tests, linked once.
mod conversations;
mod engine_capabilities;
mod engine_connections;
mod engine_differential;
mod engine_oracle;
mod engine_script;
mod engine_serving;
mod engine_stage;
mod engine_telling;
mod engine_tls;
