//! Rank 2: everything promised to the outside, at least once, in order per destination.
