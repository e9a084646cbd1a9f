-- A deed that is done again is counted by network: whoever has one address of an IPv6 network of 64 bits has all of them.
ALTER TABLE audit ADD COLUMN network TEXT;
DROP INDEX audit_by_deed;
CREATE INDEX audit_by_deed ON audit (coalesce(cache_id, 0), action, coalesce(network, ''), at);

-- Of each cache only the newest finished lines are kept.
CREATE INDEX deliveries_done_by_cache ON deliveries_done (cache_id, done_at);
