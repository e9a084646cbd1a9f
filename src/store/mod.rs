//! Rank 1: the only room that knows SQL.
