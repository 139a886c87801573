-- Schema version 3: what a key may call.
--
-- A JSON object as `till_core::scope::Scope` writes it; NULL allows everything.

ALTER TABLE keys ADD COLUMN scope TEXT;
