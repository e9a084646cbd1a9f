-- A deed that is done again is counted in its row of the last minute. Without this index each deed read that minute's
-- rows of everybody.
CREATE INDEX audit_by_deed ON audit (coalesce(cache_id, 0), action, coalesce(remote, ''), at);
