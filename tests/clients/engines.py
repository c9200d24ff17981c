"""Which engines the tests run on: embedded in a data directory, or Apache Kafka and PostgreSQL.

ANNALS_TEST_ENGINES says `embedded`, which is the default, or `shared`. Shared servers are where ANNALS_KAFKA and
ANNALS_POSTGRES say (and ANNALS_REGISTRY, for the tests of records that a registry frames), as
`deploy/dev/servers start` prints them. Everything made on them is removed again.
"""

import functools
import os
import shutil
import subprocess
import urllib.parse
import uuid

CHOSEN = os.environ.get("ANNALS_TEST_ENGINES") or "embedded"
KNOWN = ("embedded", "shared")
SHARED = CHOSEN == "shared"

SERVER_SECONDS = 120
SERVERS = ("ANNALS_KAFKA", "ANNALS_POSTGRES", "ANNALS_REGISTRY")
HINT = "Start the servers: eval \"$(deploy/dev/servers start | sed 's/^/export /')\""


def trouble():
    """Why the tests cannot run on the engines that were chosen, in words that help; None when they can."""
    if CHOSEN not in KNOWN:
        return f"ANNALS_TEST_ENGINES is {CHOSEN}. It may be {' or '.join(KNOWN)}"
    if SHARED and not shutil.which("psql"):
        return "psql, the client of PostgreSQL, is not there (Debian: postgresql-client)"
    missing = [name for name in SERVERS if SHARED and not os.environ.get(name)]
    return f"{', '.join(missing)}: not set. {HINT}" if missing else None


def registry():
    """The address of the schema registry."""
    return os.environ["ANNALS_REGISTRY"]


def new_name():
    """A name that nobody else has."""
    return f"pytest_{uuid.uuid4().hex[:12]}"


class Kafka:
    """Topics of one installation's own, told apart by their prefix."""

    def __init__(self):
        self.servers = os.environ["ANNALS_KAFKA"]
        self.prefix = f"{new_name()}."
        self.url = f"kafka://{self.servers}?topic_prefix={self.prefix}"

    def remove(self):
        """Deletes the topics."""
        from confluent_kafka.admin import AdminClient

        client = AdminClient({"bootstrap.servers": self.servers})
        topics = [name for name in client.list_topics(timeout=SERVER_SECONDS).topics if name.startswith(self.prefix)]
        for deleted in client.delete_topics(topics, operation_timeout=SERVER_SECONDS).values() if topics else ():
            deleted.result()


class Postgres:
    """A database of one installation's own, made empty."""

    def __init__(self):
        self.name = new_name()
        address = urllib.parse.urlsplit(os.environ["ANNALS_POSTGRES"])
        self.url = address._replace(path=f"/{self.name}").geturl()
        psql(f"CREATE DATABASE {self.name} TEMPLATE template0 ENCODING 'UTF8' {unlike_bytes()}")

    def remove(self):
        """Drops the database, whoever is still connected to it."""
        psql(f"DROP DATABASE {self.name} WITH (FORCE)")


@functools.cache
def unlike_bytes():
    """An order of text that is not that of its bytes, as on most people's servers, where this server can have one."""
    recent, known = "current_setting('server_version_num')::int >= 150000", "FROM pg_collation WHERE collprovider = 'i'"
    has_one = psql(f"SELECT {recent} AND EXISTS (SELECT {known})") == "t"
    return "LOCALE_PROVIDER icu ICU_LOCALE 'en-US' LC_COLLATE 'C' LC_CTYPE 'C'" if has_one else ""


def psql(statement):
    """Runs one statement on the server and gives what it says."""
    address = urllib.parse.urlsplit(os.environ["ANNALS_POSTGRES"])
    user, _, server = address.netloc.rpartition("@")
    name, _, password = user.partition(":")
    # The password goes by the environment: every user of the machine sees a command line.
    place = address._replace(netloc=f"{name}@{server}" if name else server).geturl()
    command = ["psql", "--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--dbname", place]
    done = subprocess.run(
        [*command, "--command", statement],
        capture_output=True,
        text=True,
        timeout=SERVER_SECONDS,
        env={**os.environ, "PGPASSWORD": urllib.parse.unquote(password)},
        check=False,
    )
    assert done.returncode == 0, f"{statement}: {done.stderr}"
    return done.stdout.strip()
