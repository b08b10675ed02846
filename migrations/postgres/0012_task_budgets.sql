-- When a task's own privacy budget was found to cover no further round.
--
-- The budget itself stands in the task's settings, and what was spent in audit_releases. The time
-- is set in the transaction that records the spend, and stays: what is spent does not come back.

ALTER TABLE tasks ADD COLUMN exhausted_at BIGINT CHECK (exhausted_at >= 0);
