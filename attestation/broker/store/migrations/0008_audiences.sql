-- Whom tokens are minted for, and where they may go. `sealed` is made of the rest with a key that is not in this database: a
-- row that somebody else wrote is none.
CREATE TABLE audiences (
    stage         TEXT    NOT NULL,
    name          TEXT    NOT NULL,
    audience      TEXT    NOT NULL, -- `aud`
    destinations  TEXT    NOT NULL, -- JSON
    sealed        BLOB    NOT NULL,
    set_at        INTEGER NOT NULL,
    PRIMARY KEY (stage, name)
) STRICT, WITHOUT ROWID;

-- The keys that tokens are signed with. Each signs from its time on, until the next does.
CREATE TABLE token_keys (
    id          TEXT    PRIMARY KEY, -- `kid`
    signs_from  INTEGER NOT NULL,
    sealed      BLOB    NOT NULL
) STRICT, WITHOUT ROWID;
