//! The integration tests: one binary, one file per subject.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "tests may stop at the first surprise, in their helpers too"
)]

mod access;
mod access_rotation;
mod admin;
mod attachments;
mod bad_input;
mod browser;
mod certificates;
mod clients;
mod conversations;
mod database_away;
mod engine_capabilities;
mod engine_certificates;
mod engine_commands;
mod engine_connections;
mod engine_counters;
mod engine_crowds;
mod engine_differential;
mod engine_memcapable;
mod engine_million;
mod engine_model;
mod engine_oracle;
mod engine_panics;
mod engine_past_faults;
mod engine_recent_faults;
mod engine_script;
mod engine_serving;
mod engine_stage;
mod engine_telling;
mod engine_tls;
mod engine_words;
mod full_disk;
mod fuzz_corpus;
mod heroku_bodies;
mod heroku_client;
mod heroku_routes;
mod heroku_waits;
mod heroku_weather;
mod heroku_webhooks;
mod kill;
mod layering;
mod legacy;
mod lifecycle_model;
mod manifest;
mod node_link;
mod outbox_bed;
mod outbox_claims;
mod outbox_config;
mod outbox_grants;
mod outbox_lines;
mod outbox_looks;
mod outbox_patience;
mod outbox_setups;
mod provisioning;
mod provisioning_storm;
mod roles;
mod rotation;
mod scheduled_rotation;
mod secrets;
mod setups;
mod shutdown;
mod sign_ons;
mod store_battery;
mod store_certificates;
mod store_open;
mod store_uses;
mod support;
mod weather;
mod whole_node;
