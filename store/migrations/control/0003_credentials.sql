-- What programs sign in with, and what they may ask for in a minute. Times are microseconds since 1970, UTC; ids are
-- UUIDs as 16 bytes.

-- A token is known by its keyed hash only. The key of an LMv1 pair is needed itself, to compute signatures with, so it
-- is sealed under the master key `key_id`, which is not in this database. A revoked credential loses its sealed key and
-- stays for a while, so that whoever goes on using it is told by name.
CREATE TABLE credentials (
    id         BLOB PRIMARY KEY CHECK (length(id) = 16),
    account    BLOB NOT NULL REFERENCES accounts (id),
    kind       TEXT NOT NULL CHECK (kind IN ('lmv1', 'bearer', 'api-key')),
    name       TEXT NOT NULL,
    -- The name as it is compared: without case.
    name_key   TEXT NOT NULL,
    access_id  TEXT UNIQUE,
    token_hash BLOB UNIQUE,
    sealed     BLOB,
    key_id     TEXT,
    expires_at INTEGER,
    revoked_at INTEGER,
    created_at INTEGER NOT NULL,
    used_at    INTEGER,
    -- A pair has an access id and the others a token, and never both.
    CHECK ((kind = 'lmv1') = (access_id IS NOT NULL)),
    CHECK ((kind = 'lmv1') = (token_hash IS NULL)),
    -- What is sealed is known with its master key, and it is the key of a pair that is in use.
    CHECK ((sealed IS NULL) = (key_id IS NULL)),
    CHECK ((sealed IS NOT NULL) = (kind = 'lmv1' AND revoked_at IS NULL))
) STRICT;
-- A name is free again once its credential is revoked.
CREATE UNIQUE INDEX credentials_in_use ON credentials (account, name_key) WHERE revoked_at IS NULL;
CREATE INDEX credentials_revoked ON credentials (revoked_at) WHERE revoked_at IS NOT NULL;

-- How much of a customer's budget for an endpoint is given out, by minute. Processes take blocks of it.
CREATE TABLE rate_windows (
    began    INTEGER NOT NULL,
    customer BLOB NOT NULL,
    endpoint TEXT NOT NULL,
    taken    INTEGER NOT NULL,
    PRIMARY KEY (began, customer, endpoint)
) STRICT, WITHOUT ROWID;
