//! Rank 1: the memcached server. Knows domain; nothing of SQL, HTTP or marketplaces.
#![forbid(unsafe_code)]

pub mod storage;
