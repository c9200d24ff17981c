"""Events as another program writes and reads them: fastavro, and the two framings, from their descriptions alone."""

import copy
import datetime
import io
import json
import struct
import uuid

import fastavro
import requests
from fastavro.schema import fingerprint, to_parsing_canonical_form

from datasets import PROJECT

SCHEMAS = PROJECT / "schemas"
SINGLE_OBJECT, REGISTRY = b"\xc3\x01", 0


def schema_file(event_type, version=1):
    """The schema of an event type, as its file has it."""
    (path,) = SCHEMAS.glob(f"avro/*/{event_type}.v{version}.avsc")
    return json.loads(path.read_text())


def body(schema, event):
    """An event in Avro, without a frame."""
    output = io.BytesIO()
    # Parsing notes things in the schema that it is given.
    fastavro.schemaless_writer(output, fastavro.parse_schema(copy.deepcopy(schema)), event, strict_allow_default=True)
    return output.getvalue()


def in_single_object(schema, event):
    """An event in single-object encoding."""
    return SINGLE_OBJECT + head(schema) + body(schema, event)


def head(schema):
    """The fingerprint as it stands in single-object encoding."""
    return bytes.fromhex(fingerprint(to_parsing_canonical_form(copy.deepcopy(schema)), "CRC-64-AVRO"))


def read_body(schema, data):
    """Full name and fields of an event in Avro, without a frame; every byte must be of use."""
    rest = io.BytesIO(data)
    event = fastavro.schemaless_reader(rest, fastavro.parse_schema(copy.deepcopy(schema)))
    assert not rest.read(), "bytes after the end"
    return f"{schema['namespace']}.{schema['name']}", event


def from_single_object(value):
    """Full name and fields of an event in single-object encoding, by the schema files."""
    assert value[:2] == SINGLE_OBJECT, value[:16]
    schemas = [json.loads(path.read_text()) for path in SCHEMAS.glob("avro/*/*.avsc")]
    (schema,) = (schema for schema in schemas if head(schema) == value[2:10])
    return read_body(schema, value[10:])


class Registry:
    """A client of a schema registry that knows nothing of annals."""

    def __init__(self, url):
        self.url = url
        self.http = requests.Session()
        self.http.trust_env = False
        self.known = {}

    def call(self, method, path, **body):
        """One request that must go well."""
        answer = self.http.request(method, f"{self.url}{path}", json=body or None, timeout=30)
        assert answer.status_code == 200, (method, path, answer.status_code, answer.text)
        return answer.json()

    def register(self, subject, schema):
        """The id of a schema under a subject."""
        return self.call("POST", f"/subjects/{subject}/versions", schema=json.dumps(schema))["id"]

    def latest(self, subject):
        """Id and schema of a subject's last version."""
        found = self.call("GET", f"/subjects/{subject}/versions/latest")
        return found["id"], json.loads(found["schema"])

    def schema(self, schema_id):
        """The schema of an id."""
        if schema_id not in self.known:
            self.known[schema_id] = json.loads(self.call("GET", f"/schemas/ids/{schema_id}")["schema"])
        return self.known[schema_id]

    def frame(self, schema_id, schema, event):
        """An event as the serializers of registries frame it."""
        return struct.pack(">bI", REGISTRY, schema_id) + body(schema, event)

    def decode(self, value):
        """Full name and fields of a framed event."""
        mark, schema_id = struct.unpack(">bI", value[:5])
        assert mark == REGISTRY, value[:16]
        return read_body(self.schema(schema_id), value[5:])


def meta(customer, kind, actor, **more):
    """An envelope."""
    now = datetime.datetime.now(datetime.timezone.utc)
    return {
        "event_id": uuid.uuid4().bytes,
        "customer": customer.bytes,
        "occurred_at": now,
        "source": "acme:foreign",
        "actor": {"kind": kind, "id": actor.bytes, "home_customer": None},
        **more,
    }


def personal(**fields):
    """Plain personal data; what is not named is none."""
    return ("annals.Personal", {"account": None, **fields})


def golden():
    """Every golden event: name of its schema, the event as fastavro takes it, and its bytes without the frame."""
    for path in sorted(SCHEMAS.glob("golden/*.json")):
        event = json.loads(path.read_text())
        about = event["meta"]
        for place, name in ((about, "event_id"), (about, "customer"), (about["actor"], "id")):
            place[name] = uuid.UUID(place[name]).bytes
        home = about["actor"]["home_customer"]
        about["actor"]["home_customer"] = home and uuid.UUID(home).bytes
        ((kind, fields),) = event["personal"].items()
        event["personal"] = (f"annals.{kind}", fields)
        framed = bytes.fromhex(path.with_suffix(".hex").read_text())
        yield path.stem, event, framed[10:]
