//! What each fuzz target checks. libFuzzer calls these functions through `targets/`; `cargo test` runs them with the inputs
//! of `corpus/` (`tests/it/fuzz_corpus.rs`).

mod connection;
mod fixture;
mod login;
mod parsers;
mod session;

pub use connection::connection;
pub use login::login;
pub use parsers::{binary, meta, text};
pub use session::session;

/// The check of a target, by the target's name.
pub type Check = (&'static str, fn(&[u8]));

pub const CHECKS: [Check; 6] = [
    ("text", text),
    ("meta", meta),
    ("binary", binary),
    ("login", login),
    ("session", session),
    ("connection", connection),
];
