-- The data folder that a node runs from: an id is not taken over while another folder's process is heard of under it.
ALTER TABLE nodes ADD COLUMN home_id TEXT;
ALTER TABLE nodes ADD COLUMN home_path TEXT;

-- Whether the cache's owner was told that its node is away.
ALTER TABLE placements ADD COLUMN told_away BIGINT NOT NULL DEFAULT 0 CHECK (told_away IN (0, 1));
CREATE INDEX placements_told_away ON placements (node_id) WHERE told_away = 1;
