"""Processes that outlive the command that started them: started, recognised and stopped by id.

An id alone may belong to another process by now, so it is remembered together with when that process began.
"""

import os
import signal
import subprocess
import time
from pathlib import Path

POLL_SECONDS = 0.05
LOG_TAIL_LINES = 40
_PROC = Path("/proc/self/stat").is_file()


def _stat(pid):
    """State, parent and start of a process; None when there is none."""
    if _PROC:
        try:
            text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        except OSError:
            return None
        # The name, in brackets, may contain anything.
        fields = text[text.rindex(")") + 2:].split()
        return fields[0], int(fields[1]), fields[19]
    shown = subprocess.run(["ps", "-o", "state=,ppid=,lstart=", "-p", str(pid)], capture_output=True, text=True)
    fields = shown.stdout.split(maxsplit=2)
    return (fields[0][:1], int(fields[1]), fields[2].strip()) if len(fields) == 3 else None


def _boot():
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def identity(pid):
    """What tells this process from a later one with the same id; None when it is gone or only waits to be reaped."""
    found = _stat(pid)
    if found is None or (found[0] in "ZX" and not _has_threads(pid)):
        return None
    return f"{_boot()} {found[2]}"


def _has_threads(pid):
    """Whether threads of a process are left whose first one has ended: they keep its files and ports."""
    try:
        return len(os.listdir(f"/proc/{pid}/task")) > 1
    except OSError:
        return False


def record(pid):
    return {"pid": pid, "began": identity(pid)}


def alive(process):
    return bool(process) and process["began"] is not None and identity(process["pid"]) == process["began"]


def paused(process):
    found = _stat(process["pid"])
    return found is not None and found[0] == "T"


def start(command, log, user=None, directory=None, environment=None):
    """Starts a process in its own session, detached from this one's terminal and pipes."""
    options = {}
    if user:
        options = {"user": user, "group": user, "extra_groups": []}
    with open(log, "ab") as output:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=directory, env=environment,
            start_new_session=True, **options)


def children(pid):
    """The processes whose parent is `pid`; a PostgreSQL server is such a family."""
    if _PROC:
        pids = [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]
        return [child for child in pids if (_stat(child) or (None, None))[1] == pid]
    shown = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True)
    pairs = (line.split() for line in shown.stdout.splitlines())
    return [int(child) for child, parent in pairs if int(parent) == pid]


def send(process, number):
    """Sends a signal unless the process is gone already."""
    if alive(process):
        try:
            os.kill(process["pid"], number)
        except ProcessLookupError:
            pass


def wait_until_gone(processes, seconds):
    """Whether all of them are gone within the time."""
    deadline = time.monotonic() + seconds
    while any(alive(process) for process in processes):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def wait_until_nobody_works_in(directory, seconds):
    """Whether no process has this working directory within the time; false also where that cannot be known."""
    deadline = time.monotonic() + seconds
    while _PROC and time.monotonic() < deadline:
        if not any(_works_in(entry, directory) for entry in os.listdir("/proc") if entry.isdigit()):
            return True
        time.sleep(POLL_SECONDS)
    return False


def _works_in(pid, directory):
    try:
        return os.path.samefile(f"/proc/{pid}/cwd", directory)
    except OSError:
        # Gone, waiting to be reaped, or of another user.
        return False


def stop(process, how=signal.SIGTERM, seconds=20):
    """Asks a process to end, insists when it does not, and returns when it and its children are gone."""
    if not alive(process):
        return
    family = [process] + [record(child) for child in children(process["pid"])]
    send(process, signal.SIGCONT)
    if how != signal.SIGKILL:
        send(process, how)
        if wait_until_gone(family, seconds):
            return
    for member in family:
        send(member, signal.SIGKILL)
    if not wait_until_gone(family, 10):
        raise RuntimeError(f"process {process['pid']} cannot be killed")


def pause(process):
    """Stops a process and its children where they are: connections stay open and nothing answers."""
    send(process, signal.SIGSTOP)
    for child in children(process["pid"]):
        send(record(child), signal.SIGSTOP)


def resume(process):
    for child in children(process["pid"]):
        send(record(child), signal.SIGCONT)
    send(process, signal.SIGCONT)


def log_tail(log):
    try:
        lines = Path(log).read_text(errors="replace").splitlines()
    except OSError:
        return "(no log)"
    return "\n".join(lines[-LOG_TAIL_LINES:]) or "(the log is empty)"
