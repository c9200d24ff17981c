"""A small client of the dialect santaba (LogicMonitor's access logs) for tests that need to see the raw answer.

logicmonitor-sdk judges the dialect (test_logicmonitor_sdk.py); this one signs by the vendor's description, speaks all
three versions, and looks closely at every envelope.
"""

import base64
import hashlib
import hmac
import time
import urllib.parse
from dataclasses import dataclass

import raw_http

ROOT, LIST = "/santaba/rest", "/setting/accesslogs"
VERSIONS = (1, 2, 3)
ITEM_FIELDS = ("id", "username", "happenedOn", "happenedOnLocal", "ip", "sessionId", "description")
RATE_HEADERS = ("x-rate-limit-limit", "x-rate-limit-remaining", "x-rate-limit-window")
PAGE_LIMIT = {1: 50, 2: 1000, 3: 1000}

# Which code says what: the body's in version 1, whose failures travel with HTTP 200; else HTTP status and errorCode.
REFUSED, FORBIDDEN, UNKNOWN, BAD = "refused", "forbidden", "unknown", "bad"
CODES_OF_1 = {REFUSED: 403, FORBIDDEN: 1041, UNKNOWN: 1069, BAD: 1007}
CODES = {REFUSED: 401, FORBIDDEN: 403, UNKNOWN: 404, BAD: 400}


def signature(key, method, epoch_ms, path, body=b""):
    """LMv1: base64 of the hexadecimal text of the HMAC, not of its bytes."""
    signed = method.encode() + str(epoch_ms).encode() + body + raw_http.in_bytes(path)
    return base64.b64encode(hmac.new(key.encode(), signed, hashlib.sha256).hexdigest().encode()).decode()


def now_ms():
    """The time as LMv1 writes it."""
    return int(time.time() * 1000)


@dataclass(frozen=True)
class Lmv1:
    """An access id and its key."""

    access_id: str
    access_key: str

    def header(self, method, path, body=b"", at=None):
        """The header of a request to a path below /santaba/rest, without percent-encoding and query."""
        at = now_ms() if at is None else at
        return f"LMv1 {self.access_id}:{signature(self.access_key, method, at, path, body)}:{at}"


@dataclass(frozen=True)
class Bearer:
    """A token."""

    token: str

    def header(self, method, path, body=b""):
        """The header of any request."""
        return f"Bearer {self.token}"


@dataclass(frozen=True)
class Basic:
    """A user name and a password."""

    username: str
    password: str

    def header(self, method, path, body=b""):
        """The header of any request."""
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()


class Caller:
    """Who asks, in one version; every answer is looked at before it is given."""

    def __init__(self, base, credential=None, version=3):
        self.base = base
        self.credential = credential
        self.version = version
        self.kept = raw_http.Connection(base)

    def headers(self, path=LIST, method="GET", body=b""):
        """The headers of a request to a path as it is signed."""
        headers = [("X-Version", str(self.version))]
        if self.credential:
            headers.append(("Authorization", self.credential.header(method, path, body)))
        return headers

    def ask(self, query="", path=LIST):
        """The raw answer to a query string as it stands, over the connection that is kept."""
        target = ROOT + urllib.parse.quote(path) + (f"?{query}" if query else "")
        return self.looked_at(self.kept.get(target, self.headers(path)))

    def send(self, query=b"", path=LIST, method="GET", **options):
        """The raw answer to any bytes."""
        target = ROOT.encode() + urllib.parse.quote(path).encode()
        target += b"?" + raw_http.in_bytes(query) if query else b""
        body = options.get("body")
        headers = self.headers(path, method, body or b"")
        return self.looked_at(raw_http.send(self.base, method, target, headers=headers, **options))

    def looked_at(self, answer):
        """The answer, if it is an envelope of the dialect."""
        assert_envelope(answer, self.version)
        return answer

    def page(self, **parameters):
        """Total and items of one page; parameters may be lists, which repeat them."""
        return listing(self.ask(urllib.parse.urlencode(parameters, doseq=True)), self.version)

    def all(self, size=None, **parameters):
        """Total of the first page, and the items of all pages."""
        size = size or PAGE_LIMIT[self.version]
        total, items = self.page(size=size, **parameters)
        while len(items) < total:
            _, more = self.page(size=size, offset=len(items), **parameters)
            if not more:
                break
            items += more
        return total, items

    def one(self, event_id):
        """The entry of an id."""
        return single(self.ask(path=f"{LIST}/{event_id}"), self.version)

    def refusal(self, query="", path=LIST):
        """What a refused request is refused for."""
        return refusal(self.ask(query, path), self.version)


def assert_rate(answer):
    """The three headers of the rate limit, as integers, which one client insists on."""
    for name in RATE_HEADERS:
        assert answer.headers.get(name, "").isdecimal(), (name, answer)
    assert int(answer.headers[RATE_HEADERS[1]]) <= int(answer.headers[RATE_HEADERS[0]]), answer.headers


def assert_envelope(answer, version):
    """The dialect's own form, and nobody's fault but the caller's."""
    assert answer.status < 500, answer
    assert answer.content_type.startswith("application/json"), answer
    assert "retry-after" not in answer.headers, "a client would sleep and repeat silently"
    body = answer.json()
    assert isinstance(body, dict), answer
    if version == 1:
        assert set(body) == {"status", "errmsg", "data"}, answer
        assert type(body["status"]) is int and isinstance(body["errmsg"], str), answer
        # What is about the address and not about the call, and what clients must see to wait.
        assert answer.status in (200, 404, 405, 414, 429), answer
        assert (body["status"] == 200) == (body["data"] is not None), answer
        assert body["status"] != 200 or (answer.status, body["errmsg"]) == (200, "OK"), answer
    elif answer.status == 200:
        # A client takes a body with the first three for version 1, and one with the others for a failure.
        assert not {"status", "errmsg", "data", "errorMessage", "errorCode"} & set(body), answer
    else:
        assert set(body) == {"errorMessage", "errorCode", "errorDetail"}, answer
        assert isinstance(body["errorMessage"], str) and body["errorMessage"] and body["errorDetail"] is None, answer
        assert body["errorCode"] in (1000 + answer.status, 1400), answer


def content(answer, version):
    """What a good answer holds."""
    body = answer.json()
    assert answer.status == 200 and (version != 1 or body["status"] == 200), answer
    return body["data"] if version == 1 else body


def listing(answer, version):
    """Total and items of a list."""
    data = content(answer, version)
    assert {"total", "items", "searchId"} <= set(data) <= {"total", "items", "searchId", "isMin"}, answer
    assert data["searchId"] is None and type(data["total"]) is int and isinstance(data["items"], list), answer
    assert data["total"] >= len(data["items"]) >= 0, answer
    return data["total"], data["items"]


def assert_item(item, fields=ITEM_FIELDS):
    """Keys and types of an entry."""
    assert set(item) == set(fields), item
    for name, value in item.items():
        if name == "happenedOn":
            assert type(value) is int, item
        else:
            assert isinstance(value, str) or (value is None and name not in ("id", "happenedOnLocal")), item


def single(answer, version):
    """The one entry of an answer."""
    item = content(answer, version)
    assert_item(item)
    return item


def refusal(answer, version):
    """The kind of a refusal, by the codes of the version."""
    body = answer.json()
    if version == 1:
        assert answer.status == 200 and body["data"] is None, answer
        found = [kind for kind, code in CODES_OF_1.items() if code == body["status"]]
    else:
        found = [kind for kind, code in CODES.items() if (code, 1000 + code) == (answer.status, body["errorCode"])]
    assert len(found) == 1, answer
    return found[0]
