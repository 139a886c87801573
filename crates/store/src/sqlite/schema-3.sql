-- Schema version 3: the life cycle of a key, what it may call, and how it is handed over.
--
-- What bounds a key in time stands with its account, because it is checked in the step that grants. `status` stays what no
-- clock has a say in (active, exhausted, revoked); what a key is at a given time follows from it and these columns.

ALTER TABLE accounts ADD COLUMN not_before INTEGER;
ALTER TABLE accounts ADD COLUMN expires_at INTEGER;
ALTER TABLE accounts ADD COLUMN activate_by INTEGER;
ALTER TABLE accounts ADD COLUMN idle_expiry_seconds INTEGER;
-- It is not idle before: when it was made or its bounds were set.
ALTER TABLE accounts ADD COLUMN idle_from INTEGER NOT NULL DEFAULT 0;
-- When it was seen that its time is over; it stays over.
ALTER TABLE accounts ADD COLUMN expired_at INTEGER;
ALTER TABLE accounts ADD COLUMN paused_at INTEGER;
-- When it expires if nothing more happens; follows from the columns above and last_used_at, to be searched for.
ALTER TABLE accounts ADD COLUMN ends_at INTEGER;

ALTER TABLE keys ADD COLUMN paused_reason TEXT;
-- A JSON object as `till_core::scope::Scope` writes it; NULL allows everything.
ALTER TABLE keys ADD COLUMN scope TEXT;
-- How often it may be used; NULL is as often as one likes.
ALTER TABLE keys ADD COLUMN requests_per_minute INTEGER;
ALTER TABLE keys ADD COLUMN tokens_per_minute INTEGER;
ALTER TABLE keys ADD COLUMN concurrent INTEGER;

-- The highest time seen: a clock that is set back does not go below it.
ALTER TABLE instance ADD COLUMN time_seen INTEGER NOT NULL DEFAULT 0;
-- While all keys are stopped, since when and why; NULL otherwise.
ALTER TABLE instance ADD COLUMN stopped_since INTEGER;
ALTER TABLE instance ADD COLUMN stopped_reason TEXT;

-- Keys that wait to be handed over by a link. A row goes when it is claimed or its time is over.
CREATE TABLE claims (
    id BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
    key BLOB NOT NULL REFERENCES keys (id),
    -- The scoped key, encrypted under a secret that only the link has.
    sealed BLOB NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;
CREATE INDEX claims_by_end ON claims (expires_at);
