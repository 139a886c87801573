-- Schema version 1.
--
-- Amounts are INTEGER up to 2^63-1 and a big-endian BLOB of 16 bytes above, which only a lying upstream
-- can cause. Times are milliseconds since 1970-01-01 UTC. Ids are 16 bytes. Rows are never deleted,
-- except those of holds that were settled or voided: a revoked key stays as a tombstone.

-- About the store itself: one row.
CREATE TABLE instance (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    id BLOB NOT NULL CHECK (length(id) = 16),
    -- Compared with the witness file at every start.
    incarnation INTEGER NOT NULL,
    nonce BLOB NOT NULL,
    previous_nonce BLOB NOT NULL,
    -- While fenced, why; NULL otherwise.
    fence_reason TEXT,
    fence_store_incarnation INTEGER,
    fence_witness_incarnation INTEGER,
    stopped_clean INTEGER NOT NULL,
    version TEXT NOT NULL,
    -- Wrapped by the master key.
    index_key BLOB
) STRICT;

-- Balances: of keys now, of their ancestors later. In each dimension
-- limit + overrun = free + held + spent + escrowed + burnt; free is not stored, it follows.
CREATE TABLE accounts (
    id BLOB PRIMARY KEY CHECK (length(id) = 16),
    kind TEXT NOT NULL CHECK (kind IN ('key', 'project')),
    activations_limit INTEGER,
    activations_held ANY NOT NULL,
    activations_spent ANY NOT NULL,
    activations_escrowed ANY NOT NULL,
    activations_burnt ANY NOT NULL,
    activations_overrun ANY NOT NULL,
    tokens_limit INTEGER,
    tokens_held ANY NOT NULL,
    tokens_spent ANY NOT NULL,
    tokens_escrowed ANY NOT NULL,
    tokens_burnt ANY NOT NULL,
    tokens_overrun ANY NOT NULL,
    -- Nano-dollars.
    spend_limit INTEGER,
    spend_held ANY NOT NULL,
    spend_spent ANY NOT NULL,
    spend_escrowed ANY NOT NULL,
    spend_burnt ANY NOT NULL,
    spend_overrun ANY NOT NULL,
    -- What follows from the figures and revoked_at, to be searched for.
    status TEXT NOT NULL CHECK (status IN ('active', 'exhausted', 'revoked')),
    revoked_at INTEGER,
    last_used_at INTEGER
) STRICT, WITHOUT ROWID;

-- What is known of a scoped key and never changes. Neither a token nor an upstream key is in it.
CREATE TABLE keys (
    -- Order of creation.
    row INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE REFERENCES accounts (id),
    project TEXT NOT NULL,
    provider TEXT NOT NULL,
    origin TEXT NOT NULL,
    -- A JSON object.
    metadata TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

-- Units set aside whose outcome is not known: open ones of this start, orphans of earlier starts. The
-- units of an orphan are in spent already.
CREATE TABLE holds (
    incarnation INTEGER NOT NULL,
    number INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('open', 'orphan')),
    at INTEGER NOT NULL,
    activations ANY NOT NULL,
    tokens ANY NOT NULL,
    spend ANY NOT NULL,
    -- The debited accounts, the key first: for each a byte (0 key, 1 project) and 16 bytes of id.
    accounts BLOB NOT NULL,
    PRIMARY KEY (incarnation, number)
) STRICT, WITHOUT ROWID;

-- Admin tokens, by the SHA-256 of their text.
CREATE TABLE admin_tokens (
    name TEXT PRIMARY KEY,
    role TEXT NOT NULL,
    hash BLOB NOT NULL CHECK (length(hash) = 32),
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX admin_tokens_by_hash ON admin_tokens (hash);

-- Who did what. Each entry carries the hash of the one before.
CREATE TABLE audit (
    seq INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    actor_kind TEXT NOT NULL,
    actor_id TEXT NOT NULL,
    actor_address TEXT,
    actor_request_id TEXT,
    action TEXT NOT NULL,
    target TEXT NOT NULL,
    -- JSON, byte for byte as it was hashed.
    detail TEXT NOT NULL,
    prev_hash BLOB NOT NULL CHECK (length(prev_hash) = 32),
    hash BLOB NOT NULL CHECK (length(hash) = 32)
) STRICT;

CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit
BEGIN SELECT RAISE (ABORT, 'the audit log is append-only'); END;

CREATE TRIGGER audit_is_not_deleted BEFORE DELETE ON audit
BEGIN SELECT RAISE (ABORT, 'the audit log is append-only'); END;

CREATE TRIGGER keys_are_not_deleted BEFORE DELETE ON keys
BEGIN SELECT RAISE (ABORT, 'a key stays as a tombstone'); END;

-- Denials per key, code and minute since 1970. An empty key collects what exceeded the bound in memory.
CREATE TABLE denials (
    minute INTEGER NOT NULL,
    key BLOB NOT NULL,
    code TEXT NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (minute, key, code)
) STRICT, WITHOUT ROWID;

-- Activations used, per month (year * 12 + month, January being 0), UTC, by the time of the hold.
CREATE TABLE activations_by_month (
    month INTEGER PRIMARY KEY,
    count ANY NOT NULL
) STRICT;
