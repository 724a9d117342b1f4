-- From version 2 to 3: what clients have used of their hour.
CREATE TABLE client_use (
    -- A keyed digest.
    name TEXT NOT NULL,
    resource TEXT NOT NULL CHECK (resource IN ('cpu_s', 'upload_bytes')),
    -- At the moment at_s, in seconds since 1970-01-01T00:00:00Z. Below zero is a debt.
    remaining REAL NOT NULL,
    at_s REAL NOT NULL,
    PRIMARY KEY (name, resource)
) WITHOUT ROWID;
