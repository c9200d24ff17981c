"""Other people's programs on the same log: a producer and a consumer that know Kafka, Avro and registries, not annals.

One log is written with a registry, and PostgreSQL beside it; another without one, and SQLite beside it.
"""

import datetime
import json
import re
import subprocess
import sys
import uuid
from dataclasses import dataclass

import confluent_kafka
import pytest

import avro_records as avro
import engines
from conftest import Site
from datasets import PROJECT
from generated import write_lines
from program import until

on_servers = pytest.mark.only("shared", "other programs meet annals in Kafka")

HOST = "GATE.plant.example"
AUDIT, HOST_LOGONS = "annals.audit", "annals.host-logons"


def documented_program():
    """The producer that the documentation shows."""
    text = (PROJECT / "docs/events.md").read_text()
    (program,) = re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return program


@dataclass
class Log:
    """A log in Kafka with a site on it, and another program's ways to both."""

    servers: str
    registry: avro.Registry
    prefix: str
    site: Site
    customer: uuid.UUID

    def append(self, topic, key, *values, headers=None):
        """Appends as a careful producer does; gives the partitions that the values went to."""
        producer = confluent_kafka.Producer(
            {
                "bootstrap.servers": self.servers,
                "partitioner": "murmur2_random",
                "enable.idempotence": True,
                "acks": "all",
            }
        )
        partitions = []

        def delivered(error, message):
            assert error is None, error
            partitions.append(message.partition())

        for value in values:
            producer.produce(self.prefix + topic, key=key, value=value, headers=headers, on_delivery=delivered)
        assert producer.flush(30) == 0
        return partitions

    def read(self, *topics):
        """Every record of these topics, up to where they end now."""
        consumer = confluent_kafka.Consumer(
            {
                "bootstrap.servers": self.servers,
                "group.id": f"foreign-{uuid.uuid4()}",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
            }
        )
        try:
            known = consumer.list_topics(timeout=30).topics
            begin = confluent_kafka.OFFSET_BEGINNING
            open_ones = {
                (name, number)
                for name in (self.prefix + topic for topic in topics)
                for number in known[name].partitions
            }
            consumer.assign([confluent_kafka.TopicPartition(name, number, begin) for name, number in open_ones])
            records = []
            while open_ones:
                message = consumer.poll(30)
                assert message is not None, f"no more records, and no end of {open_ones}"
                if message.error() is None:
                    records.append(message)
                elif message.error().code() == confluent_kafka.KafkaError._PARTITION_EOF:
                    open_ones.discard((message.topic(), message.partition()))
                else:
                    raise confluent_kafka.KafkaException(message.error())
            return records
        finally:
            consumer.close()

    def shown(self, **filters):
        """The one audit event that papi shows for these filters, once it does."""
        client = self.site.sign_in()
        (event,) = until(lambda: client.events(**filters), f"an event with {filters} is shown")
        return event


@pytest.fixture(scope="module")
def new_log(new_annals, new_site, tmp_path_factory):
    """Makes logs with imported records in them, written by annals, each with a server on it."""
    made = []
    record = {
        "EventID": 4624,
        "Channel": "Security",
        "Hostname": HOST,
        "TimeCreated": "2021-05-06T07:08:09.123456Z",
        "TargetUserName": "ada",
        "TargetDomainName": "PLANT",
        "TargetUserSid": "S-1-5-21-1-2-3-1100",
        "TargetLogonId": "0x1234",
        "LogonType": 3,
        "IpAddress": "192.0.2.77",
    }
    lines = tmp_path_factory.mktemp("records") / "windows.jsonl"
    write_lines(lines, [record])

    def make(store, registry):
        annals = new_annals("foreign", bus=engines.Kafka, store=store, registry=registry)
        made.append(annals)
        site = new_site(
            annals=annals,
            before_serving=lambda annals, customer: annals.import_files("windows-security", customer, lines),
        )
        customers = json.loads(annals.run("customer", "list", "--json").stdout)
        (customer,) = (customer["id"] for customer in customers if customer["name"] == site.customer)
        known = avro.Registry(engines.registry())
        return Log(annals.bus.servers, known, annals.bus.prefix, site, uuid.UUID(customer))

    yield make
    for annals in made:
        annals.close()


@pytest.fixture(scope="module")
def log(new_log):
    """A log that annals writes with a registry."""
    return new_log(engines.Postgres, engines.registry())


@pytest.fixture(scope="module")
def bare(new_log):
    """A log that annals writes without a registry."""
    return new_log(None, None)


def login(customer, account):
    """A sign-in somewhere else: key and event."""
    actor = uuid.uuid5(customer, account)
    event = {
        "meta": avro.meta(customer, "portal_account", actor),
        "account_number": 41,
        "personal": avro.personal(account=account, address="192.0.2.41"),
    }
    return f"{customer}/{actor}", event


@pytest.mark.parametrize("name, event, body", [pytest.param(*each, id=each[0]) for each in avro.golden()])
def test_another_library_writes_the_same_bytes(name, event, body):
    """The golden events in fastavro, byte for byte."""
    event_type, version = name.split(".v")
    assert avro.body(avro.schema_file(event_type, version), event) == body


def test_the_documented_producer_is_a_program():
    """As far as that shows without servers."""
    compile(documented_program(), "docs/events.md", "exec")


def assert_login(log, account):
    """The sign-in is shown, as ours are."""
    shown = log.shown(accounts=account)
    assert shown["event_name"] == "SUCCESSFUL_LOGIN"
    assert shown["event_category"] == "authentication"
    assert shown["event_severity"] == "INFO"
    assert shown["src_ip"] == "192.0.2.41"
    assert shown["account"] == account
    assert shown["customer"] == log.site.customer


@on_servers
@pytest.mark.parametrize("framing", ["registry", "single-object"])
def test_a_foreign_login_is_shown_like_ours(log, framing):
    """papi does not tell who appended an event."""
    account = f"eve-{framing}@example.com"
    key, event = login(log.customer, account)
    if framing == "registry":
        schema_id, schema = log.registry.latest(f"{log.prefix}{AUDIT}-annals.LoginSucceeded")
        assert schema == avro.schema_file("LoginSucceeded")
        value = log.registry.frame(schema_id, schema, event)
    else:
        value = avro.in_single_object(avro.schema_file("LoginSucceeded"), event)
    # Twice: the same id is the same event.
    log.append(AUDIT, key, value, value)
    assert_login(log, account)


@on_servers
def test_a_schema_of_ones_own_is_enough(log):
    """Another order of fields, one field more and one less, under a subject of somebody else's."""
    schema = avro.schema_file("ActionRecorded")
    schema["fields"] = [field for field in schema["fields"] if field["name"] != "entity_type"][::-1]
    schema["fields"].append({"name": "shift", "type": ["null", "string"], "default": None})
    schema_id = log.registry.register(f"acme-{log.prefix}actions-value", schema)
    actor = uuid.uuid5(log.customer, "guard")
    event = {
        "meta": avro.meta(log.customer, "unknown", actor),
        "action": "DOOR_OPENED",
        "category": "doors",
        "severity": "WARNING",
        "count": 1,
        "personal": avro.personal(account="guard", entity_id="north gate", text="The north gate was opened."),
        "shift": "night",
    }
    log.append(AUDIT, f"{log.customer}/{actor}", log.registry.frame(schema_id, schema, event))
    shown = log.shown(action_types="DOOR_OPENED")
    assert (shown["event_category"], shown["event_severity"]) == ("doors", "WARNING")
    # An object without a type is not shown as one.
    assert (shown["account"], shown["entity_type"], shown["entity_id"]) == ("guard", None, None)


@on_servers
def test_a_foreign_logon_stands_in_the_partition_of_ours(log):
    """One host is one partition, whoever appends; and the logon is among the users logged on."""
    schema_id, schema = log.registry.latest(f"{log.prefix}{HOST_LOGONS}-annals.HostLoggedOn")
    key = f"{log.customer}/{HOST.lower()}"
    actor = uuid.uuid5(log.customer, "PLANT\\GRACE")
    event = {
        "meta": avro.meta(log.customer, "host_account", actor, source=f"urn:windows:{HOST}"),
        "host": HOST,
        "logon_id": "0x9876",
        "logon_type": 10,
        "identity": "person",
        "personal": avro.personal(account="grace", qualified_account="PLANT\\grace", address="192.0.2.78"),
    }
    (partition,) = log.append(HOST_LOGONS, key, log.registry.frame(schema_id, schema, event))
    of_host = [record for record in log.read(HOST_LOGONS) if record.key() == key.encode()]
    assert len(of_host) == 2 and {record.partition() for record in of_host} == {partition}
    shown = log.shown(accounts="grace")
    assert (shown["event_name"], shown["entity_id"]) == ("HOST_LOGON", HOST)
    users = until(lambda: log.site.sign_in().users("192.0.2.78"), "the user is shown as logged on")
    assert "grace" in json.dumps(users)


def assert_ours(log, decode):
    """What annals appended, imported and by the outbox, is decoded by a foreign consumer; and what the headers say."""
    account = log.site.administrator
    until(lambda: log.site.sign_in().events(accounts=account, action_types="SUCCESSFUL_LOGIN"), "the sign-in is shown")
    ours = [record for record in log.read(AUDIT, HOST_LOGONS) if record.headers()]
    seen = set()
    for record in ours:
        name, event = decode(record.value())
        headers = {key: value.decode() for key, value in record.headers()}
        about = event["meta"]
        expected = {
            "content-type": "application/avro",
            "ce_specversion": "1.0",
            "ce_id": str(uuid.UUID(bytes=about["event_id"])),
            "ce_source": about["source"],
            "ce_type": name,
            "ce_time": f"{about['occurred_at']:%Y-%m-%dT%H:%M:%S.%fZ}",
        }
        assert {key: headers.get(key) for key in expected} == expected
        kind, milliseconds = record.timestamp()
        assert kind == confluent_kafka.TIMESTAMP_CREATE_TIME
        assert abs(milliseconds / 1000 - datetime.datetime.now().timestamp()) < 3600
        customer = uuid.UUID(bytes=about["customer"])
        owner = event["host"].lower() if "host" in event else uuid.UUID(bytes=about["actor"]["id"])
        assert record.key().decode() == f"{customer}/{owner}"
        seen.add((name, event["personal"]["account"]))
    # The importer's, the relay's after a sign-in, and the relay's after a command.
    assert {("annals.HostLoggedOn", "ada"), ("annals.LoginSucceeded", account)} <= seen
    assert "annals.ConfigurationChanged" in {name for name, _ in seen}


@on_servers
def test_what_annals_appended_is_read_by_a_foreign_consumer(log):
    """By the ids in the frames."""
    assert_ours(log, log.registry.decode)


@on_servers
def test_what_annals_appended_without_a_registry_is_read_by_a_foreign_consumer(bare):
    """By the fingerprints in the frames, and the schema files."""
    assert_ours(bare, avro.from_single_object)


@on_servers
def test_without_a_registry_a_framed_record_waits_for_one(new_log, log):
    """It is a dead letter that says what to do, and it holds up nobody; with the registry, a rebuild shows it."""
    bare = new_log(None, None)
    annals = bare.site.annals
    schema_id, schema = log.registry.latest(f"{log.prefix}{AUDIT}-annals.LoginSucceeded")
    framed, plain = ("framed@example.com", "plain@example.com")
    key, event = login(bare.customer, framed)
    bare.append(AUDIT, key, log.registry.frame(schema_id, schema, event))
    _, event = login(bare.customer, plain)
    # With the other one's key, so that it stands behind it.
    bare.append(AUDIT, key, avro.in_single_object(schema, event))
    assert_login(bare, plain)
    client = bare.site.sign_in()
    assert client.events(accounts=framed) == []
    (letter,) = annals.run("dead-letters", "list", "--view", "audit_log").stdout.splitlines()[1:]
    assert f"framed with registry schema id `{schema_id}`; start with --registry" in letter
    bare.site.server.stop()
    annals.run("rebuild", "audit_log", "--registry", engines.registry())
    bare.site.server = annals.serve("--registry", engines.registry())
    assert_login(bare, framed)
    assert_login(bare, plain)
    assert annals.run("dead-letters", "list", "--view", "audit_log").stdout.splitlines()[1:] == []


@on_servers
def test_the_documented_producer_appends(log):
    """As it stands in the documentation, with this log's addresses."""
    program = documented_program()
    for ours, theirs in (
        ("localhost:9092", log.servers),
        ("http://localhost:8081/apis/ccompat/v7", log.registry.url),
        ('"annals.audit"', f'"{log.prefix}annals.audit"'),
        ("01a20310-5a5b-7537-9ff7-0535bf4e96ad", str(log.customer)),
        ("ada@acme.example", "documented@acme.example"),
    ):
        assert ours in program, ours
        program = program.replace(ours, theirs)
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
    assert log.shown(accounts="documented@acme.example")["event_name"] == "SUCCESSFUL_LOGIN"
