-- The broker's timestamp authority: one key with its certificates. `sealed` is bound to them: those that somebody else wrote are
-- none.
CREATE TABLE timestamp_authority (
    one          INTEGER PRIMARY KEY CHECK (one = 1),
    root         BLOB    NOT NULL, -- certificate, DER
    certificate  BLOB    NOT NULL, -- of the key that signs, DER
    sealed       BLOB    NOT NULL  -- PKCS #8
) STRICT;
