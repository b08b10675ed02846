-- Admin tokens, enrolment of clients' keys, control of tasks, and what remains of old rounds.
--
-- A token's secret is random and long: its SHA-256 is stored, never the secret itself.

CREATE TABLE tokens (
    made       INTEGER PRIMARY KEY AUTOINCREMENT,
    id         BLOB    NOT NULL UNIQUE CHECK (length(id) = 8),
    hash       BLOB    NOT NULL CHECK (length(hash) = 32),
    name       TEXT    NOT NULL,
    -- JSON array of scopes.
    scopes     TEXT    NOT NULL CHECK (json_type(scopes) = 'array'),
    created_at INTEGER NOT NULL CHECK (created_at >= 0),
    expires_at INTEGER NOT NULL CHECK (expires_at >= 0),
    revoked_at INTEGER CHECK (revoked_at >= 0),
    -- Within a minute: not every request is a write.
    used_at    INTEGER CHECK (used_at >= 0)
) STRICT;

-- One-time tokens, each for one key in one group.
CREATE TABLE enrolment_tokens (
    made       INTEGER PRIMARY KEY AUTOINCREMENT,
    id         BLOB    NOT NULL UNIQUE CHECK (length(id) = 8),
    hash       BLOB    NOT NULL CHECK (length(hash) = 32),
    -- Whose keys belong together: what becomes one roster.
    grouped    TEXT    NOT NULL,
    -- What the operator calls the client.
    label      TEXT    NOT NULL,
    created_at INTEGER NOT NULL CHECK (created_at >= 0),
    expires_at INTEGER NOT NULL CHECK (expires_at >= 0)
) STRICT;

-- The unique token is what makes it one-time, for any number of processes.
CREATE TABLE enrolments (
    made        INTEGER PRIMARY KEY AUTOINCREMENT,
    token       BLOB    NOT NULL UNIQUE REFERENCES enrolment_tokens (id),
    grouped     TEXT    NOT NULL,
    key         BLOB    NOT NULL CHECK (length(key) = 32),
    enrolled_at INTEGER NOT NULL CHECK (enrolled_at >= 0),
    UNIQUE (grouped, key)
) STRICT;

-- What an administrator wants of the task; whether it has rounds left stands in its status.
ALTER TABLE tasks ADD COLUMN control TEXT NOT NULL DEFAULT 'run'
    CHECK (control IN ('run', 'paused', 'cancelled'));

-- The adapter that the round starts from.
ALTER TABLE rounds ADD COLUMN model BLOB CHECK (length(model) = 32);
-- How many messages of each phase there were when the round ended, as a JSON array.
ALTER TABLE rounds ADD COLUMN received TEXT CHECK (json_type(received) = 'array');
-- When its metadata was erased: parameters, messages, sum.
ALTER TABLE rounds ADD COLUMN erased_at INTEGER CHECK (erased_at >= 0);
CREATE INDEX rounds_by_end ON rounds (ended_at) WHERE erased_at IS NULL;
