-- The control tables: the one exception to "the log is the truth". Times are microseconds since 1970, UTC; ids are
-- UUIDs as 16 bytes.

-- One row. `secret` keys the hashes of remembered credentials and of sign-in cookies; it never leaves this table.
CREATE TABLE installation (
    one        INTEGER PRIMARY KEY CHECK (one = 1),
    secret     BLOB NOT NULL,
    -- The log that `known_ids` speaks of.
    log        BLOB,
    created_at INTEGER NOT NULL
) STRICT;

-- `name_key` is the name as it is compared: without case.
CREATE TABLE customers (
    id         BLOB PRIMARY KEY CHECK (length(id) = 16),
    name       TEXT NOT NULL,
    name_key   TEXT NOT NULL UNIQUE,
    time_zone  TEXT NOT NULL DEFAULT 'UTC',
    created_at INTEGER NOT NULL
) STRICT;

-- `number` is what LogicMonitor's descriptions call adminId. An account is never deleted, so that its number and id
-- are never given to somebody else.
CREATE TABLE accounts (
    number        INTEGER PRIMARY KEY AUTOINCREMENT,
    id            BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
    customer      BLOB NOT NULL REFERENCES customers (id),
    email         TEXT NOT NULL,
    email_key     TEXT NOT NULL UNIQUE,
    password_hash TEXT NOT NULL,
    -- Grows with each change of the password or of `disabled_at`: remembered credentials and sign-ins carry it.
    version       INTEGER NOT NULL DEFAULT 1,
    disabled_at   INTEGER,
    created_at    INTEGER NOT NULL
) STRICT;

CREATE TABLE grants (
    account    BLOB NOT NULL REFERENCES accounts (id),
    customer   BLOB NOT NULL REFERENCES customers (id),
    permission TEXT NOT NULL,
    granted_at INTEGER NOT NULL,
    PRIMARY KEY (account, customer, permission)
) STRICT, WITHOUT ROWID;

-- A sign-in is known by the keyed hash of its cookie only. `public_id` is what events and LogicMonitor show.
CREATE TABLE sign_ins (
    token_hash      BLOB PRIMARY KEY,
    public_id       TEXT NOT NULL UNIQUE,
    account         BLOB NOT NULL REFERENCES accounts (id),
    account_version INTEGER NOT NULL,
    created_at      INTEGER NOT NULL,
    used_at         INTEGER NOT NULL
) STRICT;
CREATE INDEX sign_ins_by_used ON sign_ins (used_at);

-- Events written in the transaction of the change that they tell of. The relay appends them under this id and then
-- removes them.
CREATE TABLE outbox (
    sequence   INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id   BLOB NOT NULL UNIQUE,
    topic      TEXT NOT NULL,
    key        TEXT NOT NULL,
    value      BLOB NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

-- Ids of imported events and repeated requests that are durably in the log.
CREATE TABLE known_ids (
    customer BLOB NOT NULL,
    event_id BLOB NOT NULL,
    PRIMARY KEY (customer, event_id)
) STRICT, WITHOUT ROWID;

-- Which generation of a view is read. At most one per view is active and at most one is being built.
CREATE TABLE generations (
    view         TEXT NOT NULL,
    generation   INTEGER NOT NULL,
    version      INTEGER NOT NULL,
    state        TEXT NOT NULL CHECK (state IN ('building', 'active', 'retired')),
    created_at   INTEGER NOT NULL,
    activated_at INTEGER,
    PRIMARY KEY (view, generation)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX generations_active ON generations (view) WHERE state = 'active';
CREATE UNIQUE INDEX generations_building ON generations (view) WHERE state = 'building';
