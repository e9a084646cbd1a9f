//! Rank 2: nodes, placement and the node link.
