-- Sessions of the operators' page.
--
-- What the browser holds is random and long: its SHA-256 is stored, never the thing itself. A
-- session lives no longer than the admin token that it was opened with.

CREATE TABLE page_sessions (
    hash       BYTEA  PRIMARY KEY CHECK (octet_length(hash) = 32),
    token      BYTEA  NOT NULL REFERENCES tokens (id) ON DELETE CASCADE,
    created_at BIGINT NOT NULL CHECK (created_at >= 0),
    expires_at BIGINT NOT NULL CHECK (expires_at >= created_at)
);
CREATE INDEX page_sessions_by_end ON page_sessions (expires_at);
