"""Free ports on 127.0.0.1, each given to one set of servers only.

They lie below the range from which the kernel takes ports for outgoing connections: a port of a server that is down
for a while must not be taken by a client in the meantime, and least of all by one that tries to reach it.
"""

import contextlib
import fcntl
import json
import os
import random
import socket
from pathlib import Path

LOWEST = 10_000
FALLBACK_TOP = 32_000
TRIES = 500


def _top():
    try:
        low = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return FALLBACK_TOP
    return low - 1 if low > LOWEST + 2_000 else FALLBACK_TOP


def is_free(port):
    with socket.socket() as attempt:
        # As servers do: connections of an earlier server that linger do not count.
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            attempt.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


@contextlib.contextmanager
def _reserved(cache):
    """The ports that sets of servers hold, by port; kept in a file that one process at a time may change."""
    cache.mkdir(parents=True, exist_ok=True)
    with open(cache / "ports.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        path = cache / "ports.json"
        try:
            held = json.loads(path.read_text())
        except (OSError, ValueError):
            held = {}
        # A set ends with its directory.
        held = {port: owner for port, owner in held.items() if os.path.isdir(owner)}
        yield held
        written = path.with_suffix(".new")
        written.write_text(json.dumps(held))
        written.replace(path)


def take(cache, owner, count):
    """Reserves `count` free ports for the set in the directory `owner`."""
    taken = []
    with _reserved(cache) as held:
        for _ in range(TRIES):
            port = random.randint(LOWEST, _top())
            if str(port) not in held and is_free(port):
                held[str(port)] = str(owner)
                taken.append(port)
            if len(taken) == count:
                return taken
    raise RuntimeError(f"no {count} free ports on 127.0.0.1")


def give_back(cache, owner):
    """Frees every port of the set."""
    with _reserved(cache) as held:
        for port in [port for port, holder in held.items() if holder == str(owner)]:
            del held[port]
