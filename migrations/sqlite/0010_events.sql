-- An event is its kind and its fields, with who is behind it. Rows from before keep their line, which is shown as it is.
-- `seq` keeps the order of what was written in one instant.
CREATE TABLE events_with_fields (
    seq      INTEGER PRIMARY KEY AUTOINCREMENT,
    id       TEXT NOT NULL UNIQUE,
    cache_id BIGINT NOT NULL REFERENCES resources (cache_id),
    at       BIGINT NOT NULL,
    kind     TEXT NOT NULL,
    -- JSON object; NULL in rows that have a line
    fields   TEXT,
    line     TEXT,
    -- JSON object, see store/db/json.rs
    actor    TEXT,
    remote   TEXT,
    CHECK ((fields IS NULL) = (line IS NOT NULL))
);
INSERT INTO events_with_fields (id, cache_id, at, kind, line)
    SELECT id, cache_id, at,
        CASE kind
            WHEN 'credentials_created' THEN 'credential_added'
            WHEN 'credentials_removed' THEN 'credential_removed'
            WHEN 'setup_began' THEN 'async_provision_began'
            ELSE kind
        END,
        line
    FROM events ORDER BY at, id;
DROP TABLE events;
ALTER TABLE events_with_fields RENAME TO events;
CREATE INDEX events_by_cache ON events (cache_id, at);
CREATE INDEX events_by_time ON events (at);

-- Who ordered a flush: its event comes later, with the reports of the nodes.
ALTER TABLE flushes ADD COLUMN actor TEXT;
ALTER TABLE flushes ADD COLUMN actor_remote TEXT;

-- The audit names the same actors. A name that is none of ours was a person's, signed on by the cache's marketplace.
UPDATE audit SET actor = CASE actor
    WHEN 'operator' THEN '{"kind":"operator"}'
    WHEN 'schedule' THEN '{"kind":"schedule"}'
    WHEN 'larder' THEN '{"kind":"service"}'
    WHEN 'dashboard' THEN '{"kind":"browser","came_by":"link"}'
    WHEN 'heroku' THEN '{"kind":"marketplace","name":"heroku"}'
    WHEN 'manifold' THEN '{"kind":"marketplace","name":"manifold"}'
    WHEN 'direct' THEN '{"kind":"marketplace","name":"direct"}'
    WHEN 'sso' THEN '{"kind":"browser","came_by":"heroku"}'
    ELSE '{"kind":"browser","person":"' || replace(replace(actor, '\', '\\'), '"', '\"') || '","came_by":"heroku"}'
END;
