-- Schema version 6: more than one administrator.

-- The version of a key: 1 when it is made, one more with every change by an administrator.
ALTER TABLE keys ADD COLUMN version INTEGER NOT NULL DEFAULT 1;

-- Master keys. Until now there was one, and the wrapped index key says which: a version byte, then its id.
CREATE TABLE master_keys (
    id BLOB PRIMARY KEY CHECK (length(id) = 4),
    -- When this instance first had it.
    created_at INTEGER NOT NULL,
    -- Since when its tokens are refused, for good.
    retired_at INTEGER,
    -- Whether every key that was made under it has been revoked since.
    is_ended INTEGER NOT NULL DEFAULT FALSE
) STRICT, WITHOUT ROWID;

INSERT INTO master_keys (id, created_at)
    SELECT substr(index_key, 2, 4), coalesce((SELECT min(at) FROM audit), 0) FROM instance WHERE length(index_key) >= 5;

-- Which master key the token of a key was made under; NULL is not known.
ALTER TABLE keys ADD COLUMN master_key BLOB;

UPDATE keys SET master_key = (SELECT substr(index_key, 2, 4) FROM instance WHERE length(index_key) >= 5);

CREATE INDEX keys_by_master_key ON keys (master_key);
