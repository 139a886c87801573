-- Schema version 5: the journal is folded in pieces, sums catch up in pieces, and which blocks have records of a key is kept
-- in lists.

-- How far the rows of the journal are in the tables: one row. Written in the transaction that brings them there.
CREATE TABLE journal_mark (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    -- Everything that rows up to this number say is in the tables. They may be deleted; the next one has the next number.
    folded INTEGER NOT NULL,
    -- Of the records of calls in the rows after it, in order, so many are in blocks already.
    recorded INTEGER NOT NULL
) STRICT;

INSERT INTO journal_mark (one, folded, recorded) VALUES (1, 0, 0);

-- While usage_sums is brought up to the record of this number: the sums of keys up to this one have it already, the others
-- are at `summed`. NULL when all are.
ALTER TABLE usage_numbers ADD COLUMN summing INTEGER;
ALTER TABLE usage_numbers ADD COLUMN summing_key BLOB;

-- Which blocks have records of a key: lists instead of a row for each key and block. Written for 2^14 numbers of blocks at
-- once, a *part*, when it gets no more blocks. A key is in one of 64 lists of each part.
DROP TABLE usage_block_keys;

CREATE TABLE usage_block_keys (
    -- first_seq / 2^14.
    part INTEGER NOT NULL,
    list INTEGER NOT NULL,
    -- As `sqlite/block_index.rs` writes it.
    entries BLOB NOT NULL,
    PRIMARY KEY (part, list)
) STRICT, WITHOUT ROWID;

-- Parts below this one have lists. Those of the blocks that there are follow (`sqlite/migration.rs`).
ALTER TABLE usage_numbers ADD COLUMN listed INTEGER NOT NULL DEFAULT 0;
