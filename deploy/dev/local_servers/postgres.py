"""PostgreSQL, with passwords (SCRAM) and synchronous writes as in production.

It refuses to run as root, so root runs it as the user that comes with the Debian package.
"""

import glob
import os
import pwd
import shutil
import signal
import subprocess
import tempfile

from . import packages, processes
from .output import Failure

STOP = signal.SIGINT
START_SECONDS = 60
WAIT_FOR_KILLED_SECONDS = 10
ROLE = "annals"


def ports_needed(secure):
    return ["postgres"]


def programs():
    """The folder with initdb and postgres, which Debian keeps off the path: of the newest version."""
    def version(folder):
        return [int(part) for part in folder.split("/")[-2].split(".") if part.isdigit()]

    installed = [os.path.dirname(path) for path in glob.glob("/usr/lib/postgresql/*/bin/initdb")]
    if installed:
        return max(installed, key=version)
    found = shutil.which("initdb")
    return os.path.dirname(os.path.realpath(found)) if found else None


def prepare():
    folder = programs()
    if folder is None:
        packages.install("postgresql", "PostgreSQL was not found")
        folder = programs()
    if folder is None or not shutil.which("psql"):
        raise Failure("PostgreSQL's initdb or psql was not found: install the package postgresql")
    return folder


def user():
    """The user to run as; None is the caller."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres").pw_name
    except KeyError:
        raise Failure("PostgreSQL refuses to run as root and there is no user postgres: add one") from None


def _reachable(directory, name):
    options = {"user": name, "group": name, "extra_groups": []} if name else {}
    return subprocess.run(["test", "-x", directory], cwd="/", **options).returncode == 0


def place(server, plan, wanted=None):
    """Where the data goes: below `wanted`, else below the set's directory, else where its user can get to."""
    name = user()
    parent = os.path.abspath(wanted) if wanted else server["directory"]
    if not _reachable(parent, name):
        if wanted:
            raise Failure(f"the user {name} cannot enter `{parent}`")
        parent = tempfile.mkdtemp(prefix="annals-postgres-")
        os.chmod(parent, 0o711)
        server["elsewhere"] = parent
    server["data"] = os.path.join(parent, "annals-postgres-data" if wanted else "data")


def _settings(server, plan):
    settings = {
        "listen_addresses": "127.0.0.1",
        "port": server["ports"]["postgres"],
        "unix_socket_directories": "",
        "max_connections": 400,
        "shared_buffers": "128MB",
        "fsync": "on",
        "password_encryption": "scram-sha-256",
        "log_line_prefix": "%m [%p] %u@%d ",
        "log_destination": "stderr",
        "logging_collector": "off",
        "timezone": "UTC",
        "log_timezone": "UTC",
    }
    if plan["secure"]:
        settings.update({"ssl": "on", "ssl_cert_file": "server.crt", "ssl_key_file": "server.key"})
    settings.update(plan["postgres_options"])
    return settings


def configure(server, plan):
    """Writes the settings, and makes the data directory when there is none."""
    bin_folder, name, data = prepare(), user(), server["data"]
    _forget_killed_server(data)
    if not os.path.exists(os.path.join(data, "PG_VERSION")):
        _create(bin_folder, name, data, plan["postgres_password"])
    _write(os.path.join(data, "annals.conf"), name, "".join(
        "{} = '{}'\n".format(key, str(value).replace("'", "''")) for key, value in _settings(server, plan).items()))
    _write(os.path.join(data, "postgresql.conf"), name, "include = 'annals.conf'\n")
    if plan["secure"]:
        for source, target in (("server_certificate", "server.crt"), ("server_key", "server.key")):
            with open(plan["secure"][source]) as file:
                _write(os.path.join(data, target), name, file.read())


def _forget_killed_server(data):
    """Removes the lock file of a server that was killed, once none of its processes works on the data any more.

    PostgreSQL would do so itself, but takes a process that only waits to be reaped for one that runs, and in a
    container nobody may reap it.
    """
    lock = os.path.join(data, "postmaster.pid")
    if os.path.exists(lock) and processes.wait_until_nobody_works_in(data, WAIT_FOR_KILLED_SECONDS):
        os.unlink(lock)


def _create(bin_folder, name, data, password):
    """Makes the data directory in one step, so that an interrupted start leaves no half of it."""
    partial, secret = data + ".partial", data + ".password"
    shutil.rmtree(partial, ignore_errors=True)
    os.makedirs(partial, mode=0o700)
    _write(secret, name, password)
    options = {}
    if name:
        shutil.chown(partial, name, name)
        options = {"user": name, "group": name, "extra_groups": []}
    done = subprocess.run(
        [f"{bin_folder}/initdb", "-D", partial, "-U", ROLE, "--pwfile", secret, "--auth", "scram-sha-256",
         "--encoding", "UTF8", "--locale", "C", "--no-sync"],
        capture_output=True, text=True, cwd="/", env=_environment(), **options)
    os.unlink(secret)
    if done.returncode != 0:
        shutil.rmtree(partial, ignore_errors=True)
        raise Failure(f"PostgreSQL's data directory could not be made:\n{(done.stdout + done.stderr)[-3000:]}")
    os.rename(partial, data)


def _write(path, name, text):
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    if name:
        shutil.chown(path, name, name)


def _environment():
    """The caller's PG… variables must reach neither the server nor the client."""
    return {key: value for key, value in os.environ.items() if not key.startswith("PG")}


def command(server, plan):
    return {
        "command": [f"{prepare()}/postgres", "-D", server["data"]],
        "user": user(), "directory": "/", "environment": _environment(),
    }


def _psql(server, plan, database, statement):
    environment = {**_environment(), "PGPASSWORD": plan["postgres_password"], "PGCONNECT_TIMEOUT": "5"}
    return subprocess.run(
        ["psql", "-X", "-q", "-A", "-t", "-h", "127.0.0.1", "-p", str(server["ports"]["postgres"]), "-U", ROLE,
         "-d", database, "-c", statement], capture_output=True, text=True, env=environment, cwd="/")


def answers(server, plan):
    if _psql(server, plan, ROLE, "SELECT 1").returncode == 0:
        return True
    # The first time there is no database of that name yet.
    return _psql(server, plan, "postgres", f"CREATE DATABASE {ROLE}").returncode == 0


def lines(server_list, plan):
    [server] = server_list
    shown = {"ANNALS_POSTGRES":
             f"postgres://{ROLE}:{plan['postgres_password']}@127.0.0.1:{server['ports']['postgres']}/{ROLE}"}
    if plan["secure"]:
        shown["ANNALS_POSTGRES_CA"] = plan["secure"]["ca"]
    return shown
