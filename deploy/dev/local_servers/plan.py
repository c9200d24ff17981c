"""A set of servers: what belongs to it, remembered in a file of its directory, and starting and stopping it.

The file names every process with the time it began; whoever changes it holds the directory's lock.
"""

import concurrent.futures
import contextlib
import fcntl
import http.client
import json
import os
import secrets
import shutil
import signal
import struct
import tempfile
import threading
import time
from pathlib import Path

from . import certificates, kafka, packages, ports, postgres, processes, registry
from .output import Cancelled, Failure, say

KINDS = {"kafka": kafka, "registry": registry, "postgres": postgres}
PREFIX = "annals-servers-"
PLAN = "servers.json"
PORT_TRIES = 4
POLL_SECONDS = 0.1
STOP_SECONDS = 20
# Brokers that share a quorum cannot all take their leave in order: the last ones would wait for minutes.
STOP_SECONDS_IN_A_CLUSTER = 5


class Plan:
    """The servers of one directory."""

    def __init__(self, directory):
        self.directory = Path(directory)
        self.data = {}
        self._writing = threading.RLock()
        self._cancelled = threading.Event()

    # ---- remembering -------------------------------------------------------------------------------------------

    @classmethod
    def temporary(cls):
        plan = cls(tempfile.mkdtemp(prefix=PREFIX))
        # PostgreSQL's user must be able to pass through.
        os.chmod(plan.directory, 0o711)
        plan.data["temporary"] = True
        return plan

    @classmethod
    def load(cls, directory):
        plan = cls(directory)
        try:
            plan.data = json.loads((plan.directory / PLAN).read_text())
        except FileNotFoundError:
            pass
        return plan

    def save(self):
        with self._writing:
            path = self.directory / PLAN
            written = path.with_suffix(".new")
            with open(os.open(written, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                json.dump(self.data, file, indent=1)
            written.replace(path)

    @contextlib.contextmanager
    def locked(self):
        """Holds the directory's lock, and has read the plan anew."""
        self.directory.mkdir(mode=0o711, parents=True, exist_ok=True)
        with open(self.directory / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self.data = {**self.data, **Plan.load(self.directory).data}
            yield

    @property
    def servers(self):
        return self.data.get("servers", {})

    def named(self, kind, broker=None):
        """The servers of a kind; of Kafka one broker or all."""
        found = [server for server in self.servers.values()
                 if server["kind"] == kind and broker in (None, server.get("node"))]
        if not found:
            what = f"{kind} with the number {broker}" if broker else kind
            raise Failure(f"no {what} belongs to `{self.directory}`")
        return found

    def running(self):
        return [server for server in self.servers.values() if processes.alive(server["process"])]

    # ---- what belongs to it ------------------------------------------------------------------------------------

    def settle(self, brokers, secure, kafka_options, postgres_options):
        """Decides what holds for the whole set, the first time; afterwards it must be the same."""
        wanted = {"brokers": brokers, "secure": secure, "kafka_options": kafka_options,
                  "postgres_options": postgres_options}
        if "servers" in self.data:
            for key, value in wanted.items():
                # What was not asked for this time stays as it is.
                if value and value != (bool(self.data[key]) if key == "secure" else self.data[key]):
                    option = key.replace("_options", "-option")
                    raise Failure(f"`{self.directory}` was made without this --{option}; use --fresh or another --dir")
            return
        self.data.update(wanted, brokers=brokers or 1, servers={}, watcher=None, secure=None,
                         cluster_id=kafka.new_cluster_id(), postgres_password=secrets.token_hex(12))
        if secure:
            self.data["secure"] = {"user": "annals", "password": secrets.token_hex(12),
                                   **certificates.make(self.directory / "tls")}

    def add(self, kinds, postgres_dir):
        for kind in kinds:
            if any(server["kind"] == kind for server in self.servers.values()):
                continue
            for node in range(1, self.data["brokers"] + 1) if kind == "kafka" else [None]:
                self._add(kind, node, postgres_dir)
        self.save()

    def _add(self, kind, node, postgres_dir):
        name = f"{kind}-{node}" if node else kind
        directory = self.directory / name
        directory.mkdir(mode=0o711, exist_ok=True)
        server = {"kind": kind, "name": name, "node": node, "directory": str(directory),
                  "log": str(directory / "log"), "process": None}
        if kind == "postgres":
            postgres.prepare()
            postgres.place(server, self.data, postgres_dir)
        self.servers[name] = server
        self._take_ports(server)

    def _take_ports(self, server):
        names = KINDS[server["kind"]].ports_needed(self.data["secure"])
        taken = ports.take(packages.cache_directory(), self.directory, len(names))
        server["ports"] = dict(zip(names, taken))

    # ---- starting ----------------------------------------------------------------------------------------------

    def start(self, servers, may_move):
        """Starts these servers at the same time and returns when all answer; after a failure none of them is left."""
        groups = {}
        for server in servers:
            groups.setdefault(server["kind"], []).append(server)
        pool = concurrent.futures.ThreadPoolExecutor(max_workers=len(groups) or 1)
        try:
            running = [pool.submit(self._start_group, group, may_move) for group in groups.values()]
            concurrent.futures.wait(running, return_when=concurrent.futures.FIRST_EXCEPTION)
            failures = [error for error in (task.exception() for task in running if task.done()) if error]
            if failures:
                raise next((error for error in failures if not isinstance(error, Cancelled)), failures[0])
        except BaseException:
            self._cancelled.set()
            pool.shutdown(wait=True)
            self.stop_processes(servers, hard=True)
            raise

    def _start_group(self, group, may_move):
        """Starts the servers of one kind, on other ports when another program took one of theirs just now."""
        kind = KINDS[group[0]["kind"]]
        kind.prepare()
        began = time.monotonic()
        for attempt in range(PORT_TRIES):
            self._each(lambda server: kind.configure(server, self.data), group)
            for server in group:
                self._check_cancelled()
                self._launch(kind, server)
            failed = self._wait(kind, group)
            if not failed:
                say(f"{', '.join(server['name'] for server in group)} answers after {time.monotonic() - began:.1f} s")
                return
            self.stop_processes(group, hard=True)
            lost = [server for server in group if not all(map(ports.is_free, server["ports"].values()))]
            if not (lost and may_move and attempt + 1 < PORT_TRIES):
                raise Failure(failed)
            for server in lost:
                say(f"{server['name']} lost a port to another program; trying others")
                self._take_ports(server)
            self.save()

    def _each(self, do, group):
        with concurrent.futures.ThreadPoolExecutor(max_workers=len(group)) as pool:
            list(pool.map(do, group))

    def _launch(self, kind, server):
        wanted = kind.command(server, self.data)
        with self._writing:
            process = processes.start(log=server["log"], **wanted)
            server["process"] = processes.record(process.pid)
            self.save()
        # Reaps it should it end before this command does.
        threading.Thread(target=process.wait, daemon=True).start()

    def _wait(self, kind, group):
        """What went wrong, in words, or None when every server of the group answers."""
        deadline = time.monotonic() + kind.START_SECONDS
        waiting = list(group)
        while waiting:
            self._check_cancelled()
            waiting = [server for server in waiting if not self._answers(kind, server)]
            for server in waiting:
                ended = not processes.alive(server["process"])
                if ended or time.monotonic() > deadline:
                    why = "ended" if ended else f"did not answer within {kind.START_SECONDS} s"
                    return f"{server['name']} {why}; the end of {server['log']}:\n{processes.log_tail(server['log'])}"
            if waiting:
                time.sleep(POLL_SECONDS)
        return None

    def _answers(self, kind, server):
        try:
            return processes.alive(server["process"]) and kind.answers(server, self.data)
        except (OSError, struct.error, http.client.HTTPException):
            return False

    def _check_cancelled(self):
        if self._cancelled.is_set():
            raise Cancelled("another server could not be started")

    def lines(self):
        """The address lines of the servers that run."""
        shown = {}
        for name, kind in KINDS.items():
            running = [server for server in self.running() if server["kind"] == name]
            if running:
                shown.update(kind.lines(running, self.data))
        if shown:
            shown["ANNALS_SERVERS_DIR"] = str(self.directory)
        return [f"{key}={value}" for key, value in shown.items()]

    # ---- stopping ----------------------------------------------------------------------------------------------

    def stop_processes(self, servers, hard):
        """Stops these servers at the same time; returns when they are gone."""
        started = [server for server in servers if processes.alive(server["process"])]
        brokers = sum(server["kind"] == "kafka" for server in started)

        def stop(server):
            how = signal.SIGKILL if hard else KINDS[server["kind"]].STOP
            in_cluster = server["kind"] == "kafka" and brokers > 1
            processes.stop(server["process"], how, STOP_SECONDS_IN_A_CLUSTER if in_cluster else STOP_SECONDS)

        if started:
            self._each(stop, started)
        for server in servers:
            server["process"] = None
        if (self.directory / PLAN).exists():
            self.save()

    def stop_all(self):
        """Stops everything; a set in a temporary directory of its own goes away with its data."""
        watcher = self.data.get("watcher")
        if watcher and watcher["pid"] != os.getpid():
            processes.stop(watcher)
        temporary = self.data.get("temporary", False)
        self.data["watcher"] = None
        self.stop_processes(list(self.servers.values()), hard=temporary)
        if temporary:
            self.remove()

    def remove(self):
        """Removes the data, logs and the plan of a set that is stopped, and frees its ports."""
        for server in self.servers.values():
            for path in (server.get("data"), server.get("elsewhere"), server["directory"]):
                if path:
                    shutil.rmtree(path, ignore_errors=True)
        shutil.rmtree(self.directory / "tls", ignore_errors=True)
        (self.directory / PLAN).unlink(missing_ok=True)
        ports.give_back(packages.cache_directory(), self.directory)
        if self.data.get("temporary"):
            shutil.rmtree(self.directory, ignore_errors=True)
        self.data = {key: value for key, value in self.data.items() if key == "temporary"}
