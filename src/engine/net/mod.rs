//! Sockets: the only part of the engine that knows of them.
//!
//! ```text
//!            epoll             one turn                bytes
//!  kernel ─────────▶ event_loop ───────▶ connection ─────────▶ session
//!                        ▲                   │ ▲
//!                 accept │              read │ │ write
//!                     listener              transport (plain or TLS)
//! ```
//!
//! Each serving thread has an event loop, listening sockets and connections of its own; nothing of a connection is
//! ever seen by another thread, so nothing here is locked or atomic but the reins by which a thread is stopped.
//!
//! The loop is our own because what an asynchronous runtime does around each request (wake a task, schedule it, poll
//! it, keep its readiness) was a third of all instructions of an unpipelined get. Another way of asking the system
//! for news would replace `event_loop` and `transport` alone.

mod connection;
mod event_loop;
mod listener;
mod phase;
mod transport;

pub use event_loop::Server;
pub use listener::{Addresses, Entrance, Guests, Listeners, OpenListener, TlsListener, bind};
