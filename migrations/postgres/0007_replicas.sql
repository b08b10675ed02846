-- Any number of processes share the work: who drives which task, and who unmasks which part of a
-- sum.
--
-- A lease only keeps two processes from doing the same work twice; nothing is wrong if they do.
-- Times are those of this database, so clocks of processes do not matter.

-- One row for a task whose rounds a process drives. No reference to the task: it would wait for
-- the transaction that ends a round.
CREATE TABLE leases (
    task       BYTEA  PRIMARY KEY CHECK (octet_length(task) = 16),
    -- The process: a number that it drew when it started.
    owner      BIGINT NOT NULL,
    expires_at BIGINT NOT NULL CHECK (expires_at >= 0)
) WITH (fillfactor = 50);

-- When the Unmask phase closed: from then on no share is taken, and whoever recovers the secrets
-- recovers them from the same shares.
ALTER TABLE rounds ADD COLUMN unmasking_at BIGINT CHECK (unmasking_at >= 0);

-- The chunks of a sum whose masks are being taken off: free, leased, or done. Erased when the
-- round ends.
CREATE TABLE unmasked (
    round      BYTEA  NOT NULL REFERENCES rounds (id),
    chunk      BIGINT NOT NULL CHECK (chunk >= 0),
    owner      BIGINT,
    expires_at BIGINT CHECK (expires_at >= 0),
    -- The packed elements of the chunk without masks, once they are there.
    bytes      BYTEA,
    PRIMARY KEY (round, chunk),
    CHECK ((owner IS NULL) = (expires_at IS NULL)),
    CHECK (bytes IS NULL OR owner IS NULL)
);

ALTER TABLE unmasked ALTER COLUMN bytes SET STORAGE EXTERNAL;
-- As for the running sums: rows that a round's end deletes are not left on disk for long.
ALTER TABLE unmasked SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 100,
    toast.autovacuum_vacuum_scale_factor = 0, toast.autovacuum_vacuum_threshold = 1000);
