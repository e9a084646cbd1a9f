//! Sockets. No other part of the engine knows them.
//!
//! ```text
//!            epoll             one visit               bytes
//!  kernel ─────────▶ event_loop ───────▶ connection ────────▶ exchange ───────▶ session
//!                        ▲                   │ ▲              (what waits, its charge, its deadline)
//!                 accept │              read │ │ write
//!                     listener              transport (plain TCP or TLS)
//! ```
//!
//! Two words are used throughout:
//! - A *loop pass* is one iteration of a thread's event loop: it polls for readiness events and serves connections.
//! - A *visit* is what one connection may do before the next one is served: one read, a bounded number of commands,
//!   one write.
//!
//! Each serving thread owns an event loop, listening sockets and connections. No other thread sees a connection, so
//! nothing here is locked or atomic, except the signal that stops a thread.
//!
//! The event loop is our own, not an asynchronous runtime's. A runtime wakes a task, schedules it, polls it and keeps
//! its readiness for each request; that was measured as a third of all instructions of an unpipelined get. To use
//! another interface than epoll, replace `event_loop` and `transport`; nothing else depends on it.

mod anonymous;
mod connection;
mod event_loop;
mod exchange;
mod listener;
mod phase;
mod server;
mod transport;
mod visit;

pub use exchange::Exchange;
pub use listener::{
    Addresses, BoundSocket, ListenerKind, Listeners, OpenListener, TlsListener, bind,
};
pub use phase::SWEEP;
pub use server::Server;
