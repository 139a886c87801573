-- Schema version 6: more than one administrator.

-- The version of a key: 1 when it is made, one more with every change by an administrator.
ALTER TABLE keys ADD COLUMN version INTEGER NOT NULL DEFAULT 1;
