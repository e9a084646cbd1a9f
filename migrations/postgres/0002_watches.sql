-- Looks at what the provider knows of a resource: its attached apps, its name, whether it is there at all. One row
-- per live resource; a look is due daily, after the grant exchange, and when a webhook asks.
CREATE TABLE watches (
    cache_id        BIGINT PRIMARY KEY NOT NULL REFERENCES resources (cache_id),
    -- counts what asked for a look, so that one asked for during a look is not lost
    wanted          BIGINT NOT NULL,
    attempt         BIGINT NOT NULL,
    next_attempt_at BIGINT NOT NULL,
    -- when next_attempt_at was written: one in the future tells that the clock was set back
    scheduled_at    BIGINT NOT NULL,
    lease_until     BIGINT,
    fence           BIGINT NOT NULL,
    last_error      TEXT,
    -- the last look that worked
    seen_at         BIGINT,
    -- the URL that news was asked for under; another URL asks again
    news_url        TEXT,
    news_refused    BIGINT NOT NULL CHECK (news_refused IN (0, 1)),
    -- since when the provider does not know the resource
    missed_at       BIGINT,
    -- when a second miss, a day or more after the first, made it a case for a person
    candidate_at    BIGINT
);
CREATE INDEX watches_due ON watches (next_attempt_at);
CREATE INDEX watches_missed ON watches (missed_at) WHERE missed_at IS NOT NULL;

INSERT INTO watches (cache_id, wanted, attempt, next_attempt_at, scheduled_at, fence, news_refused)
    SELECT cache_id, 1, 0, 0, 0, 0, 0 FROM resources WHERE state <> 'deprovisioned';

-- Webhook events dealt with; they are delivered at least once, for a week.
CREATE TABLE news (
    id      TEXT PRIMARY KEY NOT NULL,
    seen_at BIGINT NOT NULL
);
CREATE INDEX news_by_time ON news (seen_at);

-- When each marketplace's list of installs is next compared with ours, and how many of them we did not know.
CREATE TABLE censuses (
    marketplace TEXT PRIMARY KEY NOT NULL,
    next_at     BIGINT NOT NULL,
    strangers   BIGINT NOT NULL
);
