-- Admin tokens, enrolment of clients' keys, control of tasks, and what remains of old rounds.
--
-- A token's secret is random and long: its SHA-256 is stored, never the secret itself.

CREATE TABLE tokens (
    id         BYTEA  PRIMARY KEY CHECK (octet_length(id) = 8),
    made       BIGINT NOT NULL GENERATED ALWAYS AS IDENTITY UNIQUE,
    hash       BYTEA  NOT NULL CHECK (octet_length(hash) = 32),
    name       TEXT   NOT NULL,
    -- JSON array of scopes.
    scopes     TEXT   NOT NULL CHECK (jsonb_typeof(scopes::jsonb) = 'array'),
    created_at BIGINT NOT NULL CHECK (created_at >= 0),
    expires_at BIGINT NOT NULL CHECK (expires_at >= 0),
    revoked_at BIGINT CHECK (revoked_at >= 0),
    -- Within a minute: not every request is a write.
    used_at    BIGINT CHECK (used_at >= 0)
);

-- One-time tokens, each for one key in one group.
CREATE TABLE enrolment_tokens (
    id         BYTEA  PRIMARY KEY CHECK (octet_length(id) = 8),
    made       BIGINT NOT NULL GENERATED ALWAYS AS IDENTITY UNIQUE,
    hash       BYTEA  NOT NULL CHECK (octet_length(hash) = 32),
    -- Whose keys belong together: what becomes one roster.
    grouped    TEXT   NOT NULL,
    -- What the operator calls the client.
    label      TEXT   NOT NULL,
    created_at BIGINT NOT NULL CHECK (created_at >= 0),
    expires_at BIGINT NOT NULL CHECK (expires_at >= 0)
);

-- The unique token is what makes it one-time, for any number of processes.
CREATE TABLE enrolments (
    token       BYTEA  PRIMARY KEY REFERENCES enrolment_tokens (id),
    made        BIGINT NOT NULL GENERATED ALWAYS AS IDENTITY UNIQUE,
    grouped     TEXT   NOT NULL,
    key         BYTEA  NOT NULL CHECK (octet_length(key) = 32),
    enrolled_at BIGINT NOT NULL CHECK (enrolled_at >= 0),
    UNIQUE (grouped, key)
);

-- What an administrator wants of the task; whether it has rounds left stands in its status.
ALTER TABLE tasks ADD COLUMN control TEXT NOT NULL DEFAULT 'run'
    CHECK (control IN ('run', 'paused', 'cancelled'));

-- The adapter that the round starts from.
ALTER TABLE rounds ADD COLUMN model BYTEA CHECK (octet_length(model) = 32);
-- How many messages of each phase there were when the round ended, as a JSON array.
ALTER TABLE rounds ADD COLUMN received TEXT CHECK (jsonb_typeof(received::jsonb) = 'array');
-- When its metadata was erased: parameters, messages, sum.
ALTER TABLE rounds ADD COLUMN erased_at BIGINT CHECK (erased_at >= 0);
CREATE INDEX rounds_by_end ON rounds (ended_at) WHERE erased_at IS NULL;

-- Rows that a round's end deletes stay on disk until a vacuum: do not wait for a fifth of the
-- table to be dead.
ALTER TABLE sums SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 100,
    toast.autovacuum_vacuum_scale_factor = 0, toast.autovacuum_vacuum_threshold = 1000);
ALTER TABLE messages SET (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000,
    toast.autovacuum_vacuum_scale_factor = 0.01, toast.autovacuum_vacuum_threshold = 1000);
