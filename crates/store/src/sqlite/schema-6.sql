-- Schema version 6: more than one administrator.

-- The version of a key: 1 when it is made, one more with every change by an administrator.
ALTER TABLE keys ADD COLUMN version INTEGER NOT NULL DEFAULT 1;
-- The member or admin token that made it, if that is known.
ALTER TABLE keys ADD COLUMN maker TEXT;
-- Name of the upstream credential that it uses; NULL for a key that has its own.
ALTER TABLE keys ADD COLUMN credential TEXT;
-- What it was asked for with, if the request can be repeated: a hash.
ALTER TABLE keys ADD COLUMN request BLOB;

CREATE INDEX keys_by_project ON keys (project, row);
CREATE INDEX keys_by_maker ON keys (maker, row) WHERE maker IS NOT NULL;
CREATE INDEX keys_by_credential ON keys (credential, row) WHERE credential IS NOT NULL;

-- What administrators keep besides keys: projects, members, admin tokens, upstream credentials, sessions.
CREATE TABLE entities (
    -- Order of creation.
    row INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    -- The project that it belongs to; NULL for the whole instance.
    project TEXT,
    version INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    -- It is not deleted, so that its id is not used again.
    ended_at INTEGER,
    used_at INTEGER,
    -- A JSON object as `entity.rs` has it. Secrets are in it only hashed, or sealed by the master key.
    body TEXT NOT NULL,
    UNIQUE (kind, id)
) STRICT;

-- Other ways to find them: the hash of a token, of a login name.
CREATE TABLE entity_lookups (
    kind TEXT NOT NULL,
    hash BLOB NOT NULL CHECK (length(hash) = 32),
    id TEXT NOT NULL,
    -- It does not lead there any more from then on.
    until INTEGER,
    PRIMARY KEY (kind, hash)
) STRICT, WITHOUT ROWID;

CREATE INDEX entity_lookups_by_id ON entity_lookups (kind, id);

-- Projects and upstream credentials that have ended, and whose keys are being revoked.
CREATE TABLE endings (
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    PRIMARY KEY (kind, id)
) STRICT, WITHOUT ROWID;

INSERT INTO entities (kind, id, project, version, created_at, updated_at, body)
VALUES ('project', 'default', NULL, 1, 0, 0, '{"name":"default","policy":{}}');

INSERT INTO entities (kind, id, project, version, created_at, updated_at, body)
SELECT 'token', name, NULL, 1, created_at, created_at, json_object('name', name, 'role', role) FROM admin_tokens;

INSERT INTO entity_lookups (kind, hash, id) SELECT 'token', hash, name FROM admin_tokens;

DROP TABLE admin_tokens;

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

-- The audit log: signed checkpoints, where it starts, and denials under its chain.

-- Public keys that signed, each entered in the log when it first did.
CREATE TABLE audit_keys (
    id BLOB PRIMARY KEY CHECK (length(id) = 8),
    public_key BLOB NOT NULL CHECK (length(public_key) = 32)
) STRICT, WITHOUT ROWID;

-- Signed statements of where the log stood: `till_core::audit::Checkpoint`.
CREATE TABLE audit_checkpoints (
    seq INTEGER PRIMARY KEY,
    hash BLOB NOT NULL CHECK (length(hash) = 32),
    at INTEGER NOT NULL,
    key_id BLOB NOT NULL REFERENCES audit_keys (id),
    signature BLOB NOT NULL CHECK (length(signature) = 64)
) STRICT;

-- How far the log was deleted by age, and how far denials are in it: one row.
CREATE TABLE audit_marks (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    -- Entries up to this one are deleted, or are about to be: nobody reads them. It has a checkpoint. 0 when there are all.
    anchor INTEGER NOT NULL,
    -- Rows of `denials` up to this minute are in the log, and may be deleted.
    denials_entered INTEGER NOT NULL,
    -- Hashes of the settings of the last start: what its entry says, for when that is deleted by age.
    settings TEXT
) STRICT;

INSERT INTO audit_marks (one, anchor, denials_entered) VALUES (1, 0, 0);

DROP TRIGGER audit_is_not_deleted;

CREATE TRIGGER audit_is_not_deleted BEFORE DELETE ON audit
WHEN OLD.seq > (SELECT anchor FROM audit_marks)
BEGIN SELECT RAISE (ABORT, 'the audit log is append-only'); END;

-- Also what replaces an entry: that fires no trigger for deletions.
CREATE TRIGGER audit_has_no_gaps BEFORE INSERT ON audit
WHEN NEW.seq != coalesce((SELECT max(seq) FROM audit), (SELECT anchor FROM audit_marks)) + 1
BEGIN SELECT RAISE (ABORT, 'the audit log is append-only'); END;

CREATE TRIGGER audit_anchor_has_a_checkpoint BEFORE UPDATE OF anchor ON audit_marks
WHEN NEW.anchor < OLD.anchor
    OR NEW.anchor > OLD.anchor AND NOT EXISTS (
        SELECT 1 FROM audit_checkpoints c JOIN audit a ON a.seq = c.seq AND a.hash = c.hash WHERE c.seq = NEW.anchor)
BEGIN SELECT RAISE (ABORT, 'the audit log starts behind a checkpoint'); END;

CREATE TRIGGER audit_marks_are_not_deleted BEFORE DELETE ON audit_marks
BEGIN SELECT RAISE (ABORT, 'the audit log is append-only'); END;

CREATE TRIGGER audit_marks_are_not_replaced BEFORE INSERT ON audit_marks
BEGIN SELECT RAISE (ABORT, 'the audit log is append-only'); END;

CREATE TRIGGER audit_checkpoints_are_not_changed BEFORE UPDATE ON audit_checkpoints
BEGIN SELECT RAISE (ABORT, 'the audit log is append-only'); END;

CREATE TRIGGER audit_checkpoints_are_not_replaced BEFORE INSERT ON audit_checkpoints
WHEN NEW.seq <= (SELECT max(seq) FROM audit_checkpoints)
BEGIN SELECT RAISE (ABORT, 'the audit log is append-only'); END;

CREATE TRIGGER audit_checkpoints_are_not_deleted BEFORE DELETE ON audit_checkpoints
WHEN OLD.seq >= (SELECT anchor FROM audit_marks)
BEGIN SELECT RAISE (ABORT, 'the audit log is append-only'); END;

CREATE TRIGGER audit_keys_are_not_changed BEFORE UPDATE ON audit_keys
BEGIN SELECT RAISE (ABORT, 'the audit log is append-only'); END;

CREATE TRIGGER audit_keys_are_not_deleted BEFORE DELETE ON audit_keys
BEGIN SELECT RAISE (ABORT, 'the audit log is append-only'); END;

CREATE TRIGGER audit_keys_are_not_replaced BEFORE INSERT ON audit_keys
WHEN EXISTS (SELECT 1 FROM audit_keys WHERE id = NEW.id)
BEGIN SELECT RAISE (ABORT, 'the audit log is append-only'); END;

CREATE INDEX audit_by_target ON audit (target, seq);
CREATE INDEX audit_by_action ON audit (action, seq);
CREATE INDEX audit_by_actor ON audit (actor_id, seq);

-- The project that an entry is about: its own, or the one that its detail names.
ALTER TABLE audit ADD COLUMN project TEXT GENERATED ALWAYS AS (
    CASE WHEN action >= 'project.' AND action < 'project/' THEN target
         WHEN json_valid(detail) THEN json_extract(detail, '$.project') END
) VIRTUAL;
CREATE INDEX audit_by_project ON audit (project, seq);

-- usage_sums leaves out a damaged block whose newest record is of this time; NULL when there was none.
ALTER TABLE usage_numbers ADD COLUMN lost_until INTEGER;
