-- What each runner's kernel has measured since boot, as far as its quotes have vouched for it.
CREATE TABLE measurements (
    runner_id     INTEGER PRIMARY KEY REFERENCES runners (id),
    reset_count   INTEGER NOT NULL, -- which boot
    restart_count INTEGER NOT NULL,
    count         INTEGER NOT NULL, -- entries
    judged_by     INTEGER,          -- version of boot_references
    state         TEXT    NOT NULL  -- JSON: the place, and what reference values say
) STRICT;

-- The list itself, in the parts in which it came.
CREATE TABLE measured_parts (
    runner_id  INTEGER NOT NULL REFERENCES runners (id),
    first      INTEGER NOT NULL, -- number of its first entry
    value      BLOB    NOT NULL, -- what PCR 10 held before it
    bytes      BLOB    NOT NULL  -- compressed, RFC 1950
) STRICT;
CREATE UNIQUE INDEX measured_parts_in_order ON measured_parts (runner_id, first);

-- In which order boots were seen: clocks are set, and a second is long.
ALTER TABLE boots ADD COLUMN sequence INTEGER NOT NULL DEFAULT 0;

-- The token that a job redeemed, by its SHA-256: what is concluded of the job names it.
ALTER TABLE job_sessions ADD COLUMN token_digest BLOB;

-- What a lease was granted to, and what its end showed: `same`, `changed`, `rebooted`, `refused`, `not-allowed`, `not-shown`;
-- NULL: it is held, or was taken.
ALTER TABLE leases ADD COLUMN boot_state    BLOB;
ALTER TABLE leases ADD COLUMN reset_count   INTEGER;
ALTER TABLE leases ADD COLUMN restart_count INTEGER;
ALTER TABLE leases ADD COLUMN closing       TEXT;
