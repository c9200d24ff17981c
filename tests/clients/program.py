"""Runs the program under test the way its users do: by its command line, as separate processes.

Nothing here waits a fixed time. `until` polls a condition up to a deadline and says what it waited for.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

POLL_SECONDS = 0.02
START_SECONDS = 60
STOP_SECONDS = 30
COMMAND_SECONDS = 180


def until(condition, what, seconds=30):
    """Polls `condition` until it gives something true, and returns that."""
    deadline = time.monotonic() + seconds
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"after {seconds} s still not: {what} (last: {result!r})")
        time.sleep(POLL_SECONDS)


def clean_environment():
    """The environment without ANNALS_… settings: the program reads its configuration from there too."""
    return {key: value for key, value in os.environ.items() if not key.startswith("ANNALS_")}


class Annals:
    """One installation and the program that works on it: a data directory, unless both engines are shared ones."""

    def __init__(self, binary, directory, bus=None, store=None, registry=None):
        self.binary = str(binary)
        self.home = Path(directory)
        self.home.mkdir(parents=True, exist_ok=True)
        # Engines that are none are embedded.
        self.bus, self.store = bus, store
        self.engines = [engine for engine in (bus, store) if engine]
        self.data = None if bus and store else self.home / "data"
        addresses = {"BUS": bus and bus.url, "STORE": store and store.url, "REGISTRY": registry}
        self.addresses = {f"ANNALS_{name}": address for name, address in addresses.items() if address}
        if not self.data:
            # What is in no data directory must be named; the key seals the keys of credentials.
            key = self.home / "master.key"
            key.write_text(f"{os.urandom(32).hex()}\n")
            key.chmod(0o600)
            self.addresses["ANNALS_MASTER_KEY_FILE"] = str(key)
        self.servers = []
        self.made_password = None

    def command(self, *arguments):
        """A command of the program, as `subprocess` takes it."""
        data = ["--data", str(self.data)] if self.data else []
        return {
            "args": [self.binary, *map(str, arguments), *data],
            # This directory holds no annals.toml, so that nobody's own settings reach the test.
            "cwd": self.home,
            "env": clean_environment() | self.addresses,
        }

    def run(self, *arguments, stdin=None, status=0):
        """Runs one command on the installation; `status=None` takes any exit status."""
        command = self.command(*arguments)
        done = subprocess.run(
            **command,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        if status is not None and done.returncode != status:
            raise AssertionError(
                f"{command['args']} ended with {done.returncode}, not {status}\n"
                f"--- stdout\n{done.stdout}\n--- stderr\n{done.stderr}"
            )
        return done

    def add_customer(self, name):
        """Adds a customer."""
        self.run("customer", "add", name)

    def add_account(self, email, customer, password, *permissions):
        """Adds an account of `customer` with the permissions there."""
        granted = [part for permission in permissions for part in ("--permission", permission)]
        self.run("account", "add", email, "--customer", customer, *granted, "--password-stdin", stdin=password + "\n")

    def import_files(self, kind, customer, *files, status=0):
        """Imports `files` and returns the summary."""
        return json.loads(self.run("import", kind, *files, "--customer", customer, "--json", status=status).stdout)

    def rebuild(self, view):
        """Rebuilds one view from the log."""
        return self.run("rebuild", view)

    def dump(self, *arguments):
        """The records of the log."""
        return [json.loads(line) for line in self.run("log", "dump", *arguments).stdout.split("\n") if line]

    def operator_password(self):
        """The password that the first command wrote; where it writes none, one that is set now."""
        if not self.store:
            return (self.data / "operator-password").read_text().rstrip("\n")
        if not self.made_password:
            password = "a password for the operator"
            self.run("account", "password", "operator", "--password-stdin", stdin=password + "\n")
            self.made_password = password
        return self.made_password

    def start(self, *options):
        """Starts a server; the caller waits until it is ready."""
        server = Server(self, len(self.servers), options)
        self.servers.append(server)
        return server

    def serve(self, *options):
        """Starts a server and returns it once it is ready."""
        server = self.start(*options)
        server.wait_until_ready()
        return server

    def close(self):
        """Stops what still runs, and removes what the installation has on shared servers."""
        with contextlib.ExitStack() as rest:
            for engine in self.engines:
                rest.callback(engine.remove)
            self.engines = []
            for server in self.servers:
                if server.running():
                    server.stop()


class Server:
    """A running server: a process group of its own, stopped by its id."""

    def __init__(self, annals, number, options=()):
        self.annals = annals
        self.output = annals.home / f"serve-{number}.out"
        self.errors = annals.home / f"serve-{number}.err"
        with self.output.open("wb") as output, self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                **annals.command("serve", "--listen", "127.0.0.1:0", *options),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                start_new_session=True,
            )
        self.base = None

    def running(self):
        """Whether the process is there."""
        return self.process.poll() is None

    def log(self):
        """What the server wrote, for messages."""
        output, errors = (path.read_text(errors="replace") for path in (self.output, self.errors))
        return f"--- stdout\n{output}\n--- stderr\n{errors[-8000:]}"

    def address(self):
        """Where it listens, as it says in the one line on standard output; None as long as it does not."""
        if not self.running():
            raise AssertionError(f"the server ended with {self.process.returncode} before it was ready\n{self.log()}")
        found = re.search(r"^listening on (http://127\.0\.0\.1:\d+)$", self.output.read_text(), re.MULTILINE)
        return found and found.group(1)

    def wait_until_ready(self):
        """Waits for the address, then polls /readyz."""
        import requests

        def ready():
            self.address()
            try:
                return requests.get(f"{self.base}/readyz", timeout=5).status_code == 200
            except (requests.ConnectionError, requests.Timeout):
                return False

        try:
            self.base = until(self.address, "the server said where it listens", START_SECONDS)
            until(ready, "/readyz answered 200", START_SECONDS)
        except AssertionError:
            self.kill()
            raise

    def stop(self):
        """Asks the server to end, and checks that it ends well."""
        os.kill(self.process.pid, signal.SIGTERM)
        try:
            status = self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the server did not stop within {STOP_SECONDS} s of SIGTERM\n{self.log()}") from None
        assert status == 0, f"the server ended with {status} after SIGTERM\n{self.log()}"

    def kill(self):
        """Ends the server's process group at once."""
        if self.running():
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
