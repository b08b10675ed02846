-- What the server's optimiser keeps between the rounds of a task: first and second moments, each a
-- little-endian 32-bit float a coordinate of the model. It belongs to the adapter that the task
-- stands at and moves in the same transaction.

CREATE TABLE server_optimizers (
    task  BLOB PRIMARY KEY REFERENCES tasks (id),
    state BLOB NOT NULL CHECK (length(state) > 0)
) STRICT;
