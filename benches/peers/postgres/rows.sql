SELECT e.event_id, c.customer, e.at, e.recorded_at, a.actor, a.account, x.name, x.category, x.severity, d.address,
    x.entity_type, n.entity, e.description, lower(concat_ws(' ', e.description, a.account, host(d.address)))
FROM events e JOIN customers c ON c.id = e.customer JOIN actors a ON a.id = e.actor
    JOIN actions x ON x.id = e.action LEFT JOIN addresses d ON d.id = e.address
    LEFT JOIN entities n ON n.id = e.entity
ORDER BY e.partition, e."offset"
