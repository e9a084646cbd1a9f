-- Times are microseconds since the epoch, flags 0/1, JSON is text, sealed values are blobs.

CREATE TABLE settings (
    name       TEXT PRIMARY KEY NOT NULL,
    sealed     BLOB NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE clusters (
    name       TEXT PRIMARY KEY NOT NULL,
    region     TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE nodes (
    id               TEXT PRIMARY KEY NOT NULL,
    cluster          TEXT NOT NULL REFERENCES clusters (name),
    proxy_hostname   TEXT NOT NULL,
    proxy_port       BIGINT NOT NULL,
    memory_bytes     BIGINT NOT NULL,
    applied_revision BIGINT NOT NULL,
    seen_at          BIGINT NOT NULL
);

CREATE TABLE resources (
    cache_id         INTEGER PRIMARY KEY AUTOINCREMENT,
    id               TEXT NOT NULL UNIQUE,
    marketplace      TEXT NOT NULL,
    external_id      TEXT NOT NULL,
    name             TEXT NOT NULL,
    label            TEXT NOT NULL,
    plan             TEXT NOT NULL,
    region           TEXT NOT NULL,
    cluster          TEXT NOT NULL REFERENCES clusters (name),
    state            TEXT NOT NULL CHECK (state IN ('provisioning', 'provisioned', 'deprovisioned')),
    callback_url     TEXT,
    sso_digest       TEXT UNIQUE,
    sso_sealed       BLOB,
    created_at       BIGINT NOT NULL,
    deprovisioned_at BIGINT,
    UNIQUE (marketplace, external_id),
    CHECK ((state = 'deprovisioned') = (deprovisioned_at IS NOT NULL))
);

CREATE TABLE placements (
    cache_id BIGINT NOT NULL REFERENCES resources (cache_id),
    node_id  TEXT NOT NULL REFERENCES nodes (id),
    PRIMARY KEY (cache_id, node_id)
);
CREATE INDEX placements_by_node ON placements (node_id);

-- A removed credential keeps its row, without its secret, so that its user name is never given out again.
CREATE TABLE credentials (
    id              TEXT PRIMARY KEY NOT NULL,
    cache_id        BIGINT NOT NULL REFERENCES resources (cache_id),
    username        TEXT NOT NULL UNIQUE,
    password_sealed BLOB,
    verifier        BLOB,
    capabilities    BIGINT NOT NULL,
    is_primary      BIGINT NOT NULL CHECK (is_primary IN (0, 1)),
    created_at      BIGINT NOT NULL,
    last_used_at    BIGINT,
    last_used_from  TEXT,
    removed_at      BIGINT,
    -- of a former primary: since when the provider has the values of its successor
    retired_at      BIGINT,
    CHECK ((removed_at IS NULL) = (password_sealed IS NOT NULL)),
    CHECK (removed_at IS NULL OR is_primary = 0)
);
CREATE INDEX credentials_by_cache ON credentials (cache_id);
CREATE UNIQUE INDEX one_primary_per_cache ON credentials (cache_id) WHERE is_primary = 1;

CREATE TABLE grants (
    cache_id          BIGINT PRIMARY KEY NOT NULL REFERENCES resources (cache_id),
    state             TEXT NOT NULL CHECK (state IN ('pending', 'active', 'broken')),
    code_sealed       BLOB,
    code_expires_at   BIGINT,
    access_sealed     BLOB,
    access_expires_at BIGINT,
    refresh_sealed    BLOB,
    attempt           BIGINT NOT NULL,
    next_attempt_at   BIGINT NOT NULL,
    lease_until       BIGINT,
    fence             BIGINT NOT NULL,
    last_error        TEXT,
    updated_at        BIGINT NOT NULL
);
CREATE INDEX grants_due ON grants (next_attempt_at) WHERE state = 'pending';

-- An app that the resource is attached to, with the log input its lines go to.
CREATE TABLE attachments (
    id             TEXT PRIMARY KEY NOT NULL,
    cache_id       BIGINT NOT NULL REFERENCES resources (cache_id),
    app            TEXT NOT NULL,
    log_url_sealed BLOB,
    log_dead_at    BIGINT,
    created_at     BIGINT NOT NULL,
    UNIQUE (cache_id, app)
);

-- Level-triggered: what the provider must hold, and what it is known to hold. One row per resource.
CREATE TABLE config_sync (
    cache_id        BIGINT PRIMARY KEY NOT NULL REFERENCES resources (cache_id),
    desired         BIGINT NOT NULL,
    applied         BIGINT NOT NULL,
    -- nodes must have applied this revision before the push (P3)
    needs_revision  BIGINT NOT NULL,
    pending_since   BIGINT,
    attempt         BIGINT NOT NULL,
    next_attempt_at BIGINT NOT NULL,
    -- when next_attempt_at was written: one in the future tells that the clock was set back
    scheduled_at    BIGINT NOT NULL,
    lease_until     BIGINT,
    fence           BIGINT NOT NULL,
    last_error      TEXT,
    -- set while a person should look; attempts go on, hourly
    dead_at         BIGINT,
    -- user name and servers the provider is known to hold, NULL when not known for certain
    applied_as      TEXT
);
CREATE INDEX config_sync_due ON config_sync (next_attempt_at) WHERE applied < desired;

-- One queue per destination. The lease is on the lane and covers all its deliveries, so that they go out one
-- after the other whoever sends them.
CREATE TABLE lanes (
    order_key       TEXT PRIMARY KEY NOT NULL,
    cache_id        BIGINT NOT NULL REFERENCES resources (cache_id),
    -- host at the far end: lanes that burden the same one share a cap
    destination     TEXT NOT NULL,
    -- NULL while nothing waits
    next_attempt_at BIGINT,
    scheduled_at    BIGINT NOT NULL,
    attempt         BIGINT NOT NULL,
    lease_until     BIGINT,
    fence           BIGINT NOT NULL,
    last_error      TEXT,
    -- lines lost and not yet told of
    dropped         BIGINT NOT NULL,
    -- lines taken in the second that began at window_at: the rate bound
    window_at       BIGINT NOT NULL,
    window_lines    BIGINT NOT NULL
);
CREATE INDEX lanes_due ON lanes (next_attempt_at) WHERE next_attempt_at IS NOT NULL;
CREATE INDEX lanes_by_cache ON lanes (cache_id);

CREATE TABLE deliveries (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    id         TEXT NOT NULL UNIQUE,
    cache_id   BIGINT NOT NULL REFERENCES resources (cache_id),
    kind       TEXT NOT NULL,
    -- deliveries of one order key (a lane) go out one after the other
    order_key  TEXT NOT NULL,
    payload    TEXT NOT NULL,
    not_before BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX deliveries_by_order ON deliveries (order_key, seq);

-- Finished deliveries leave the hot table: claims must not wade through the past.
CREATE TABLE deliveries_done (
    id         TEXT PRIMARY KEY NOT NULL,
    cache_id   BIGINT NOT NULL,
    kind       TEXT NOT NULL,
    order_key  TEXT NOT NULL,
    payload    TEXT NOT NULL,
    attempt    BIGINT NOT NULL,
    outcome    TEXT NOT NULL CHECK (outcome IN ('delivered', 'refused', 'expired', 'cancelled')),
    last_error TEXT,
    created_at BIGINT NOT NULL,
    done_at    BIGINT NOT NULL
);
CREATE INDEX deliveries_done_by_time ON deliveries_done (done_at);

CREATE TABLE flushes (
    id         TEXT PRIMARY KEY NOT NULL,
    cache_id   BIGINT NOT NULL REFERENCES resources (cache_id),
    origin     TEXT NOT NULL,
    reason     TEXT,
    proxy      TEXT,
    credential TEXT,
    remote     TEXT,
    items      BIGINT,
    bytes      BIGINT,
    -- how many flushes the row stands for: above ten a second they are summed up in one
    times      BIGINT NOT NULL,
    ordered_at BIGINT NOT NULL,
    done_at    BIGINT
);
CREATE INDEX flushes_open ON flushes (cache_id) WHERE done_at IS NULL;
CREATE INDEX flushes_by_time ON flushes (ordered_at);

-- What each node did about an ordered flush. The order is done when every node of the cache has a row here.
CREATE TABLE flush_reports (
    flush_id TEXT NOT NULL REFERENCES flushes (id) ON DELETE CASCADE,
    node_id  TEXT NOT NULL REFERENCES nodes (id),
    items    BIGINT NOT NULL,
    bytes    BIGINT NOT NULL,
    done_at  BIGINT NOT NULL,
    PRIMARY KEY (flush_id, node_id)
);

-- Nodes report at least once; an id that stands here was dealt with. Kept for a day.
CREATE TABLE node_reports (
    id      TEXT PRIMARY KEY NOT NULL,
    seen_at BIGINT NOT NULL
);

CREATE TABLE events (
    id       TEXT PRIMARY KEY NOT NULL,
    cache_id BIGINT NOT NULL REFERENCES resources (cache_id),
    at       BIGINT NOT NULL,
    kind     TEXT NOT NULL,
    line     TEXT NOT NULL
);
CREATE INDEX events_by_cache ON events (cache_id, at);
CREATE INDEX events_by_time ON events (at);

-- The revision is one counter row, raised by the last statement of a transaction, so that commit order is
-- revision order and a reader at n has seen everything up to n.
CREATE TABLE revision (
    one   BIGINT PRIMARY KEY NOT NULL CHECK (one = 1),
    value BIGINT NOT NULL
);
INSERT INTO revision (one, value) VALUES (1, 0);

CREATE TABLE changes (
    revision BIGINT PRIMARY KEY NOT NULL,
    cache_id BIGINT NOT NULL
);
CREATE INDEX changes_by_cache ON changes (cache_id);

CREATE TABLE sessions (
    digest      TEXT PRIMARY KEY NOT NULL,
    cache_id    BIGINT NOT NULL REFERENCES resources (cache_id),
    -- 'sso' or 'link': rotating the SSO secret ends all but the session that asked
    opened_by   TEXT NOT NULL CHECK (opened_by IN ('sso', 'link')),
    person      TEXT,
    context_app TEXT,
    csrf_sealed BLOB NOT NULL,
    created_at  BIGINT NOT NULL,
    seen_at     BIGINT NOT NULL
);
CREATE INDEX sessions_by_cache ON sessions (cache_id);
CREATE INDEX sessions_by_age ON sessions (created_at);

CREATE TABLE sso_uses (
    digest  TEXT PRIMARY KEY NOT NULL,
    used_at BIGINT NOT NULL
);

CREATE TABLE audit (
    seq      INTEGER PRIMARY KEY AUTOINCREMENT,
    cache_id BIGINT,
    at       BIGINT NOT NULL,
    actor    TEXT NOT NULL,
    action   TEXT NOT NULL,
    detail   TEXT NOT NULL,
    remote   TEXT
);
CREATE INDEX audit_by_cache ON audit (cache_id, at);
