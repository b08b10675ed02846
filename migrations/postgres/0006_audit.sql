-- The audit log: hash-chained entries that are only ever added.
--
-- One chain a task, named by its id in hexadecimal digits, and one named `service`. The triggers
-- keep this service, and mistakes at a prompt, from changing what was recorded. A database
-- administrator can drop them: that is why heads are signed and clients remember them.

CREATE TABLE audit_chains (
    chain   TEXT   PRIMARY KEY CHECK (length(chain) IN (7, 32)),
    entries BIGINT NOT NULL CHECK (entries >= 0),
    -- The digest of the last entry; of the chain's start while there is none.
    head    BYTEA  NOT NULL CHECK (octet_length(head) = 32)
);

CREATE TABLE audit_entries (
    chain    TEXT   NOT NULL REFERENCES audit_chains (chain),
    sequence BIGINT NOT NULL CHECK (sequence >= 0),
    -- Canonical JSON; the digest covers these bytes as they stand.
    content  TEXT   NOT NULL,
    digest   BYTEA  NOT NULL CHECK (octet_length(digest) = 32),
    PRIMARY KEY (chain, sequence)
);

CREATE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit log is append-only' USING ERRCODE = 'restrict_violation';
END
$$;

CREATE TRIGGER audit_entries_stay BEFORE UPDATE OR DELETE ON audit_entries
    FOR EACH ROW EXECUTE FUNCTION audit_refuse();
CREATE TRIGGER audit_entries_are_not_emptied BEFORE TRUNCATE ON audit_entries
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();
CREATE TRIGGER audit_chains_stay BEFORE DELETE ON audit_chains
    FOR EACH ROW EXECUTE FUNCTION audit_refuse();
CREATE TRIGGER audit_chains_are_not_emptied BEFORE TRUNCATE ON audit_chains
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();

-- A head moves to the entry that comes next, and nowhere else.
CREATE FUNCTION audit_head_moves_on() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.chain <> OLD.chain OR NEW.entries <> OLD.entries + 1 OR NOT EXISTS (
        SELECT 1 FROM audit_entries
        WHERE chain = OLD.chain AND sequence = OLD.entries AND digest = NEW.head
    ) THEN
        RAISE EXCEPTION 'the audit log is append-only' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER audit_chains_grow BEFORE UPDATE ON audit_chains
    FOR EACH ROW EXECUTE FUNCTION audit_head_moves_on();

-- In how many rounds of a task inputs were taken: what its privacy statements compose.
CREATE TABLE audit_releases (
    task   BYTEA  PRIMARY KEY REFERENCES tasks (id),
    rounds BIGINT NOT NULL CHECK (rounds >= 0)
);

-- The key that signs heads, where no key file is configured.
CREATE TABLE audit_key (
    one     BIGINT PRIMARY KEY CHECK (one = 1),
    seed    BYTEA  NOT NULL CHECK (octet_length(seed) = 32),
    made_at BIGINT NOT NULL CHECK (made_at >= 0)
);
