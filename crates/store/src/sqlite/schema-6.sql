-- Schema version 6: more than one administrator.

-- The version of a key: 1 when it is made, one more with every change by an administrator.
ALTER TABLE keys ADD COLUMN version INTEGER NOT NULL DEFAULT 1;

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
    denials_entered INTEGER NOT NULL
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
