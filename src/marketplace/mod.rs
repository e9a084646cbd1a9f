//! Rank 3: one folder per marketplace.
