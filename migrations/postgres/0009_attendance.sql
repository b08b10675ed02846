-- Who answered when: what phases took, and each client's part in each round. Rounds are planned
-- from it, and an auditor sees from it which rounds a client's data went into.
--
-- By the database's clock, so that latencies are right whichever process took a message.

ALTER TABLE messages ADD COLUMN received_at BIGINT CHECK (received_at >= 0);

-- AdvertiseKeys closes once so many clients are there.
ALTER TABLE rounds ADD COLUMN admitted BIGINT CHECK (admitted >= 0);
-- How long a client rests from the opening of a round that took its input to that of the next.
ALTER TABLE rounds ADD COLUMN min_interval_ms BIGINT NOT NULL DEFAULT 0 CHECK (min_interval_ms >= 0);

CREATE TABLE phases (
    round      BYTEA  NOT NULL REFERENCES rounds (id) ON DELETE CASCADE,
    phase      TEXT   NOT NULL CHECK (phase IN
        ('advertise-keys', 'share-keys', 'masked-input', 'consistency-check', 'unmask')),
    opened_at  BIGINT NOT NULL CHECK (opened_at >= 0),
    -- How long it may take, in milliseconds.
    allowed_ms BIGINT NOT NULL CHECK (allowed_ms >= 0),
    -- How many messages are awaited, and how many there were when it closed.
    expected   BIGINT NOT NULL CHECK (expected >= 0),
    received   BIGINT CHECK (received >= 0),
    closed_at  BIGINT CHECK (closed_at >= 0),
    -- Within so many milliseconds nearly all answers came, late ones included.
    latency_ms BIGINT CHECK (latency_ms >= 0),
    PRIMARY KEY (round, phase)
);

CREATE TABLE attendance (
    round      BYTEA  NOT NULL REFERENCES rounds (id) ON DELETE CASCADE,
    client     BIGINT NOT NULL CHECK (client BETWEEN 0 AND 4294967295),
    phase      TEXT   NOT NULL CHECK (phase IN
        ('advertise-keys', 'share-keys', 'masked-input', 'consistency-check', 'unmask')),
    -- Milliseconds from the phase's opening to the message.
    latency_ms BIGINT NOT NULL CHECK (latency_ms >= 0),
    -- 1 if the phase had closed: the message was refused.
    late       BIGINT NOT NULL CHECK (late IN (0, 1)),
    PRIMARY KEY (round, client, phase)
);
