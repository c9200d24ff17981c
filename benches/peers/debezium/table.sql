-- The table that a user of the sink would make: texts as they come, found again by time, by account and by action.
-- Times are microseconds: the sink's arrays cannot carry its own types of times ("date/time field value out of range").
CREATE TABLE events (
    event_id uuid PRIMARY KEY,
    customer text NOT NULL,
    occurred_at bigint NOT NULL,
    recorded_at bigint NOT NULL,
    actor_kind text NOT NULL,
    actor_id text NOT NULL,
    account text NOT NULL,
    action text NOT NULL,
    category text NOT NULL,
    severity text NOT NULL,
    address text,
    entity_type text NOT NULL,
    entity_id text,
    description text NOT NULL
);
CREATE INDEX events_by_time ON events (customer, occurred_at);
CREATE INDEX events_by_account ON events (customer, account, occurred_at);
CREATE INDEX events_by_action ON events (customer, action, occurred_at);
