"""Apache Kafka in KRaft mode: each broker is a controller too.

A broker listens at PLAINTEXT (everything), at PROXIED (the address that it tells clients is one where nobody listens,
so that a test puts a proxy there), and with `--secure` at SECURE (SASL over TLS).
"""

import base64
import os
import signal
import socket
import struct
import subprocess
import uuid

from . import packages, processes
from .output import Failure

STOP = signal.SIGTERM
START_SECONDS = 180
HEAP = "-Xmx512m"
# The first compiler and the simplest collector: a test broker lives for minutes, and starts a third faster this way.
JVM = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]
WITHOUT_RIGHTS = "annals-without-rights"


def ports_needed(secure):
    return ["plain", "controller", "proxied", "proxied_advertised"] + (["secure"] if secure else [])


def new_cluster_id():
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")


def prepare():
    return packages.from_maven("kafka", "dependency:copy-dependencies")


def _logging():
    level = "-Dorg.slf4j.simpleLogger."
    return [level + "showDateTime=true", level + "dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSS",
            level + "log.state.change.logger=warn"]


def _listeners(ports, secure):
    listeners = {
        "PLAINTEXT": (ports["plain"], ports["plain"], "PLAINTEXT"),
        "PROXIED": (ports["proxied"], ports["proxied_advertised"], "PLAINTEXT"),
        "CONTROLLER": (ports["controller"], ports["controller"], "PLAINTEXT"),
    }
    if secure:
        listeners["SECURE"] = (ports["secure"], ports["secure"], "SASL_SSL")
    return {
        "listeners": ",".join(f"{name}://127.0.0.1:{bound}" for name, (bound, _, _) in listeners.items()),
        "advertised.listeners": ",".join(f"{name}://127.0.0.1:{said}" for name, (_, said, _) in listeners.items()),
        "listener.security.protocol.map": ",".join(f"{name}:{kind}" for name, (_, _, kind) in listeners.items()),
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "PLAINTEXT",
    }


def _secure_properties(secure):
    def login(module, users=""):
        return f"org.apache.kafka.common.security.{module} required{users};"

    known = "".join(f' user_{name}="{secure["password"]}"' for name in (secure["user"], WITHOUT_RIGHTS))
    return {
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        # Without a login (the other listeners) everything is allowed.
        "super.users": f"User:ANONYMOUS;User:{secure['user']}",
        "allow.everyone.if.no.acl.found": "false",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": secure["key_and_certificate"],
        "listener.name.secure.sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
        "listener.name.secure.plain.sasl.jaas.config": login("plain.PlainLoginModule", known),
        "listener.name.secure.scram-sha-256.sasl.jaas.config": login("scram.ScramLoginModule"),
        "listener.name.secure.scram-sha-512.sasl.jaas.config": login("scram.ScramLoginModule"),
    }


def _properties(server, plan):
    """The settings of one broker. `server` is its entry in the plan of the whole set."""
    brokers = [other for other in plan["servers"].values() if other["kind"] == "kafka"]
    copies, in_sync = (3, 2) if len(brokers) >= 3 else (1, 1)
    settings = {
        "process.roles": "broker,controller",
        "node.id": server["node"],
        "controller.quorum.voters": ",".join(
            f"{broker['node']}@127.0.0.1:{broker['ports']['controller']}" for broker in brokers),
        "log.dirs": os.path.join(server["directory"], "data"),
        **_listeners(server["ports"], plan["secure"]),
        "auto.create.topics.enable": "false",
        "default.replication.factor": copies,
        "min.insync.replicas": in_sync,
        "offsets.topic.replication.factor": copies,
        "transaction.state.log.replication.factor": copies,
        "transaction.state.log.min.isr": in_sync,
        "share.coordinator.state.topic.replication.factor": copies,
        "share.coordinator.state.topic.min.isr": in_sync,
        # Fifty partitions each are made when first used, which a test would wait for.
        "offsets.topic.num.partitions": 4,
        "transaction.state.log.num.partitions": 4,
        "share.coordinator.state.topic.num.partitions": 4,
        "group.initial.rebalance.delay.ms": 0,
        # Tests of lost members and lost brokers wait for these times.
        "group.min.session.timeout.ms": 500,
        "group.consumer.min.session.timeout.ms": 500,
        "group.consumer.min.heartbeat.interval.ms": 100,
        "broker.heartbeat.interval.ms": 500,
        "broker.session.timeout.ms": 5000,
        "num.network.threads": 2,
        "num.io.threads": 4,
        "log.cleaner.dedupe.buffer.size": 8 << 20,
    }
    if plan["secure"]:
        settings.update(_secure_properties(plan["secure"]))
    settings.update(plan["kafka_options"])
    return settings


def configure(server, plan):
    """Writes the settings, and lays out the data directory when there is none."""
    path = os.path.join(server["directory"], "server.properties")
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.writelines(f"{key}={value}\n" for key, value in _properties(server, plan).items())
    if os.path.exists(os.path.join(server["directory"], "data", "meta.properties")):
        return
    command = [
        packages.java(), *JVM, "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", f"{prepare()}/*",
        "kafka.tools.StorageTool", "format", f"--cluster-id={plan['cluster_id']}", "-c", path]
    if plan["secure"]:
        for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512"):
            for name in (plan["secure"]["user"], WITHOUT_RIGHTS):
                command += ["--add-scram", f"{mechanism}=[name={name},password={plan['secure']['password']}]"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise Failure(f"Kafka's storage could not be laid out:\n{(done.stdout + done.stderr)[-3000:]}")


def command(server, plan):
    jars = prepare()
    properties = os.path.join(server["directory"], "server.properties")
    return {"command": [packages.java(), HEAP, *JVM, *_logging(), "-cp", f"{jars}/*", "kafka.Kafka", properties]}


def _ask(port, request):
    """One request of Kafka's protocol, and the body of the answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(struct.pack(">i", len(request)) + request)
        length = struct.unpack(">i", _read(connection, 4))[0]
        answer = _read(connection, length)
    return answer[4:]


def _read(connection, count):
    data = b""
    while len(data) < count:
        part = connection.recv(count - len(data))
        if not part:
            raise ConnectionError("closed")
        data += part
    return data


def brokers_seen(port):
    """The ids of the brokers that the one at `port` tells its clients of (a Metadata request, version 1, no topic)."""
    header = struct.pack(">hhih", 3, 1, 1, 7) + b"servers"
    answer = _ask(port, header + struct.pack(">i", 0))
    (count,), at, seen = struct.unpack_from(">i", answer), 4, set()
    for _ in range(count):
        node, host_length = struct.unpack_from(">ih", answer, at)
        at += 6 + host_length + 4
        (rack_length,) = struct.unpack_from(">h", answer, at)
        at += 2 + max(rack_length, 0)
        seen.add(node)
    return seen


def answers(server, plan):
    """Whether this broker answers, and its clients would hear of every broker that runs."""
    running = {other["node"] for other in plan["servers"].values()
               if other["kind"] == "kafka" and processes.alive(other["process"])}
    return running | {server["node"]} <= brokers_seen(server["ports"]["plain"])


def lines(server_list, plan):
    """The address lines, for the brokers that run."""
    def addresses(port):
        return ",".join(f"127.0.0.1:{server['ports'][port]}" for server in server_list)

    shown = {
        "ANNALS_KAFKA": addresses("plain"),
        "ANNALS_KAFKA_PROXIED": addresses("proxied_advertised"),
        "ANNALS_KAFKA_BEHIND_PROXY": addresses("proxied"),
    }
    if plan["secure"]:
        shown.update({
            "ANNALS_KAFKA_SECURE": addresses("secure"),
            "ANNALS_KAFKA_CA": plan["secure"]["ca"],
            "ANNALS_KAFKA_USER": plan["secure"]["user"],
            "ANNALS_KAFKA_PASSWORD": plan["secure"]["password"],
            "ANNALS_KAFKA_USER_WITHOUT_RIGHTS": WITHOUT_RIGHTS,
        })
    return shown
