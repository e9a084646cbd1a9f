//! What each fuzz target asserts of an input. Libfuzzer calls these through `targets/`; `cargo test` replays the
//! kept inputs through them (`tests/it/fuzz_corpus.rs`).

mod login;
mod parsers;
mod session;
mod world;

pub use login::login;
pub use parsers::{binary, meta, text};
pub use session::session;

/// A check by its target's name.
pub type Check = (&'static str, fn(&[u8]));

pub const CHECKS: [Check; 5] = [
    ("text", text),
    ("meta", meta),
    ("binary", binary),
    ("login", login),
    ("session", session),
];
