//! Rank 3: pages, forms and the table of routes.
