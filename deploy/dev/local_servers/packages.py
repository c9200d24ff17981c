"""Programs that the servers need: Debian packages, and archives that Maven fetches once into a cache."""

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
import threading
from pathlib import Path

from .output import Failure, say

JAVA_OLDEST = 17
HERE = Path(__file__).resolve().parent.parent
_installing = threading.Lock()


def cache_directory():
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "annals-dev"


def install(package, why):
    """Installs a Debian package as root; elsewhere it says what is missing."""
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise Failure(f"{why}: install the package {package}")
    with _installing:
        say(f"installing {package}")
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        # The lists may be absent or old; a failed update shows in the install that follows.
        subprocess.run(["apt-get", "update", "-qq"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        done = subprocess.run(
            ["apt-get", "install", "-y", "-qq", "--no-install-recommends", package], env=environment,
            capture_output=True, text=True)
        if done.returncode != 0:
            raise Failure(f"{why}, and {package} cannot be installed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def java():
    """A Java that is new enough: the one of JAVA_HOME, else the one on the path."""
    home = os.environ.get("JAVA_HOME")
    named = [os.path.join(home, "bin", "java")] if home else []
    for program in [*named, "java"]:
        if shutil.which(program):
            shown = subprocess.run([program, "-version"], capture_output=True, text=True).stderr
            version = re.search(r'version "(\d+)', shown)
            if version and int(version[1]) >= JAVA_OLDEST:
                return program
    install("default-jre-headless", f"Java {JAVA_OLDEST} or newer was not found")
    return "java"


@contextlib.contextmanager
def _alone(cache):
    """One process at a time fills the cache, because Maven's own repository cannot be shared while it is written."""
    cache.mkdir(parents=True, exist_ok=True)
    with open(cache / "cache.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


_filling = threading.Lock()


def from_maven(name, goal, unpack=False):
    """The folder with what deploy/dev/NAME/pom.xml names. It appears in one step, so nobody ever sees half of it."""
    pom = HERE / name / "pom.xml"
    cache = cache_directory()
    folder = cache / f"{name}-{hashlib.sha256(pom.read_bytes()).hexdigest()[:12]}"
    if folder.is_dir():
        return folder
    with _filling, _alone(cache):
        if folder.is_dir():
            return folder
        java()
        if not shutil.which("mvn"):
            install("maven", "Apache Maven was not found")
        say(f"fetching {name} (once; kept in {cache})")
        with tempfile.TemporaryDirectory(dir=cache, prefix=f"{name}-partial-") as partial:
            lib = Path(partial) / "lib"
            done = subprocess.run(
                ["mvn", "-q", "-B", "-f", str(pom), goal, f"-DoutputDirectory={lib}", "-DincludeScope=runtime"],
                stdin=subprocess.DEVNULL, capture_output=True, text=True)
            if done.returncode != 0:
                raise Failure(f"Maven could not fetch {name}:\n{(done.stdout + done.stderr)[-3000:]}")
            if unpack:
                for archive in lib.glob("*.tar.gz"):
                    with tarfile.open(archive) as contents:
                        contents.extractall(lib)
                    archive.unlink()
            os.chmod(lib, 0o755)
            lib.rename(folder)
    return folder
