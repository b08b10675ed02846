-- Who drives which task, and who unmasks which part of a sum.
--
-- A lease only keeps two processes from doing the same work twice; nothing is wrong if they do.

-- One row for a task whose rounds a process drives. No reference to the task, as in the other
-- dialect.
CREATE TABLE leases (
    task       BLOB    NOT NULL PRIMARY KEY CHECK (length(task) = 16),
    -- The process: a number that it drew when it started.
    owner      INTEGER NOT NULL,
    expires_at INTEGER NOT NULL CHECK (expires_at >= 0)
) STRICT;

-- When the Unmask phase closed: from then on no share is taken, and whoever recovers the secrets
-- recovers them from the same shares.
ALTER TABLE rounds ADD COLUMN unmasking_at INTEGER CHECK (unmasking_at >= 0);

-- The chunks of a sum whose masks are being taken off: free, leased, or done. Erased when the
-- round ends.
CREATE TABLE unmasked (
    round      BLOB    NOT NULL REFERENCES rounds (id),
    chunk      INTEGER NOT NULL CHECK (chunk >= 0),
    owner      INTEGER,
    expires_at INTEGER CHECK (expires_at >= 0),
    -- The packed elements of the chunk without masks, once they are there.
    bytes      BLOB,
    PRIMARY KEY (round, chunk),
    CHECK ((owner IS NULL) = (expires_at IS NULL)),
    CHECK (bytes IS NULL OR owner IS NULL)
) STRICT;
