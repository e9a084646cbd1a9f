//! The server over real sockets, for only there can an answer be lost.

mod framing;
mod large_heads;
mod many_connections;
mod rebinding;
mod slow_heads;
mod tls;
mod told_calls;
mod unread_bodies;
