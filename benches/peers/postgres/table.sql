-- Audit events in one table, with the indexes that the questions ask for, made after the rows are in.
CREATE EXTENSION IF NOT EXISTS pg_trgm;
SET client_min_messages = warning;
DROP SCHEMA IF EXISTS peer CASCADE;
CREATE SCHEMA peer;
CREATE TABLE peer.events (
    event_id uuid NOT NULL,
    customer uuid NOT NULL,
    at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL,
    actor uuid NOT NULL,
    account text COLLATE "C" NOT NULL,
    action text COLLATE "C" NOT NULL,
    category text NOT NULL,
    severity smallint NOT NULL,
    address inet,
    entity_type text NOT NULL,
    entity text,
    description text NOT NULL,
    -- What searches look through: description, account and address in small letters.
    text text NOT NULL
);
