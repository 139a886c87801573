-- Schema version 4: a journal in front of the tables, records in blocks, and units counted out ahead.
--
-- What calls change all the time is written as one row of the journal per transaction. About once a second, before it is
-- read, and at every stop and start, the rows of the journal are folded into the tables and deleted in one transaction.

CREATE TABLE journal (
    -- 1 for the first one after a fold, without a gap.
    seq INTEGER PRIMARY KEY,
    -- As `sqlite/journal.rs` writes it: a version, what changed, a checksum.
    entry BLOB NOT NULL
) STRICT;

-- Records of calls, hundreds of them in a row, in the order in which they were written. Their times are nearly in order.
CREATE TABLE usage_blocks (
    -- Not above the number of its first record, and above those of every record in blocks before.
    first_seq INTEGER PRIMARY KEY,
    last_seq INTEGER NOT NULL,
    at_min INTEGER NOT NULL,
    at_max INTEGER NOT NULL,
    count INTEGER NOT NULL,
    -- As `sqlite/block.rs` writes it.
    records BLOB NOT NULL
) STRICT;

CREATE INDEX usage_blocks_by_time ON usage_blocks (at_min);

-- Which blocks have records of a key. The blocks are told apart by part: what is written is then near to what was written
-- before, however many records there are. A key has to be looked for in every part.
CREATE TABLE usage_block_keys (
    -- first_seq / 2^18.
    part INTEGER NOT NULL,
    key BLOB NOT NULL CHECK (length(key) = 16),
    first_seq INTEGER NOT NULL,
    PRIMARY KEY (part, key, first_seq)
) STRICT, WITHOUT ROWID;

-- About the numbers of records: one row.
CREATE TABLE usage_numbers (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    -- The highest one, also if its record is deleted.
    last INTEGER NOT NULL,
    -- usage_sums has the records up to this one; those after it are added by whoever reads the sums.
    summed INTEGER NOT NULL
) STRICT;

INSERT INTO usage_numbers (one, last, summed)
SELECT 1, last, last FROM (
    SELECT max(coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'usage_records'), 0),
               coalesce((SELECT max(seq) FROM usage_records), 0)) AS last
);

-- A hold for one call, or an escrow: one for calls to come, of which so many were settled. Its units are in the escrowed
-- amounts of its accounts, and in spent once it is an orphan.
ALTER TABLE holds ADD COLUMN kind TEXT NOT NULL DEFAULT 'call' CHECK (kind IN ('call', 'escrow'));
ALTER TABLE holds ADD COLUMN settled INTEGER NOT NULL DEFAULT 0;

-- Whether calls of the key may be granted out of an escrow ('ahead') or each needs a hold ('call').
ALTER TABLE keys ADD COLUMN durability TEXT NOT NULL DEFAULT 'ahead' CHECK (durability IN ('ahead', 'call'));

-- The rows of usage_records follow as blocks; then the table goes (`sqlite/migration.rs`).
