-- What a node says of itself, and what the operator wants of it. Whether it is away follows from seen_at.
ALTER TABLE nodes ADD COLUMN phase TEXT NOT NULL DEFAULT 'serving' CHECK (phase IN ('joining', 'serving', 'stopped'));
ALTER TABLE nodes ADD COLUMN standing TEXT NOT NULL DEFAULT 'open' CHECK (standing IN ('open', 'drained', 'retired'));

-- Changes up to this revision may have been dropped: a node that stands below it gets the whole list of its caches.
ALTER TABLE revision ADD COLUMN pruned BIGINT NOT NULL DEFAULT 0;
