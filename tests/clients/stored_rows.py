"""The rows of the audit view as the database has them: read past annals, with SQL written here.

Embedded engines: the view's SQLite file, opened read-only beside the server. Shared ones: PostgreSQL through psql.
"""

import contextlib
import ipaddress
import json
import os
import re
import sqlite3
import subprocess
import urllib.parse
import uuid
from dataclasses import dataclass

SECONDS = 60
VIEW = "audit_log"

# One row per event, in the names of the dialect; `seconds` rounds down, also before 1970.
EVENTS = {
    "sqlite": """
        SELECT hex(e.event_id) AS id, a.account AS username, e.description AS description, shown_ip(d.address) AS ip,
               e.sign_in AS session, e.at AS micros,
               (e.at - ((e.at % 1000000) + 1000000) % 1000000) / 1000000 AS seconds
        FROM events e JOIN customers c ON c.id = e.customer JOIN actors a ON a.id = e.actor
             LEFT JOIN addresses d ON d.id = e.address
        WHERE c.customer = unhex_id('{customer}')""",
    "postgres": """
        SELECT e.event_id::text AS id, a.account AS username, e.description AS description, host(d.address) AS ip,
               e.sign_in AS session, (extract(epoch FROM e.at) * 1000000)::bigint AS micros,
               floor(extract(epoch FROM e.at))::bigint AS seconds
        FROM {schema}.events e JOIN {schema}.customers c ON c.id = e.customer
             JOIN {schema}.actors a ON a.id = e.actor LEFT JOIN {schema}.addresses d ON d.id = e.address
        WHERE c.customer = '{customer}'""",
}


@dataclass(frozen=True)
class Row:
    """One event. A text that is not there is empty."""

    id: str  # 32 hexadecimal digits
    username: str
    description: str
    ip: str
    session: str
    micros: int

    @property
    def seconds(self):
        """The time as the dialect shows it."""
        return self.micros // 1_000_000


def row_of(values):
    """A row of what a database says."""
    identity = uuid.UUID(values["id"]).hex
    texts = (values[name] or "" for name in ("username", "description", "ip", "session"))
    return Row(identity, *texts, int(values["micros"]))


def newest_first(rows):
    """The default order of every dialect; ties by id."""
    return sorted(rows, key=lambda row: (-row.micros, row.id))


class Stored:
    """The rows of one customer in an installation."""

    def __init__(self, annals, customer):
        self.annals = annals
        known = {each["name"]: each for each in json.loads(annals.run("customer", "list", "--json").stdout)}
        self.customer = uuid.UUID(known[customer]["id"])
        self.dialect = "postgres" if annals.store else "sqlite"

    def rows(self):
        """Every row, newest first."""
        if self.dialect == "sqlite":
            with self.sqlite() as connection:
                return newest_first(map(row_of, map(dict, connection.execute(self.events()))))
        # psql leaves out characters that it takes for no characters.
        in_hex = "encode(convert_to(row_to_json(r)::text, 'UTF8'), 'hex')"
        lines = self.psql(f"SELECT {in_hex} FROM ({self.events()}) AS r").split()
        return newest_first(row_of(json.loads(bytes.fromhex(line))) for line in lines)

    def count(self, condition):
        """How many rows fulfil a condition in SQL over the columns of EVENTS."""
        counted = f"SELECT count(*) FROM ({self.events()}) AS r WHERE {condition}"
        if self.dialect == "sqlite":
            with self.sqlite() as connection:
                return connection.execute(counted).fetchone()[0]
        return int(self.psql(counted))

    def events(self):
        """The statement behind the rows, on the newest generation."""
        if self.dialect == "sqlite":
            return EVENTS["sqlite"].format(customer=self.customer.hex)
        return EVENTS["postgres"].format(customer=self.customer, schema=self.schema())

    @contextlib.contextmanager
    def sqlite(self):
        """The view's file, which nothing here can change."""
        files = {int(re.search(r"\.(\d+)\.db$", path.name)[1]): path for path in self.files()}
        connection = sqlite3.connect(f"file:{files[max(files)]}?mode=ro", uri=True, timeout=SECONDS)
        connection.row_factory = sqlite3.Row
        # As PostgreSQL has it.
        connection.execute("PRAGMA case_sensitive_like = ON")
        connection.create_function("shown_ip", 1, shown_ip, deterministic=True)
        connection.create_function("unhex_id", 1, bytes.fromhex, deterministic=True)
        try:
            yield connection
        finally:
            connection.close()

    def files(self):
        """The files of the view's generations."""
        return (self.annals.data / "views").glob(f"{VIEW}.*.db")

    def schema(self):
        """The schema of the newest generation."""
        found = self.psql(f"SELECT nspname FROM pg_namespace WHERE nspname ~ '^annals_{VIEW}_[0-9]+$'").split()
        return max(found, key=lambda name: int(name.rsplit("_", 1)[1]))

    def psql(self, statement):
        """What one statement says in the installation's database."""
        address = urllib.parse.urlsplit(self.annals.store.url)
        user, _, server = address.netloc.rpartition("@")
        name, _, password = user.partition(":")
        # The password goes by the environment: every user of the machine sees a command line.
        place = address._replace(netloc=f"{name}@{server}" if name else server).geturl()
        done = subprocess.run(
            ["psql", "--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--dbname", place],
            input=statement,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            env={**os.environ, "PGPASSWORD": urllib.parse.unquote(password), "PGCLIENTENCODING": "UTF8"},
            check=False,
        )
        assert done.returncode == 0 and not done.stderr, f"{statement}: {done.stderr}"
        return done.stdout.strip("\n")


def shown_ip(value):
    """The usual form of an address that is kept in 16 bytes."""
    if value is None:
        return None
    address = ipaddress.IPv6Address(value)
    return str(address.ipv4_mapped or address)
