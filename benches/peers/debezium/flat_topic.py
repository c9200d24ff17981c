"""The peer's topic: events with a field per column, framed by the schema registry. Runs in the clients' `.venv`.

    flat_topic.py make TOPIC PARTITIONS FILE      registers event.avsc, makes the topic, publishes the rows of FILE
    flat_topic.py remove TOPIC

FILE has rows as COPY writes them, in the order of the schema's fields. ANNALS_KAFKA and ANNALS_REGISTRY say where.
"""

import io
import json
import os
import re
import struct
import sys
import urllib.request
from pathlib import Path

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from fastavro import parse_schema, schemaless_writer

SCHEMA = Path(__file__).resolve().parent / "event.avsc"
ESCAPES = {"\\b": "\b", "\\f": "\f", "\\n": "\n", "\\r": "\r", "\\t": "\t", "\\v": "\v", "\\\\": "\\"}
POLL_EVERY = 5_000


def register(registry, topic, schema):
    """The id under which the registry knows the schema."""
    request = urllib.request.Request(
        f"{registry}/subjects/{topic}-value/versions", json.dumps({"schema": schema}).encode(),
        {"Content-Type": "application/vnd.schemaregistry.v1+json"})
    # Straight to the server, whatever proxy the environment names.
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as answer:
        return json.load(answer)["id"]


def value(text):
    """A field as COPY writes it: a backslash begins an escape, and `\\N` alone is NULL."""
    if "\\" not in text:
        return text
    return None if text == "\\N" else re.sub(r"\\.", lambda found: ESCAPES[found[0]], text)


def make(topic, partitions, file):
    kafka, registry = os.environ["ANNALS_KAFKA"], os.environ["ANNALS_REGISTRY"]
    text = SCHEMA.read_text()
    schema = parse_schema(json.loads(text))
    numbers = [field["name"] for field in schema["fields"] if field["type"] == "long"]
    names = [field["name"] for field in schema["fields"]]
    head = struct.pack(">bI", 0, register(registry, topic, text))
    # A client that is still named: one that is thrown away takes its answer with it.
    admin = AdminClient({"bootstrap.servers": kafka})
    admin.create_topics([NewTopic(topic, num_partitions=int(partitions))])[topic].result(60)
    failed = []
    producer = Producer({
        "bootstrap.servers": kafka, "acks": "all", "linger.ms": 50, "batch.size": 1 << 20,
        "queue.buffering.max.messages": 200_000,
        "on_delivery": lambda error, _message: error and failed.append(error),
    })
    with open(file, encoding="utf-8", newline="\n") as rows:
        for number, line in enumerate(rows, 1):
            record = dict(zip(names, map(value, line.rstrip("\n").split("\t")), strict=True))
            for name in numbers:
                record[name] = int(record[name])
            body = io.BytesIO()
            body.write(head)
            schemaless_writer(body, schema, record)
            # The key is ours: an actor's events stand in one partition.
            producer.produce(topic, body.getvalue(), key=f"{record['customer']}/{record['actor_id']}")
            if number % POLL_EVERY == 0:
                while len(producer) > 100_000:
                    producer.poll(0.1)
                producer.poll(0)
    if producer.flush(120) or failed:
        sys.exit(f"events were not published: {failed[:1]}")


def remove(topic):
    admin = AdminClient({"bootstrap.servers": os.environ["ANNALS_KAFKA"]})
    admin.delete_topics([topic])[topic].result(60)


if __name__ == "__main__":
    {"make": make, "remove": remove}[sys.argv[1]](*sys.argv[2:])
