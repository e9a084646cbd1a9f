//! Rank 4: a local marketplace to develop and demonstrate against.
