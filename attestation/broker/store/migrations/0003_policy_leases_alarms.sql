-- A policy has groups beside its rules, may wait for a second person, and may call for one from then on.
ALTER TABLE policies ADD COLUMN entities    TEXT    NOT NULL DEFAULT '';
ALTER TABLE policies ADD COLUMN two_persons INTEGER NOT NULL DEFAULT 0;
ALTER TABLE policies ADD COLUMN waiting     INTEGER NOT NULL DEFAULT 0;
ALTER TABLE policies ADD COLUMN applied_by  TEXT    NOT NULL DEFAULT '';
ALTER TABLE policies ADD COLUMN approved_by TEXT;

-- Which algorithms an admin lets an issuer use, of those that it names.
ALTER TABLE issuers ADD COLUMN algorithms TEXT NOT NULL DEFAULT 'RS256 PS256 ES256';

-- A component gets as many leases in a job as policy says: one, unless it says more.
ALTER TABLE leases ADD COLUMN ordinal INTEGER NOT NULL DEFAULT 1;
DROP INDEX leases_by_job;
CREATE UNIQUE INDEX leases_by_job ON leases (session, component, ordinal) WHERE session IS NOT NULL;

-- What heartbeats change, in rows of a few bytes: a machine's worth of them fits a page or two, and ten thousand leases a
-- few dozen. A lease has a row here for as long as it is held.
CREATE TABLE heartbeats (
    number     INTEGER PRIMARY KEY, -- the lease's
    every      INTEGER NOT NULL,    -- seconds
    expires    INTEGER NOT NULL,
    last_seen  INTEGER NOT NULL,
    counter    INTEGER NOT NULL
) STRICT;
ALTER TABLE leases ADD COLUMN number INTEGER;
UPDATE leases SET number = numbered.number
    FROM (SELECT id, row_number() OVER (ORDER BY id) AS number FROM leases) AS numbered WHERE numbered.id = leases.id;
CREATE UNIQUE INDEX leases_by_number ON leases (number);
INSERT INTO heartbeats SELECT number, heartbeat, expires, last_seen, counter FROM leases WHERE state = 'active';
DROP INDEX leases_alive;
ALTER TABLE leases DROP COLUMN last_seen;
ALTER TABLE leases DROP COLUMN counter;
CREATE INDEX leases_alive ON leases (issued) WHERE state = 'active';

-- What a lease holds, so that all leases of a secret can be found.
CREATE TABLE lease_handles (
    lease     TEXT NOT NULL REFERENCES leases (id),
    kind      TEXT NOT NULL, -- secret, key
    resource  TEXT NOT NULL, -- STAGE/NAME
    PRIMARY KEY (kind, resource, lease)
) STRICT, WITHOUT ROWID;

-- Leases that ended while their holder knew nothing of it. Agents are told of each at once; after a day nobody asks.
CREATE TABLE leases_taken (
    sequence   INTEGER PRIMARY KEY AUTOINCREMENT,
    lease      TEXT    NOT NULL,
    runner_id  INTEGER NOT NULL,
    how        TEXT    NOT NULL, -- revoked, lost, job-ended
    at         INTEGER NOT NULL
) STRICT;

-- What somebody should look at. Repetitions within a minute are counted, not repeated.
CREATE TABLE alarms (
    id         TEXT    PRIMARY KEY, -- the audit entry that it is about
    kind       TEXT    NOT NULL,
    subject    TEXT    NOT NULL,
    at         INTEGER NOT NULL,
    times      INTEGER NOT NULL,
    body       TEXT    NOT NULL,    -- JSON
    delivered  INTEGER,             -- when the webhook took it; NULL: not yet
    tries      INTEGER NOT NULL DEFAULT 0,
    next_try   INTEGER NOT NULL,
    failure    TEXT                 -- why the last try went wrong
) STRICT, WITHOUT ROWID;
CREATE INDEX alarms_waiting ON alarms (next_try) WHERE delivered IS NULL;
CREATE INDEX alarms_by_subject ON alarms (kind, subject, at);
CREATE TABLE alarm_counts (
    kind   TEXT    PRIMARY KEY,
    times  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE webhook (
    only_row   INTEGER PRIMARY KEY CHECK (only_row = 1),
    url        TEXT    NOT NULL,
    secret     BLOB    NOT NULL, -- sealed
    authority  BLOB              -- X.509, DER: the root of its TLS, where it is not one of the system's
) STRICT;

-- Leases are timed by a clock that nobody sets: seconds since this machine was booted, and what has to be added to them.
CREATE TABLE lease_clock (
    only_row   INTEGER PRIMARY KEY CHECK (only_row = 1),
    boot       TEXT    NOT NULL, -- which boot
    added      INTEGER NOT NULL, -- milliseconds
    skew       INTEGER NOT NULL, -- seconds by which the wall clock is ahead of it
    seen       INTEGER NOT NULL  -- the latest that it has shown, to ten seconds
) STRICT;
