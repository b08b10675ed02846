-- The audit log: hash-chained entries that are only ever added.
--
-- One chain a task, named by its id in hexadecimal digits, and one named `service`. The triggers
-- keep this service, and mistakes at a prompt, from changing what was recorded. Whoever can write
-- the file can drop them: that is why heads are signed and clients remember them.

CREATE TABLE audit_chains (
    chain   TEXT    NOT NULL PRIMARY KEY CHECK (length(chain) IN (7, 32)),
    entries INTEGER NOT NULL CHECK (entries >= 0),
    -- The digest of the last entry; of the chain's start while there is none.
    head    BLOB    NOT NULL CHECK (length(head) = 32)
) STRICT;

CREATE TABLE audit_entries (
    chain    TEXT    NOT NULL REFERENCES audit_chains (chain),
    sequence INTEGER NOT NULL CHECK (sequence >= 0),
    -- Canonical JSON; the digest covers these bytes as they stand.
    content  TEXT    NOT NULL,
    digest   BLOB    NOT NULL CHECK (length(digest) = 32),
    PRIMARY KEY (chain, sequence)
) STRICT;

CREATE TRIGGER audit_entries_stay BEFORE UPDATE ON audit_entries
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER audit_entries_are_kept BEFORE DELETE ON audit_entries
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER audit_chains_are_kept BEFORE DELETE ON audit_chains
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;

-- INSERT OR REPLACE deletes without asking the triggers above.
CREATE TRIGGER audit_entries_are_not_replaced BEFORE INSERT ON audit_entries
WHEN EXISTS (
    SELECT 1 FROM audit_entries WHERE chain = NEW.chain AND sequence = NEW.sequence
)
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER audit_chains_are_not_replaced BEFORE INSERT ON audit_chains
WHEN EXISTS (SELECT 1 FROM audit_chains WHERE chain = NEW.chain)
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;

-- A head moves to the entry that comes next, and nowhere else.
CREATE TRIGGER audit_chains_grow BEFORE UPDATE ON audit_chains
WHEN NEW.chain <> OLD.chain OR NEW.entries <> OLD.entries + 1 OR NOT EXISTS (
    SELECT 1 FROM audit_entries
    WHERE chain = OLD.chain AND sequence = OLD.entries AND digest = NEW.head
)
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;

-- In how many rounds of a task inputs were taken: what its privacy statements compose.
CREATE TABLE audit_releases (
    task   BLOB    NOT NULL PRIMARY KEY REFERENCES tasks (id),
    rounds INTEGER NOT NULL CHECK (rounds >= 0)
) STRICT;

-- The key that signs heads, where no key file is configured.
CREATE TABLE audit_key (
    one     INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    seed    BLOB    NOT NULL CHECK (length(seed) = 32),
    made_at INTEGER NOT NULL CHECK (made_at >= 0)
) STRICT;
