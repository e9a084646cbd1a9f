//! The integration tests: one binary, one file per subject.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "tests may stop at the first surprise, in their helpers too"
)]
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::too_many_lines,
    reason = "a test waits in real time, and a scenario is one story"
)]

mod access;
mod access_rotation;
mod admin;
mod admin_after_leak;
mod admin_sign_out;
mod ambiguous_requests;
mod async_provision;
mod attachments;
mod audit_of_deeds;
mod bad_input;
mod binary_hardening;
mod browser;
mod certificate_dates;
mod certificates;
mod clients;
mod conversations;
mod dashboard_urls;
mod database_away;
mod descriptors;
mod dev_command;
mod dumps;
mod engine_capabilities;
mod engine_cas_values;
mod engine_certificates;
mod engine_command_rows;
mod engine_commands;
mod engine_connections;
mod engine_counters;
mod engine_delayed_flushes;
mod engine_differential;
mod engine_differing_counters;
mod engine_drawn_sequences;
mod engine_events;
mod engine_failed_stores;
mod engine_fixture;
mod engine_many_connections;
mod engine_memcached_bugs_since_2023;
mod engine_memcached_bugs_until_2021;
mod engine_memcapable;
mod engine_memory_bounds;
mod engine_million;
mod engine_model;
mod engine_model_dialects;
mod engine_oracle;
mod engine_panics;
mod engine_refused_certificates;
mod engine_refused_logins;
mod engine_relogin;
mod engine_script;
mod engine_serving;
mod engine_tls;
mod engine_tls_versions;
mod faults;
mod forwarded;
mod fronts;
mod full_disk;
mod fuzz_corpus;
mod heroku_bodies;
mod heroku_client;
mod heroku_faults;
mod heroku_guesses;
mod heroku_lists;
mod heroku_members;
mod heroku_odd_orders;
mod heroku_odd_replies;
mod heroku_routes;
mod heroku_waits;
mod heroku_webhooks;
mod http_open_files;
mod instants;
mod kill;
mod killed_cas_values;
mod killed_exchanges;
mod layering;
mod legacy;
mod lifecycle_model;
mod limit_edges;
mod limits;
mod limits_reached;
mod log;
mod manifest;
mod marketplaces_apart;
mod metrics;
mod new_marketplace;
mod newest_rows;
mod node_addresses;
mod node_away_told;
mod node_gone;
mod node_link;
mod node_reporting;
mod node_secrets;
mod outbound_calls;
mod outbox_abilities;
mod outbox_async_provision;
mod outbox_claims;
mod outbox_config;
mod outbox_config_dead;
mod outbox_fixture;
mod outbox_grants;
mod outbox_heartbeat;
mod outbox_line_sums;
mod outbox_log_inputs;
mod outbox_log_lines;
mod outbox_lost_leases;
mod outbox_lost_lines;
mod outbox_patience;
mod outbox_reconcile;
mod outbox_reconcile_trouble;
mod outbox_renewals;
mod outbox_tidy;
mod panels;
mod pending_flushes;
mod placements;
mod process_limits;
mod provisioning;
mod provisioning_storm;
mod readme;
mod refusals;
mod refused_certificates;
mod refused_requests;
mod regions;
mod rekey_killed;
mod restored_backup;
mod restricted_role;
mod retention;
mod roles;
mod rotation;
mod scheduled_rotation;
mod scripted_provider;
mod secrets;
mod security_requirements;
mod settings;
mod shredding;
mod shutdown;
mod sign_ons;
mod spent_codes;
mod store_battery;
mod store_certificates;
mod store_last_used;
mod store_open;
mod store_tables;
mod support;
mod taken_addresses;
mod two_processes;
mod unit_limits;
mod usernames_elsewhere;
mod usernames_removed;
mod whole_node;
mod worker_processes;
