-- Resources whose provider was told that they are accepted and still waits for our word that they are ready. One row
-- for each, gone with that word.
CREATE TABLE setups (
    cache_id        BIGINT PRIMARY KEY NOT NULL REFERENCES resources (cache_id),
    -- 'give_up' is for good: the provider is told to remove the resource
    goal            TEXT NOT NULL CHECK (goal IN ('finish', 'give_up')),
    -- counts what asked for an attempt, so that one asked for during an attempt is not lost
    wanted          BIGINT NOT NULL,
    attempt         BIGINT NOT NULL,
    next_attempt_at BIGINT NOT NULL,
    -- when next_attempt_at was written: one in the future tells that the clock was set back
    scheduled_at    BIGINT NOT NULL,
    lease_until     BIGINT,
    fence           BIGINT NOT NULL,
    last_error      TEXT
);
CREATE INDEX setups_due ON setups (next_attempt_at);

-- Caches whose primary credential is replaced every so many days. No row, no rotation.
CREATE TABLE rotations (
    cache_id     BIGINT PRIMARY KEY NOT NULL REFERENCES resources (cache_id),
    every_days   BIGINT NOT NULL CHECK (every_days BETWEEN 1 AND 365),
    next_at      BIGINT NOT NULL,
    -- when next_at was written: one in the future tells that the clock was set back
    scheduled_at BIGINT NOT NULL,
    -- why the last turn was put off
    last_error   TEXT
);
CREATE INDEX rotations_due ON rotations (next_at);

-- Of a former primary that the schedule replaced: it goes by itself once nobody uses it any more.
ALTER TABLE credentials ADD COLUMN goes_unused BIGINT NOT NULL DEFAULT 0 CHECK (goes_unused IN (0, 1));
CREATE INDEX credentials_going ON credentials (retired_at) WHERE goes_unused = 1;
