-- Processes that hold leases. Each raises its beat now and then; the others end the leases of one whose beat stands
-- still. A row with the same place as a new one is that of its predecessor, which is gone.
CREATE TABLE outbox_workers (
    id         TEXT PRIMARY KEY NOT NULL,
    -- machine and data folder
    place      TEXT,
    beat       BIGINT NOT NULL,
    started_at BIGINT NOT NULL
);

-- Who holds a lease; NULL in the lease of a process that is gone: its last call may still arrive, so the row waits, but
-- it does not count against the cap of its destination.
ALTER TABLE config_sync ADD COLUMN lease_by TEXT;
ALTER TABLE lanes ADD COLUMN lease_by TEXT;
ALTER TABLE grants ADD COLUMN lease_by TEXT;
ALTER TABLE reconciles ADD COLUMN lease_by TEXT;
ALTER TABLE async_provisions ADD COLUMN lease_by TEXT;

-- Digests of the codes that were taken so far, blank-separated, newest last: each is good for one exchange, so none is
-- taken a second time.
ALTER TABLE grants ADD COLUMN code_digests TEXT;
