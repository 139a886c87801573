-- Schema version 7: sums of denials.

-- How often a key was denied for a reason, per day, UTC: days since 1970-01-01. An empty key collects what was counted under no key.
CREATE TABLE denial_sums (
    day INTEGER NOT NULL,
    key BLOB NOT NULL,
    code TEXT NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (day, key, code)
) STRICT, WITHOUT ROWID;
CREATE INDEX denial_sums_by_key ON denial_sums (key, day);

INSERT INTO denial_sums SELECT minute / 1440, key, code, sum(count) FROM denials GROUP BY 1, 2, 3;
