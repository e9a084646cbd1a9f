-- How often the same actor did the same from the same address within the minute that began with the row.
ALTER TABLE audit ADD COLUMN times BIGINT NOT NULL DEFAULT 1;
CREATE INDEX audit_by_time ON audit (at);
