-- A claim reads the rows under a lease, of which there are few, beside those that are due.
CREATE INDEX grants_leased ON grants (lease_until) WHERE lease_until IS NOT NULL;
CREATE INDEX config_sync_leased ON config_sync (lease_until) WHERE lease_until IS NOT NULL;
CREATE INDEX lanes_leased ON lanes (lease_until) WHERE lease_until IS NOT NULL;
CREATE INDEX reconciles_leased ON reconciles (lease_until) WHERE lease_until IS NOT NULL;
CREATE INDEX async_provisions_leased ON async_provisions (lease_until) WHERE lease_until IS NOT NULL;
