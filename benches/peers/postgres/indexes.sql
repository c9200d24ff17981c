ALTER TABLE peer.events ADD PRIMARY KEY (event_id);
CREATE INDEX ON peer.events (at);
CREATE INDEX ON peer.events (customer, at);
CREATE INDEX ON peer.events (action, at);
CREATE INDEX ON peer.events (account, at);
CREATE INDEX ON peer.events (address, at);
CREATE INDEX ON peer.events (entity, at);
CREATE INDEX ON peer.events USING gin (text gin_trgm_ops);
VACUUM ANALYZE peer.events;
