-- Whether the node serves from its snapshot: it has not heard the control plane since it started.
ALTER TABLE nodes ADD COLUMN on_snapshot BIGINT NOT NULL DEFAULT 0 CHECK (on_snapshot IN (0, 1));
