"""Apache Kafka, a schema registry and PostgreSQL as plain processes on loopback ports, for development and tests.

Read in this order: `plan` (what a set of servers is and how it is remembered), `kafka`, `registry`, `postgres` (one
server each), then `processes`, `ports`, `packages` and `certificates` (what they stand on).
"""
