-- Tasks, their adapters, rounds, the messages of a round, and the running sum.
--
-- Ids and digests are the raw bytes. Times are milliseconds since the Unix epoch. No constraint
-- compares two times: processes with clocks that differ must still be able to end a round.

CREATE TABLE tasks (
    id           BYTEA  PRIMARY KEY CHECK (octet_length(id) = 16),
    -- The order in which tasks were made; clocks may tie.
    made         BIGINT NOT NULL GENERATED ALWAYS AS IDENTITY UNIQUE,
    name         TEXT   NOT NULL,
    roster       BYTEA  NOT NULL,
    training     BYTEA  NOT NULL,
    mechanism    BYTEA  NOT NULL,
    settings     TEXT   NOT NULL CHECK (jsonb_typeof(settings::jsonb) = 'object'),
    model        BYTEA  NOT NULL CHECK (octet_length(model) = 32),
    -- Repeated from the settings, so that the checks below can see it.
    rounds       BIGINT NOT NULL CHECK (rounds BETWEEN 1 AND 4294967295),
    rounds_ended BIGINT NOT NULL CHECK (rounds_ended BETWEEN 0 AND rounds),
    status       TEXT   NOT NULL CHECK (status IN ('running', 'finished')),
    created_at   BIGINT NOT NULL CHECK (created_at >= 0),
    -- No round runs beyond those that privacy was accounted for.
    CHECK ((status = 'finished') = (rounds_ended = rounds))
);

CREATE TABLE adapters (
    task   BYTEA NOT NULL REFERENCES tasks (id),
    digest BYTEA NOT NULL CHECK (octet_length(digest) = 32),
    bytes  BYTEA NOT NULL,
    PRIMARY KEY (task, digest)
);

-- Deferred, because a task and its first adapter name each other.
ALTER TABLE tasks ADD CONSTRAINT tasks_model_is_an_adapter
    FOREIGN KEY (id, model) REFERENCES adapters (task, digest) DEFERRABLE INITIALLY DEFERRED;

CREATE TABLE rounds (
    id         BYTEA  PRIMARY KEY CHECK (octet_length(id) = 32),
    task       BYTEA  NOT NULL REFERENCES tasks (id),
    number     BIGINT NOT NULL CHECK (number BETWEEN 1 AND 4294967295),
    params     BYTEA  NOT NULL,
    state      TEXT   NOT NULL CHECK (state IN ('open', 'finished', 'failed')),
    -- The open phase, or the phase in which the round ended.
    phase      TEXT   NOT NULL CHECK (phase IN
        ('advertise-keys', 'share-keys', 'masked-input', 'consistency-check', 'unmask')),
    deadline   BIGINT NOT NULL CHECK (deadline >= 0),
    opened_at  BIGINT NOT NULL CHECK (opened_at >= 0),
    ended_at   BIGINT CHECK (ended_at >= 0),
    -- Why it failed.
    reason     TEXT,
    -- The public result: the packed sum; roster indices as JSON numbers; pairs as JSON arrays.
    sum        BYTEA,
    survivors  TEXT CHECK (jsonb_typeof(survivors::jsonb) = 'array'),
    transcript BYTEA CHECK (octet_length(transcript) = 32),
    set_aside  TEXT CHECK (jsonb_typeof(set_aside::jsonb) = 'array'),
    UNIQUE (task, number),
    CHECK ((state = 'open') = (ended_at IS NULL)),
    CHECK ((state = 'failed') = (reason IS NOT NULL)),
    CHECK (num_nulls(sum, survivors, transcript, set_aside)
        = CASE WHEN state = 'finished' THEN 0 ELSE 4 END)
);

-- Two processes may want to open the next round; the index lets one of them.
CREATE UNIQUE INDEX rounds_one_open_per_task ON rounds (task) WHERE state = 'open';

-- One message per sender and phase: a client that signed two is caught. For masked-input this is
-- the signed header; its row and the sum it is in are written in one transaction.
CREATE TABLE messages (
    round  BYTEA  NOT NULL REFERENCES rounds (id),
    phase  TEXT   NOT NULL CHECK (phase IN
        ('advertise-keys', 'share-keys', 'masked-input', 'consistency-check', 'unmask')),
    sender BIGINT NOT NULL CHECK (sender BETWEEN 0 AND 4294967295),
    bytes  BYTEA  NOT NULL,
    PRIMARY KEY (round, phase, sender)
);

-- The running sum of masked vectors, in shards so that uploads need not wait for each other, each
-- in chunks of 65536 packed elements. The sum is all shards added up; no vector is stored alone.
CREATE TABLE sums (
    round BYTEA  NOT NULL REFERENCES rounds (id),
    shard BIGINT NOT NULL CHECK (shard >= 0),
    chunk BIGINT NOT NULL CHECK (chunk >= 0),
    bytes BYTEA  NOT NULL,
    PRIMARY KEY (round, shard, chunk)
);

-- Masked sums look random: compressing them costs time and saves nothing. Sums of rounds are
-- close to random as well.
ALTER TABLE sums ALTER COLUMN bytes SET STORAGE EXTERNAL;
ALTER TABLE rounds ALTER COLUMN sum SET STORAGE EXTERNAL;
ALTER TABLE adapters ALTER COLUMN bytes SET STORAGE EXTERNAL;
