//! The sandbox from the outside: real sockets, a tiny provider on the far side, no sleeping.

mod console;
mod faults;
mod platform;
mod processes;
mod provider;
mod support;
