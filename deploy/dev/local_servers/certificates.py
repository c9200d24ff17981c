"""A certificate authority of a set's own, and a certificate for 127.0.0.1 that it signed, made with openssl."""

import os
import shutil
import subprocess
from pathlib import Path

from . import packages
from .output import Failure

DAYS = "30"


def make(directory):
    """The paths of the authority's certificate, of the server's certificate and key, and of both in one file."""
    if not shutil.which("openssl"):
        packages.install("openssl", "openssl was not found")
    folder = Path(directory)
    folder.mkdir(mode=0o755, exist_ok=True)
    ca, ca_key = folder / "ca.crt", folder / "ca.key"
    certificate, key, request = folder / "server.crt", folder / "server.key", folder / "server.csr"
    extensions = folder / "server.ext"
    extensions.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth\n")
    new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    _openssl("req", "-x509", *new_key, "-keyout", ca_key, "-out", ca, "-days", DAYS, "-subj", "/CN=annals test CA",
             "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign")
    _openssl("req", *new_key, "-keyout", key, "-out", request, "-subj", "/CN=localhost")
    _openssl("x509", "-req", "-in", request, "-CA", ca, "-CAkey", ca_key, "-CAcreateserial", "-days", DAYS,
             "-extfile", extensions, "-out", certificate)
    both = folder / "server.pem"
    with open(os.open(both, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(key.read_text() + certificate.read_text() + ca.read_text())
    for name in (ca_key, key):
        os.chmod(name, 0o600)
    return {"ca": str(ca), "server_certificate": str(certificate), "server_key": str(key),
            "key_and_certificate": str(both)}


def _openssl(*arguments):
    done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True)
    if done.returncode != 0:
        raise Failure(f"openssl could not make the certificates:\n{done.stderr[-2000:]}")
