//! Rank 4: the marketplaces that sell our caches.
//!
//! A marketplace is one folder and one line in [`registry`]. Its field names appear only in its `wire.rs`; no other room
//! knows it by name. What it must bring and what it may leave out is the trait [`Adapter`].
//!
//! | file | holds |
//! |---|---|
//! | [`adapter`] | what a marketplace is to the rest of the program |
//! | [`registry`] | the list of marketplaces, and the sum of what they bring |
//! | [`heroku`] | Heroku, and marketplaces that speak its add-on contract |

pub mod adapter;
pub mod heroku;
pub mod registry;

pub use adapter::{Adapter, Installation, Rooms};
pub use registry::{Registry, RegistryError};
