-- Schema version 5: the journal is folded in pieces, sums catch up in pieces, and fewer blocks of records are of one part.

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

-- A part is first_seq / 2^14 now, so that a piece of a fold changes few pages.
UPDATE usage_block_keys SET part = first_seq >> 14;
