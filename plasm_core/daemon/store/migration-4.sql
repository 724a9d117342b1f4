-- From version 4 to 5: jobs with files.
ALTER TABLE job ADD COLUMN tree BLOB;
ALTER TABLE job ADD COLUMN file_bytes INTEGER NOT NULL DEFAULT 0;
