-- Tasks, their adapters, rounds, the messages of a round, and the running sum.
--
-- Ids and digests are the raw bytes. Times are milliseconds since the Unix epoch. No constraint
-- compares two times: a clock that was set back must not keep a round from ending. The tables are
-- STRICT, so that a column holds its type and nothing else.

CREATE TABLE tasks (
    -- The order in which tasks were made; clocks may tie.
    made         INTEGER PRIMARY KEY AUTOINCREMENT,
    id           BLOB    NOT NULL UNIQUE CHECK (length(id) = 16),
    name         TEXT    NOT NULL,
    roster       BLOB    NOT NULL,
    training     BLOB    NOT NULL,
    mechanism    BLOB    NOT NULL,
    settings     TEXT    NOT NULL CHECK (json_type(settings) = 'object'),
    model        BLOB    NOT NULL CHECK (length(model) = 32),
    -- Repeated from the settings, so that the checks below can see it.
    rounds       INTEGER NOT NULL CHECK (rounds BETWEEN 1 AND 4294967295),
    rounds_ended INTEGER NOT NULL CHECK (rounds_ended BETWEEN 0 AND rounds),
    status       TEXT    NOT NULL CHECK (status IN ('running', 'finished')),
    created_at   INTEGER NOT NULL CHECK (created_at >= 0),
    -- No round runs beyond those that privacy was accounted for.
    CHECK ((status = 'finished') = (rounds_ended = rounds)),
    -- Deferred, because a task and its first adapter name each other.
    FOREIGN KEY (id, model) REFERENCES adapters (task, digest) DEFERRABLE INITIALLY DEFERRED
) STRICT;

CREATE TABLE adapters (
    task   BLOB NOT NULL REFERENCES tasks (id),
    digest BLOB NOT NULL CHECK (length(digest) = 32),
    bytes  BLOB NOT NULL,
    PRIMARY KEY (task, digest)
) STRICT;

CREATE TABLE rounds (
    id         BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 32),
    task       BLOB    NOT NULL REFERENCES tasks (id),
    number     INTEGER NOT NULL CHECK (number BETWEEN 1 AND 4294967295),
    params     BLOB    NOT NULL,
    state      TEXT    NOT NULL CHECK (state IN ('open', 'finished', 'failed')),
    -- The open phase, or the phase in which the round ended.
    phase      TEXT    NOT NULL CHECK (phase IN
        ('advertise-keys', 'share-keys', 'masked-input', 'consistency-check', 'unmask')),
    deadline   INTEGER NOT NULL CHECK (deadline >= 0),
    opened_at  INTEGER NOT NULL CHECK (opened_at >= 0),
    ended_at   INTEGER CHECK (ended_at >= 0),
    -- Why it failed.
    reason     TEXT,
    -- The public result: the packed sum; roster indices as JSON numbers; pairs as JSON arrays.
    sum        BLOB,
    survivors  TEXT CHECK (json_type(survivors) = 'array'),
    transcript BLOB CHECK (length(transcript) = 32),
    set_aside  TEXT CHECK (json_type(set_aside) = 'array'),
    UNIQUE (task, number),
    CHECK ((state = 'open') = (ended_at IS NULL)),
    CHECK ((state = 'failed') = (reason IS NOT NULL)),
    CHECK ((sum IS NULL) + (survivors IS NULL) + (transcript IS NULL) + (set_aside IS NULL)
        = CASE WHEN state = 'finished' THEN 0 ELSE 4 END)
) STRICT;

-- Two drivers may want to open the next round; the index lets one of them.
CREATE UNIQUE INDEX rounds_one_open_per_task ON rounds (task) WHERE state = 'open';

-- One message per sender and phase: a client that signed two is caught. For masked-input this is
-- the signed header; its row and the sum it is in are written in one transaction.
CREATE TABLE messages (
    round  BLOB    NOT NULL REFERENCES rounds (id),
    phase  TEXT    NOT NULL CHECK (phase IN
        ('advertise-keys', 'share-keys', 'masked-input', 'consistency-check', 'unmask')),
    sender INTEGER NOT NULL CHECK (sender BETWEEN 0 AND 4294967295),
    bytes  BLOB    NOT NULL,
    PRIMARY KEY (round, phase, sender)
) STRICT;

-- The running sum of masked vectors, in chunks of 65536 packed elements. SQLite has one writer, so
-- one shard serves; the column keeps the statements the same as for Postgres. No vector is stored
-- alone.
CREATE TABLE sums (
    round BLOB    NOT NULL REFERENCES rounds (id),
    shard INTEGER NOT NULL CHECK (shard >= 0),
    chunk INTEGER NOT NULL CHECK (chunk >= 0),
    bytes BLOB    NOT NULL,
    PRIMARY KEY (round, shard, chunk)
) STRICT;
