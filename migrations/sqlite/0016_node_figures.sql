-- What a node said last of a cache on it, as JSON, and when that came: processes that cannot ask the node show it.
CREATE TABLE cache_figures (
    cache_id BIGINT NOT NULL REFERENCES resources (cache_id),
    node_id  TEXT NOT NULL REFERENCES nodes (id),
    at       BIGINT NOT NULL,
    figures  TEXT NOT NULL,
    PRIMARY KEY (cache_id, node_id)
);

-- A node that starts anew begins without rows.
CREATE INDEX cache_figures_by_node ON cache_figures (node_id);
