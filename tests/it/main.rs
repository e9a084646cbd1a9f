//! The integration tests: one binary, one file per subject.

mod heroku_client;
mod heroku_routes;
mod layering;
mod outbox_bed;
mod outbox_claims;
mod outbox_config;
mod outbox_grants;
mod outbox_lines;
mod provisioning;
mod support;
