//! Larder: managed memcached as an add-on.
//!
//! Rooms, by rank; a room uses rooms of lower rank, and of its own rank only those above it in this list:
//!
//! | rank | room | holds |
//! |---|---|---|
//! | 0 | [`domain`] | facts and rules, without I/O |
//! | 1 | [`store`] | the only SQL |
//! | 1 | [`engine`] | the memcached server |
//! | 2 | [`outbox`] | promises to the outside, kept at least once and in order |
//! | 2 | [`cluster`] | nodes and what they must know |
//! | 2 | [`access`] | credentials, sessions and flushes as a service |
//! | 2 | [`provisioning`] | provision, change plan, deprovision |
//! | 3 | [`marketplace`] | one folder per provider |
//! | 3 | [`web`] | pages, forms and the table of routes |
//! | 4 | [`sandbox`] | a local marketplace to develop against |
//!
//! `app` builds the rooms and wires them; `config` and `telemetry` read the surroundings; `cli` is the door;
//! `unread` is what the program's HTTP servers share.
//! `tests/it/layering.rs` holds the tree to this table.

pub mod app;
pub mod cli;
pub mod config;
pub mod telemetry;
mod unread;

pub mod domain;

pub mod engine;
pub mod store;

pub mod access;
pub mod cluster;
pub mod outbox;
pub mod provisioning;

pub mod marketplace;
pub mod web;

pub mod sandbox;
