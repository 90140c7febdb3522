-- Times are seconds since 1970. Digests and keys are bytes; what is sealed is sealed with a key that is not
-- in this database.

CREATE TABLE broker (
    only_row      INTEGER PRIMARY KEY CHECK (only_row = 1),
    id            TEXT    NOT NULL,
    created       INTEGER NOT NULL,
    tls_root      BLOB    NOT NULL, -- X.509, DER
    ak_authority  BLOB    NOT NULL, -- X.509, DER
    sealed_keys   BLOB    NOT NULL
) STRICT;

-- Nonces that have been used. Kept until the challenge that held them has expired.
CREATE TABLE nonces (
    nonce    BLOB    PRIMARY KEY,
    expires  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX nonces_by_expiry ON nonces (expires);

CREATE TABLE runners (
    id         INTEGER PRIMARY KEY,
    name       TEXT    NOT NULL,
    endorsed   BLOB    NOT NULL,  -- SHA-256 that stands for the TPM
    certified  INTEGER NOT NULL,  -- whether a trusted root vouches for it
    ak_name    TEXT    NOT NULL UNIQUE,
    ak         BLOB    NOT NULL,  -- TPMT_PUBLIC
    class      TEXT    NOT NULL,
    isolation  TEXT    NOT NULL,
    state      TEXT    NOT NULL,
    enrolled   INTEGER NOT NULL
) STRICT;
-- A name is one runner's until an admin retires it: nobody takes it over by enrolling again.
CREATE UNIQUE INDEX runners_by_name ON runners (name) WHERE state <> 'retired';

CREATE TABLE enrolment_tokens (
    id         BLOB    PRIMARY KEY,
    secret     BLOB    NOT NULL,  -- SHA-256
    runner     TEXT    NOT NULL,
    isolation  TEXT    NOT NULL,
    uncertified_is_approved INTEGER NOT NULL,
    expires    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE enrolments (
    id         TEXT    PRIMARY KEY,
    token      BLOB    NOT NULL,
    endorsed   BLOB    NOT NULL,
    certified  INTEGER NOT NULL,
    ak         BLOB    NOT NULL,
    class      TEXT    NOT NULL,
    isolation  TEXT    NOT NULL,
    proof      BLOB    NOT NULL,  -- SHA-256 of the secret to activate, or the qualifying data to quote
    by_quote   INTEGER NOT NULL,
    expires    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE roots (
    fingerprint  BLOB    PRIMARY KEY, -- SHA-256 of the certificate
    class        TEXT,                -- NULL: an intermediate
    certificate  BLOB    NOT NULL,
    added        INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE secrets (
    stage    TEXT    NOT NULL,
    name     TEXT    NOT NULL,
    version  INTEGER NOT NULL,
    sealed   BLOB    NOT NULL,
    set_at   INTEGER NOT NULL,
    PRIMARY KEY (stage, name, version)
) STRICT, WITHOUT ROWID;

CREATE TABLE policies (
    version  INTEGER PRIMARY KEY,
    text     TEXT    NOT NULL,
    applied  INTEGER NOT NULL
) STRICT;

CREATE TABLE leases (
    id          TEXT    PRIMARY KEY,
    audit       TEXT    NOT NULL,
    runner_id   INTEGER NOT NULL REFERENCES runners (id),
    runner      TEXT    NOT NULL, -- its name then
    stage       TEXT    NOT NULL,
    step        TEXT    NOT NULL,
    component   TEXT    NOT NULL,
    issued      INTEGER NOT NULL,
    expires     INTEGER NOT NULL,
    heartbeat   INTEGER NOT NULL, -- seconds
    last_seen   INTEGER NOT NULL,
    counter     INTEGER NOT NULL,
    sealed_key  BLOB    NOT NULL,
    state       TEXT    NOT NULL, -- active, succeeded, failed, lost, revoked
    ended       INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX leases_alive ON leases (last_seen) WHERE state = 'active';
CREATE INDEX leases_by_runner ON leases (runner_id) WHERE state = 'active';

CREATE TABLE audit (
    sequence  INTEGER PRIMARY KEY AUTOINCREMENT,
    id        TEXT    NOT NULL UNIQUE,
    at        INTEGER NOT NULL,
    kind      TEXT    NOT NULL,
    body      TEXT    NOT NULL -- JSON, as written
) STRICT;
-- The log only grows.
CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'the audit log only grows'); END;
CREATE TRIGGER audit_is_not_deleted BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'the audit log only grows'); END;
