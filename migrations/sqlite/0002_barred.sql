-- Clients that made a round of a task fail by dealing shares that cannot be combined: they have no
-- part in later rounds of it.
CREATE TABLE barred (
    task   BLOB    NOT NULL REFERENCES tasks (id),
    client INTEGER NOT NULL CHECK (client BETWEEN 0 AND 4294967295),
    -- The round that failed.
    round  BLOB    NOT NULL REFERENCES rounds (id),
    PRIMARY KEY (task, client)
) STRICT;
