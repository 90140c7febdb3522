-- Reference values, TOML: what machines may have booted. The greatest version is in force.
CREATE TABLE boot_references (
    version    INTEGER PRIMARY KEY AUTOINCREMENT,
    text       TEXT    NOT NULL,
    applied_by TEXT    NOT NULL,
    applied    INTEGER NOT NULL
) STRICT;

-- Evidence by its SHA-256, as it was when it was first verified.
CREATE TABLE evidence (
    digest     BLOB    PRIMARY KEY,
    kind       TEXT    NOT NULL, -- event-log
    bytes      BLOB    NOT NULL, -- compressed, RFC 1950
    added      INTEGER NOT NULL
) STRICT;

-- Clock and counts of each runner's TPM in the quote that was last believed: they never go back.
CREATE TABLE continuity (
    runner_id     INTEGER PRIMARY KEY REFERENCES runners (id),
    clock         INTEGER NOT NULL, -- milliseconds
    reset_count   INTEGER NOT NULL,
    restart_count INTEGER NOT NULL
) STRICT;

-- What each runner has booted, by quotes that were verified, whether or not an admin allows it.
CREATE TABLE boots (
    runner_id  INTEGER NOT NULL REFERENCES runners (id),
    state      BLOB    NOT NULL, -- SHA-256 over the quoted PCRs
    pcrs       BLOB    NOT NULL, -- the selection, three octets, and the values, 32 bytes each, ascending
    event_log  BLOB    REFERENCES evidence (digest),
    firmware   TEXT    NOT NULL, -- of the TPM, 16 hexadecimal digits
    first_seen INTEGER NOT NULL,
    last_seen  INTEGER NOT NULL,
    PRIMARY KEY (runner_id, state)
) STRICT, WITHOUT ROWID;
