-- Schema version 4: units counted out ahead.

-- A hold for one call, or an escrow: one for calls to come, of which so many were settled. Its units are in the escrowed
-- amounts of its accounts, and in spent once it is an orphan.
ALTER TABLE holds ADD COLUMN kind TEXT NOT NULL DEFAULT 'call' CHECK (kind IN ('call', 'escrow'));
ALTER TABLE holds ADD COLUMN settled INTEGER NOT NULL DEFAULT 0;

-- Whether calls of the key may be granted out of an escrow ('ahead') or each needs a hold ('call').
ALTER TABLE keys ADD COLUMN durability TEXT NOT NULL DEFAULT 'ahead' CHECK (durability IN ('ahead', 'call'));
