-- Version 1. A later version has its migration in schema.py.
CREATE TABLE job (
    row INTEGER PRIMARY KEY AUTOINCREMENT,
    job_id BLOB NOT NULL CHECK (length(job_id) = 32),
    -- sha256 of the token; the token itself is never here.
    token_hash BLOB NOT NULL CHECK (length(token_hash) = 32),
    state TEXT NOT NULL CHECK (
        state IN ('QUEUED', 'INITIALIZING', 'RUNNING', 'COMPLETE', 'EXECUTOR_ERROR', 'SYSTEM_ERROR', 'CANCELED')
    ),
    cancelling INTEGER NOT NULL DEFAULT 0 CHECK (cancelling IN (0, 1)),
    -- How often it was started, and how many of those starts the node took back itself.
    attempts INTEGER NOT NULL DEFAULT 0,
    spared INTEGER NOT NULL DEFAULT 0 CHECK (spared <= attempts),
    allowed_attempts INTEGER NOT NULL CHECK (allowed_attempts > 0),
    -- Microseconds since 1970-01-01T00:00:00Z.
    accepted_at INTEGER NOT NULL,
    started_at INTEGER,
    finished_at INTEGER,
    expires_at INTEGER,
    input_bytes INTEGER NOT NULL,
    -- What was set aside of the quota for its outputs while it is live.
    reserved_bytes INTEGER NOT NULL,
    stdout_bytes INTEGER NOT NULL DEFAULT 0,
    stderr_bytes INTEGER NOT NULL DEFAULT 0,
    stdout_digest BLOB,
    stderr_digest BLOB,
    -- Why inputs, outputs and receipt are no longer here. Then the columns below are null.
    gone TEXT CHECK (gone IN ('released', 'expired')),
    manifest BLOB,
    module BLOB,
    -- Where it is to be run: on this node, or by one of the network, whose name is then kept with the result.
    route TEXT NOT NULL CHECK (route IN ('here', 'network')),
    node TEXT,
    directory TEXT UNIQUE,
    outcome TEXT,
    envelope BLOB,
    UNIQUE (job_id, token_hash),
    CHECK ((state IN ('QUEUED', 'INITIALIZING', 'RUNNING')) = (finished_at IS NULL)),
    CHECK ((finished_at IS NULL) = (expires_at IS NULL)),
    CHECK (gone IS NULL OR finished_at IS NOT NULL),
    CHECK ((gone IS NULL) = (manifest IS NOT NULL)),
    CHECK ((gone IS NULL) = (module IS NOT NULL)),
    CHECK ((gone IS NULL) = (directory IS NOT NULL)),
    CHECK ((envelope IS NOT NULL) = (finished_at IS NOT NULL AND gone IS NULL)),
    CHECK ((outcome IS NOT NULL) = (envelope IS NOT NULL))
);
CREATE INDEX job_live ON job (row) WHERE finished_at IS NULL;
CREATE INDEX job_expiry ON job (expires_at) WHERE expires_at IS NOT NULL;
