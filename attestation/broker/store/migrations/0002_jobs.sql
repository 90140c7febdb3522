-- CI systems whose tokens are believed, and the jobs that have redeemed one.

CREATE TABLE issuers (
    url       TEXT    PRIMARY KEY,  -- `iss`
    kind      TEXT    NOT NULL,     -- github, gitlab
    audience  TEXT    NOT NULL,     -- `aud`
    authority BLOB,                 -- X.509, DER: the root of its TLS, where it is not one of the system's
    added     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- A job is whoever redeemed a token for it first: there is never a second session. Tokens are kept as claims.
CREATE TABLE job_sessions (
    id         TEXT    PRIMARY KEY,
    runner_id  INTEGER NOT NULL REFERENCES runners (id),
    issuer     TEXT    NOT NULL,
    job        TEXT    NOT NULL,    -- the issuer's ids for it
    token      TEXT    NOT NULL,    -- `jti`
    claims     TEXT    NOT NULL,    -- JSON
    opened     INTEGER NOT NULL,
    expires    INTEGER NOT NULL,
    ended      INTEGER
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX job_sessions_by_job ON job_sessions (issuer, job);
CREATE UNIQUE INDEX job_sessions_by_token ON job_sessions (issuer, token);

-- A component gets one lease in a job: its neighbours could run it on inputs of their own.
ALTER TABLE leases ADD COLUMN session TEXT REFERENCES job_sessions (id);
CREATE UNIQUE INDEX leases_by_job ON leases (session, component) WHERE session IS NOT NULL;
