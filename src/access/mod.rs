//! Rank 2: credentials, browser sessions and flushes as a service.
