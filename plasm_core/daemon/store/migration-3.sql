-- From version 3 to 4: small inputs and outputs are rows.
CREATE TABLE content (
    -- 8 times the job's row, and which: 0 args, 1 env, 2 stdin, 3 stdout, 4 stderr.
    id INTEGER PRIMARY KEY,
    data BLOB NOT NULL
);
