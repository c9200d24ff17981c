-- What many processes on one log and store need. Times are microseconds since 1970, UTC; ids are UUIDs as 16 bytes.

-- Which incarnation of each topic `known_ids` speaks of. It was one for the whole log before, in `installation.log`.
CREATE TABLE log_topics (
    topic       TEXT PRIMARY KEY,
    incarnation BLOB NOT NULL CHECK (length(incarnation) = 16)
) STRICT, WITHOUT ROWID;

INSERT INTO log_topics (topic, incarnation)
SELECT topics.column1, log FROM installation, (VALUES ('annals.audit'), ('annals.host-logons')) AS topics
WHERE log IS NOT NULL;

-- The processes that are at work, as `annals status` shows them.
CREATE TABLE members (
    id         BLOB PRIMARY KEY CHECK (length(id) = 16),
    roles      TEXT NOT NULL,
    host       TEXT NOT NULL,
    process    INTEGER NOT NULL,
    version    TEXT NOT NULL,
    -- What each of its consumers is doing, as JSON.
    detail     TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    seen_at    INTEGER NOT NULL
) STRICT;

-- Work that one process does at a time, for as long as it goes on saying so.
CREATE TABLE leases (
    name   TEXT PRIMARY KEY,
    holder BLOB NOT NULL,
    until  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
