//! All integration tests, linked once.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "helpers of tests may stop at the first surprise, as tests may"
)]

mod conversations;
mod engine_capabilities;
mod engine_connections;
mod engine_differential;
mod engine_memcapable;
mod engine_oracle;
mod engine_script;
mod engine_serving;
mod engine_stage;
mod engine_telling;
mod engine_tls;
