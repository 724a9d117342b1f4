-- From version 1 to 2: how often a job was interrupted, and whose it is.
ALTER TABLE job ADD COLUMN interruptions INTEGER NOT NULL DEFAULT 0;
ALTER TABLE job ADD COLUMN holder TEXT;
ALTER TABLE job ADD COLUMN holder_is_own INTEGER NOT NULL DEFAULT 1 CHECK (holder_is_own IN (0, 1));
