"""Requests byte for byte, because an ordinary client would tidy them up."""

import contextlib
import http.client
import json
import socket
import time
from dataclasses import dataclass

SECONDS = 10
# The longest target; what is encoded on the way counts three times.
LONGEST_TARGET = 65_000


@dataclass(frozen=True)
class Answer:
    """A raw answer. Names of headers are in lower case."""

    status: int
    headers: dict
    body: bytes

    @property
    def content_type(self):
        """The type of the body, as it stands."""
        return self.headers.get("content-type", "")

    def json(self):
        """The body, which must be JSON."""
        return json.loads(self.body)


def read_answer(response):
    """The answer that stands behind a response of http.client."""
    headers = {name.lower(): value for name, value in response.getheaders()}
    return Answer(response.status, headers, response.read())


def in_bytes(text):
    """What goes over the wire for a text; bytes are taken as they are."""
    return text if isinstance(text, bytes) else text.encode()


def send(base, method, target, body=None, headers=(), seconds=SECONDS):
    """Sends one request as it stands, and gives the answer, which must come in time."""
    host, port = base.removeprefix("http://").split(":")
    lines = [b" ".join((method.encode(), in_bytes(target), b"HTTP/1.1")), f"Host: {host}:{port}".encode()]
    lines += [b"Connection: close"]
    lines += [f"{key}: {value}".encode("latin-1") for key, value in headers]
    lines += [f"Content-Length: {len(body)}".encode()] if body is not None else []
    started = time.monotonic()
    with socket.create_connection((host, int(port)), timeout=seconds) as connection:
        # Who refuses a request need not read the rest of it.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(b"\r\n".join(lines) + b"\r\n\r\n" + (body or b""))
        response = http.client.HTTPResponse(connection, method=method)
        response.begin()
        answer = read_answer(response)
    assert time.monotonic() - started < seconds
    return answer


class Connection:
    """One connection that is kept, for thousands of requests whose targets are in ASCII."""

    def __init__(self, base):
        self.address = base.removeprefix("http://")
        self.http = None

    def get(self, target, headers=()):
        """The answer to one request; a connection that the server closed meanwhile is made again, once."""
        for _ in range(2):
            kept = self.http is not None
            self.http = self.http or http.client.HTTPConnection(self.address, timeout=60)
            try:
                self.http.request("GET", target, headers=dict(headers))
                return read_answer(self.http.getresponse())
            except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
                self.close()
                if not kept:
                    raise
        raise AssertionError("the server closes every connection")

    def close(self):
        """Ends the connection."""
        if self.http:
            self.http.close()
        self.http = None
