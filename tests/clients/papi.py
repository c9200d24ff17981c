"""A small client of papi for tests that need to see the raw answer, and a reader of its XML.

tau-clients judges the dialect (test_tau_clients.py); this one shows status, headers, cookies and text.
"""

import datetime
import re
import xml.etree.ElementTree as ElementTree

import requests

# Fields of an audit event that the two generations of the vendor's documents name differently.
TWINS = {
    "audit_action_type": "event_name",
    "category": "event_category",
    "severity": "event_severity",
    "source_ip": "src_ip",
    "portal_entity_id": "entity_id",
}
EVENT_FIELDS = {"audit_event_id", "account", "customer", "entity_type", "ts", *TWINS, *TWINS.values()}

# What XML 1.0 cannot carry, not even as a character reference.
NOT_IN_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Papi:
    """A caller of one server, with a cookie jar of its own."""

    def __init__(self, base, username=None, password=None):
        self.base = f"{base}/papi"
        self.http = requests.Session()
        # No proxy and no .netrc of the machine.
        self.http.trust_env = False
        self.username = username
        if username is not None:
            self.login(username, password)

    def request(self, function, method="GET", **options):
        """The raw answer of one request; `function` carries its own suffix."""
        return self.http.request(method, f"{self.base}/{function}", timeout=30, **options)

    def envelope(self, function, method="GET", **options):
        """The JSON envelope of a known function, which always travels with HTTP 200."""
        answer = self.request(function, method, **options)
        assert answer.status_code == 200, (answer.status_code, answer.text)
        return answer.json()

    def login(self, username, password):
        """Signs in."""
        envelope = self.envelope("login.json", "POST", data={"username": username, "password": password})
        assert envelope == {"success": 1, "data": "true"}, envelope

    def call(self, function, **parameters):
        """Data of a successful call."""
        envelope = self.envelope(f"{function}.json", params=parameters)
        assert envelope["success"] == 1, (function, parameters, envelope)
        return envelope["data"]

    def refusal(self, function, **parameters):
        """Code and text of a refused call."""
        envelope = self.envelope(f"{function}.json", params=parameters)
        assert envelope["success"] == 0 and "data" not in envelope, (function, parameters, envelope)
        return envelope["error_code"], envelope["error"]

    def events(self, **parameters):
        """One page of the audit log."""
        return self.call("auditlog/get_events", **parameters)

    def all_events(self, page=500, **parameters):
        """Every page of the audit log, as a client reads it that knows no other way than offsets."""
        events = []
        while True:
            got = self.events(max_results=page, offset_results=len(events), **parameters)
            events += got
            if len(got) < page:
                return events

    def users(self, address, start=None, end=None, **parameters):
        """Users logged on; start and end are both named lookup_start, as the documentation has it."""
        bounds = [bound for bound in (start, end) if bound is not None]
        return self.call("session/get_users_logged_on", ip_address=address, lookup_start=bounds, **parameters)


def shown(moment, zone=datetime.timezone.utc):
    """A time as papi writes it."""
    return moment.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S")


def as_xml_text(value):
    """What the XML form of one JSON scalar reads as."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "1" if value else "0"
    return NOT_IN_XML.sub("\ufffd", str(value))


def from_xml(text):
    """Reads an answer in XML: dictionaries, lists of `element`, and text. Fails on anything not well-formed."""
    root = ElementTree.fromstring(text)
    assert root.tag == "result", text

    def value(node):
        assert not node.attrib or (node.tag == "element" and set(node.attrib) == {"key"}), ElementTree.tostring(node)
        children = list(node)
        if not children:
            return node.text or ""
        if all(child.tag == "element" and not child.attrib for child in children):
            return [value(child) for child in children]
        named = {child.get("key", child.tag): value(child) for child in children}
        assert len(named) == len(children), f"a name comes twice in {ElementTree.tostring(node)}"
        return named

    return value(root)


def same_as_json(data):
    """A JSON value as `from_xml` would read its XML form: scalars as text, an empty list or dictionary as no text."""
    if isinstance(data, dict):
        return {key: same_as_json(value) for key, value in data.items()} or ""
    if isinstance(data, list):
        return [same_as_json(value) for value in data] or ""
    return as_xml_text(data)
