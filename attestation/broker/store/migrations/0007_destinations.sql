-- Where a version of a secret may go: JSON, and part of what its value is sealed to.
ALTER TABLE secrets ADD COLUMN destinations TEXT NOT NULL DEFAULT '[]';
-- The lease in which it came to light: it has to be replaced.
ALTER TABLE secrets ADD COLUMN exposed TEXT;
