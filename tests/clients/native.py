"""A small client of annals' own API: pages, walks, the feed, live streams and files."""

import json
import time

import requests

import raw_http

EVENTS, LOGONS, DESCRIPTION = "/v1/audit-events", "/v1/logons", "/v1/openapi.json"
POSITION = "annals-position"
LIVE = "text/event-stream"
# Signs of life come all the time, so that silence is not what a test waits for in vain.
LIVE_SECONDS, PIECE_BYTES = 150, 65_536
PARAMETERS = [
    *("start", "end", "customer", "account", "actor", "address", "action", "category", "severity", "entity-type"),
    *("entity", "description", "text", "sign-in", "sort", "limit", "cursor", "count", "format", "after"),
    *("at-least", "wait"),
]
MEDIA_TYPES = {"csv": "text/csv; charset=utf-8; header=present", "ndjson": "application/x-ndjson"}
COLUMNS = [
    *("id", "customer_id", "customer", "time", "claimed_time", "recorded_at", "actor_kind", "actor_id", "account"),
    *("qualified_account", "action", "category", "severity", "entity_type", "entity_id", "address", "description"),
    *("sign_in", "misplaced"),
]


class Native:
    """A caller of one server."""

    def __init__(self, base, credential=None):
        self.base = base
        self.headers = dict(credential.headers) if credential else {}
        self.http = requests.Session()
        # No proxy and no .netrc of the machine.
        self.http.trust_env = False
        self.http.headers.update(self.headers)

    def get(self, path=EVENTS, **options):
        """The answer of one request."""
        return self.http.get(self.base + path, timeout=60, **options)

    def ask(self, path=EVENTS, **parameters):
        """The body of a good answer. Names are written with `_` for `-`."""
        answer = self.get(path, params=named(parameters))
        assert answer.status_code == 200, (path, parameters, answer.status_code, answer.text)
        assert answer.headers["content-type"] == "application/json" and answer.headers[POSITION]
        return answer.json()

    def page(self, **parameters):
        """Events of one page."""
        return self.ask(**parameters)["events"]

    def walk(self, **parameters):
        """Every page of a walk, one after the other."""
        page = self.ask(**parameters)
        yield page
        while page["next"]:
            page = self.ask(**parameters, cursor=page["next"])
            yield page

    def all(self, **parameters):
        """Events of all pages of a walk."""
        return [event for page in self.walk(limit=1000, **parameters) for event in page["events"]]

    def feed(self, after="", **parameters):
        """Pages of the feed after a token, until nothing more is there."""
        while True:
            page = self.ask(after=after, **parameters)
            yield page
            after = page["next"]
            if page["complete"]:
                return

    def position(self):
        """How far the view is."""
        return self.get(params={"limit": 1}).headers[POSITION]

    def problem(self, path=EVENTS, **parameters):
        """Status and code of a refusal."""
        answer = self.get(path, params=named(parameters))
        return problem_of(answer.status_code, answer.headers["content-type"], answer.json())

    def file(self, form, **parameters):
        """The text of a download."""
        answer = self.get(params=named(parameters) | {"format": form})
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == MEDIA_TYPES[form]
        assert answer.headers["content-disposition"] == f'attachment; filename="audit-events.{form}"'
        return answer.content.decode()

    def live(self, last_event_id=None, **parameters):
        """A live stream, as it comes: (id, event or None)."""
        headers = {"Accept": LIVE} | ({"Last-Event-ID": last_event_id} if last_event_id else {})
        return Live(self.get(params=named(parameters), headers=headers, stream=True))


class Live:
    """Server-sent events, read line by line as their specification has it."""

    def __init__(self, answer):
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"].startswith(LIVE) and answer.headers[POSITION]
        self.answer = answer
        self.last_id = None
        self.deadline = time.monotonic() + LIVE_SECONDS

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.answer.close()

    def events(self):
        """The audit events; `last_id` is the one to go on with."""
        fields = {}
        for line in self.lines():
            if line:
                name, _, value = line.partition(":")
                fields[name] = value.removeprefix(" ")
                continue
            self.last_id = fields.get("id", self.last_id)
            if "data" in fields:
                assert fields["event"] == "audit-event", fields
                yield json.loads(fields["data"])
            fields = {}

    def lines(self):
        """The lines as they come. A text may hold what Python takes for the end of one."""
        rest = b""
        while piece := self.answer.raw.read1(PIECE_BYTES):
            assert time.monotonic() < self.deadline, f"nothing came to an end within {LIVE_SECONDS} s"
            *whole, rest = (rest + piece).split(b"\n")
            yield from (line.decode().removesuffix("\r") for line in whole)


def named(parameters):
    """Parameters under their names."""
    return {name.replace("_", "-"): value for name, value in parameters.items()}


def problem_of(status, content_type, body):
    """Status and code of a problem, whose form is that of RFC 9457."""
    assert content_type == "application/problem+json", (status, content_type, body)
    assert {"type", "title", "status", "detail", "code"} <= set(body), body
    assert body["status"] == status and body["type"] == f"urn:annals:problem:{body['code']}", body
    assert body["title"] and body["detail"]
    return status, body["code"]


def assert_answer(answer):
    """A raw answer of this API, and nobody's fault but the caller's."""
    assert isinstance(answer, raw_http.Answer) and answer.status < 500, answer
    if answer.status != 200:
        problem_of(answer.status, answer.content_type, answer.json())
    elif answer.content_type == "application/json":
        assert isinstance(answer.json(), dict), answer
    else:
        assert answer.content_type in MEDIA_TYPES.values(), answer
