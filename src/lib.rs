//! Larder: managed memcached as an add-on.
//!
//! Rooms, by rank; a room uses rooms of lower rank, and of its own rank only those above it in this list:
//!
//! | rank | room | holds |
//! |---|---|---|
//! | 0 | [`domain`] | facts and rules, without I/O |
//! | 0 | [`telemetry`], [`mod@format`] | logs and metrics; numbers and times for people |
//! | 1 | [`http`] | what every HTTP side shares: server, outbound client |
//! | 1 | [`store`] | the only SQL |
//! | 1 | [`engine`] | the memcached server |
//! | 2 | [`outbox`] | promises to the outside, kept at least once and in order |
//! | 2 | [`cluster`] | nodes and what they must know |
//! | 2 | [`access`] | credentials, sessions and flushes as a service |
//! | 2 | [`provisioning`] | provision, change plan, deprovision |
//! | 3 | [`web`] | pages, forms and their routes; knows no marketplace |
//! | 3 | [`config`] | environment, flags and file, read once |
//! | 4 | [`marketplace`] | one folder per marketplace, and their registry |
//! | 5 | [`sandbox`] | a local marketplace to develop against |
//! | 6 | [`app`] | builds the rooms and wires them |
//! | 7 | [`cli`] | the commands |
//!
//! `tests/it/layering` holds the tree to this table.

#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::too_many_lines,
        reason = "a test waits in real time, and a scenario is one story"
    )
)]

pub mod domain;
pub mod format;
pub mod telemetry;

pub mod engine;
pub mod http;
pub mod store;

pub mod access;
pub mod cluster;
pub mod outbox;
pub mod provisioning;

pub mod config;
pub mod web;

pub mod marketplace;

pub mod sandbox;

pub mod app;

pub mod cli;
