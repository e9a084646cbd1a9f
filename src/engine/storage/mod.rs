//! Items of one tenant: memory, index, eviction, expiry.
