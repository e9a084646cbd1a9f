-- Ids that a marketplace ended before it had told us of them: an order that arrives late for one of them is refused.
-- Kept for a day.
CREATE TABLE early_ends (
    marketplace TEXT NOT NULL,
    external_id TEXT NOT NULL,
    ended_at    BIGINT NOT NULL,
    PRIMARY KEY (marketplace, external_id)
);
CREATE INDEX early_ends_by_time ON early_ends (ended_at);
