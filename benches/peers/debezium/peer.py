"""The peer: its jars, its table with that table's ceiling, and one run of it."""

import fcntl
import hashlib
import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import unquote, urlsplit

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
sys.dont_write_bytecode = True
sys.path.insert(0, str(ROOT / "deploy" / "dev"))

from local_servers import packages  # noqa: E402
from local_servers.output import Failure  # noqa: E402

DATABASE = "annals_bench_peer"
CONNECTIONS = 2
# Rows of one transaction of the ceiling.
TRANSACTION = 5_000
# The rate is steady between these shares of the rows: before lies the start, after it one task may be done already.
STEADY_FROM, STEADY_TO = 0.10, 0.95
POLL_SECONDS = 0.2
# The server's own counter costs nothing to read, but comes late by up to a second and has rows of failed transactions.
REPORTED = "SELECT n_tup_ins FROM pg_stat_user_tables WHERE relname = 'events'"
# Only the end is counted.
COUNTED = "SELECT count(*) FROM events"
STALLED_SECONDS = 180
# What Kafka Connect itself brings must not lie in the plugins again, or a task dies with "BlackbirdModule not a subtype".
DUPLICATES = ("jackson-core-", "jackson-databind-", "jackson-annotations-", "jackson-datatype-jdk8-", "kafka-clients-",
              "connect-api-", "connect-json-", "slf4j-api-", "lz4-java-", "snappy-java-", "zstd-jni-")
DEAD = ("unrecoverable exception", "Failed to create connector", "Stopping after connector error")


def say(text):
    print(text, flush=True)


# ---- jars -----------------------------------------------------------------------------------------------------------

def jars():
    """The folder with Kafka Connect in `connect` and the plugins in `plugins`, fetched once."""
    names = ("connect", "sink", "converter")
    cache = packages.cache_directory()
    cache.mkdir(parents=True, exist_ok=True)
    content = b"".join((HERE / name / "pom.xml").read_bytes() for name in names) + repr(DUPLICATES).encode()
    folder = cache / f"debezium-{hashlib.sha256(content).hexdigest()[:12]}"
    with open(cache / "cache.lock", "w") as lock:
        # Maven's own repository cannot be shared while it is written.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.is_dir():
            return folder
        packages.java()
        if not shutil.which("mvn"):
            packages.install("maven", "Apache Maven was not found")
        say(f"fetching Kafka Connect and Debezium (once; kept in {cache})")
        with tempfile.TemporaryDirectory(dir=cache, prefix="debezium-partial-") as partial:
            lib = Path(partial) / "lib"
            for name in names:
                fetch(name, lib / "connect" if name == "connect" else lib / "plugins" / name)
            lib.rename(folder)
    return folder


def fetch(name, target):
    done = subprocess.run(
        ["mvn", "-q", "-B", "-f", str(HERE / name / "pom.xml"), "dependency:copy-dependencies",
         f"-DoutputDirectory={target}", "-DincludeScope=runtime"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0:
        raise Failure(f"Maven could not fetch the jars of {name}:\n{(done.stdout + done.stderr)[-3000:]}")
    if name != "connect":
        for jar in target.iterdir():
            if jar.name.startswith(DUPLICATES):
                jar.unlink()


# ---- PostgreSQL -----------------------------------------------------------------------------------------------------

def address(database):
    return os.environ["ANNALS_POSTGRES"].rpartition("/")[0] + "/" + database


def environment():
    """Without the caller's PG… variables."""
    return {key: value for key, value in os.environ.items() if not key.startswith("PG")}


def psql(database, *statements):
    command = ["psql", address(database), "-XAtqv", "ON_ERROR_STOP=1"]
    for statement in statements:
        command += ["-c", statement]
    done = subprocess.run(command, capture_output=True, text=True, env=environment())
    if done.returncode != 0:
        raise Failure(f"psql: {done.stderr.strip()}")
    return done.stdout.strip()


class Session:
    """A connection that is asked again and again, so that asking costs the server next to nothing."""

    def __init__(self, database):
        self.process = subprocess.Popen(
            ["psql", address(database), "-XAtqv", "ON_ERROR_STOP=1"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True, bufsize=1, env=environment())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()

    def number(self, question):
        self.process.stdin.write(question + ";\n")
        line = self.process.stdout.readline()
        if not line:
            raise Failure(f"PostgreSQL did not answer `{question}`")
        return int(line)


def fresh_database():
    psql("annals", f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)", f"CREATE DATABASE {DATABASE}",
         # As our projector has it: a crash of the server loses rows that the log still has.
         f"ALTER DATABASE {DATABASE} SET synchronous_commit = off")


def fresh_table():
    psql(DATABASE, "DROP TABLE IF EXISTS events", (HERE / "table.sql").read_text(), "CHECKPOINT")


def ceiling(file, folder):
    """`psql \\copy` of the rows into the peer's table. Gives rows per second."""
    scripts = [[] for _ in range(CONNECTIONS)]
    with open(file, "rb") as rows:
        for number in itertools.count():
            lines = list(itertools.islice(rows, TRANSACTION))
            if not lines:
                break
            piece = folder / f"piece-{number}"
            piece.write_bytes(b"".join(lines))
            scripts[number % CONNECTIONS].append(f"\\copy events FROM '{piece}'\n")
    fresh_table()
    started = time.monotonic()
    copying = []
    for number, script in enumerate(scripts):
        path = folder / f"script-{number}"
        path.write_text("".join(script))
        copying.append(subprocess.Popen(
            ["psql", address(DATABASE), "-Xqv", "ON_ERROR_STOP=1", "-f", str(path)], env=environment()))
    if any([process.wait() for process in copying]):
        raise Failure("the ceiling's rows could not be copied")
    elapsed = time.monotonic() - started
    for piece in folder.glob("piece-*"):
        piece.unlink()
    return int(psql(DATABASE, COUNTED)) / elapsed


# ---- one run --------------------------------------------------------------------------------------------------------

def filled(name, target, values):
    """Writes a file of settings with the values in their places. It may hold the password."""
    text = (HERE / name).read_text()
    for key, value in values.items():
        text = text.replace(f"@{key}@", value)
    with open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    return str(target)


class Connect:
    """Kafka Connect with the sink, as a process of its own."""

    def __init__(self, folder, name, topic):
        server = urlsplit(os.environ["ANNALS_POSTGRES"])
        lib = jars()
        values = {
            "KAFKA": os.environ["ANNALS_KAFKA"], "DIRECTORY": str(folder), "PLUGINS": str(lib / "plugins"),
            # A name of its own is a consumer group of its own: every run reads from the beginning.
            "NAME": name, "TOPIC": topic, "DATABASE": DATABASE,
            "POSTGRES": f"{server.hostname}:{server.port or 5432}", "USER": unquote(server.username or ""),
            "PASSWORD": unquote(server.password or ""),
            # The converter speaks the registry's own API, beside the one that ours speaks.
            "REGISTRY": os.environ["ANNALS_REGISTRY"].partition("/apis/")[0] + "/apis/registry/v2",
        }
        worker = filled("worker.properties", folder / "worker.properties", values)
        sink = filled("sink.properties", folder / "sink.properties", values)
        self.log = folder / "connect.log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [packages.java(), "-Xms1g", "-Xmx1g", "-cp", f"{lib / 'connect'}/*",
                 "org.apache.kafka.connect.cli.ConnectStandalone", worker, sink],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def check(self):
        said = self.log.read_text(errors="replace")
        if self.process.poll() is not None or any(text in said for text in DEAD):
            raise Failure(f"the peer failed:\n{said[-6000:]}")


def run(folder, name, topic, rows):
    """Folds the topic into the table. Gives rows per second: steady (None when too few for that), and with start-up."""
    fresh_table()
    low = high = None
    with Session(DATABASE) as session:
        started = moved = time.monotonic()
        last = 0
        with Connect(folder, name, topic) as connect:
            while True:
                time.sleep(POLL_SECONDS)
                ending = high is not None
                there, now = session.number(COUNTED if ending else REPORTED), time.monotonic()
                if there != last:
                    last, moved = there, now
                elif now - moved > STALLED_SECONDS:
                    connect.check()
                    raise Failure(f"the peer stopped at {there} of {rows} rows; its log:\n"
                                  f"{connect.log.read_text(errors='replace')[-6000:]}")
                else:
                    connect.check()
                if low is None and there >= STEADY_FROM * rows:
                    low = (there, now)
                if high is None and there >= STEADY_TO * rows:
                    high = (there, now)
                if ending and there >= rows:
                    break
    whole = rows / (now - started)
    seconds = high[1] - low[1]
    return ((high[0] - low[0]) / seconds if seconds > 0 else None), whole
