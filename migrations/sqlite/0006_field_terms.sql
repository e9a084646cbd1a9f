-- Tables and columns get the field's own terms (reconcile, webhook event, inventory). Nothing else changes.
ALTER TABLE watches RENAME TO reconciles;
ALTER TABLE reconciles RENAME COLUMN news_url TO webhook_url;
ALTER TABLE reconciles RENAME COLUMN news_refused TO subscription_refused;
DROP INDEX watches_due;
DROP INDEX watches_missed;
CREATE INDEX reconciles_due ON reconciles (next_attempt_at);
CREATE INDEX reconciles_missed ON reconciles (missed_at) WHERE missed_at IS NOT NULL;

ALTER TABLE news RENAME TO webhook_events;
DROP INDEX news_by_time;
CREATE INDEX webhook_events_by_time ON webhook_events (seen_at);

ALTER TABLE censuses RENAME TO inventories;
ALTER TABLE inventories RENAME COLUMN strangers TO unknown_installs;

ALTER TABLE setups RENAME TO async_provisions;
DROP INDEX setups_due;
CREATE INDEX async_provisions_due ON async_provisions (next_attempt_at);

ALTER TABLE early_ends RENAME TO early_deprovisions;
DROP INDEX early_ends_by_time;
CREATE INDEX early_deprovisions_by_time ON early_deprovisions (ended_at);
