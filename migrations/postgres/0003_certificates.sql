-- Our own CA for client certificates. One issues; a new one follows when it nears its end, and both are trusted.
CREATE TABLE authorities (
    number      BIGINT PRIMARY KEY NOT NULL,
    certificate BYTEA NOT NULL,
    key_sealed  BYTEA NOT NULL,
    created_at  BIGINT NOT NULL,
    expires_at  BIGINT NOT NULL
);

-- A certificate that is not revoked. Its private key was given to its owner and is nowhere here.
CREATE TABLE certificates (
    fingerprint   TEXT PRIMARY KEY NOT NULL,
    credential_id TEXT NOT NULL REFERENCES credentials (id),
    created_at    BIGINT NOT NULL,
    expires_at    BIGINT NOT NULL
);
CREATE INDEX certificates_by_credential ON certificates (credential_id);
