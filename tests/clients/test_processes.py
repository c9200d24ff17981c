"""Several processes over one log and one store: two that answer, two that fold. Clients cannot tell them apart."""

import collections
import json

import pytest
import tau_clients
from tau_clients import exceptions

import datasets
import reading
from conftest import ADMINISTRATOR, PASSWORD
from papi import Papi, shown
from program import until
from tau import client_of

pytestmark = pytest.mark.only("shared", "a data directory has one server")

CUSTOMER, ADMIN = "acme@example.com", "admin@example.com"
QUERY, PROJECT = "query", "projector,relay"
# Seconds after which a projector that says nothing has lost its partitions, and time for others to take them.
TAKEN_OVER = 60


class Processes:
    """Two of each."""

    def __init__(self, annals):
        self.annals = annals
        # Those that answer wait for somebody to make the views.
        self.answering = [annals.start("--roles", QUERY) for _ in range(2)]
        self.folding = [annals.start("--roles", PROJECT) for _ in range(2)]
        for server in self.answering + self.folding:
            server.wait_until_ready()

    def clients(self, account=ADMIN):
        """The vendor's clients, one at each process that answers."""
        return [client_of(server, account) for server in self.answering]

    def status(self):
        """What `annals status` shows."""
        return json.loads(self.annals.run("status", "--json").stdout)


@pytest.fixture(scope="module")
def processes(new_annals):
    """An installation with the invented records, and its processes."""
    annals = new_annals("processes")
    annals.add_customer(CUSTOMER)
    annals.add_account(ADMIN, CUSTOMER, PASSWORD, *ADMINISTRATOR)
    import_all(annals, CUSTOMER, named("invented"))
    yield Processes(annals)
    annals.close()


def named(name):
    """A dataset that is always there."""
    return next(dataset for dataset in datasets.available() if dataset.name == name)


def import_all(annals, customer, dataset):
    """Imports a dataset."""
    for importer in datasets.IMPORTERS:
        annals.import_files(importer, customer, dataset.file(importer))


def window(events):
    """A time range that holds these events and nothing that happened since."""
    return {
        "start_time": shown(min(event.time for event in events)),
        "end_time": shown(max(event.time for event in events)),
        "max_results": 10000,
    }


def answers(client, events):
    """What one client is told about imported events, byte for byte."""
    questions = [("auditlog", "get_events", window(events))]
    questions += [
        ("session", "get_users_logged_on", {"ip_address": address})
        for address in sorted({event.address for event in events if event.user})
    ]
    return [
        client.get(module, function, params=parameters, fmt=fmt, raw=True)
        for module, function, parameters in questions
        for fmt in ("json", "xml", None)
    ]


def test_both_answer_the_same(processes):
    """And what the reading has."""
    one, other = processes.clients()
    events = named("invented").read()
    assert answers(one, events) == answers(other, events)
    told = one.get("auditlog", "get_events", params=window(events))
    assert sorted(event["event_name"] for event in told) == sorted(event.name for event in events)
    for event in told:
        found = other.get("auditlog", "get_events", params={"audit_event_id": event["audit_event_id"]})
        assert found == [event]


def refusal(client):
    """The code with which a client is refused; None while it is let in."""
    try:
        assert client.get("auditlog", "ping") == "pong"
    except exceptions.ApiError as error:
        return error.error_code
    return None


def test_a_sign_in_at_one_counts_at_the_other(processes):
    """And a sign-out ends it at both."""
    one, other = processes.clients()
    assert one.get("auditlog", "ping") == "pong"
    # The client keeps the session object, which is how it knows that it is signed in: the second one never signs in.
    other._session = one._session
    assert other.get("auditlog", "ping") == "pong"
    assert other.get("auditlog", "get_events", params={"max_results": 1}) != []
    papi = Papi(processes.answering[1].base)
    papi.http.cookies.update(one._session.cookies)
    assert papi.call("logout")
    for client in (one, other):
        assert until(lambda: refusal(client), "the session has ended") == 3004


def test_a_new_password_counts_at_both(processes):
    """Also where the old one was checked a moment ago."""
    someone, new = "changing@example.com", "another long password"
    processes.annals.add_account(someone, CUSTOMER, PASSWORD)
    before = processes.clients(someone)
    for client in before:
        assert client.get("auditlog", "ping") == "pong"
    processes.annals.run("account", "password", someone, "--password-stdin", stdin=new + "\n")
    for server, client in zip(processes.answering, before, strict=True):
        assert until(lambda: refusal(client), "the session has ended") == 3004
        assert refusal(client_of(server, someone)) == 3004
        assert client_of(server, someone, new).get("auditlog", "ping") == "pong"


def test_what_happens_at_one_is_shown_by_both(processes):
    """A sign-in is an event: through the outbox, one of the relays, the log, and one of the projectors."""
    accounts = [f"at-{number}@example.com" for number in range(2)]
    for server, account in zip(processes.answering, accounts, strict=True):
        processes.annals.add_account(account, CUSTOMER, PASSWORD)
        client_of(server, account).get("auditlog", "ping")
    filters = {"accounts": accounts, "action_types": "SUCCESSFUL_LOGIN", "orderby": "ts,audit_event_id"}

    def told(client):
        return client.get("auditlog", "get_events", params=filters)

    one, other = processes.clients()
    until(lambda: len(told(one)) == len(told(other)) == 2, "both sign-ins are shown by both")
    assert told(one) == told(other)
    assert {event["account"] for event in told(one)} == set(accounts)
    for event in told(one):
        assert tau_clients.parse_datetime(event["recorded_at"]) >= tau_clients.parse_datetime(event["ts"])


def test_each_projector_folds_its_part(processes):
    """Every partition has one of them, and both have some."""

    def shared():
        status = processes.status()
        parts = collections.defaultdict(list)
        for generation in status["generations"]:
            wanted = [f"{at['topic']}/{at['partition']}" for at in generation["partitions"]]
            given = [name for member in generation["members"] for name in member["partitions"]]
            if sorted(given) != sorted(wanted):
                return None
            for member in generation["members"]:
                parts[generation["view"]].append(len(member["partitions"]))
        return parts if all(len(part) == 2 and min(part) > 0 for part in parts.values()) else None

    assert set(until(shared, "each view's partitions are shared out to two")) == {"audit_log", "logged_on_users"}
    roles = collections.Counter(process["roles"] for process in processes.status()["processes"])
    assert roles == {QUERY: 2, PROJECT: 2}


def test_a_projector_does_not_answer_the_dialect(processes):
    for server in processes.folding:
        assert Papi(server.base).request("auditlog/get_events.json").status_code == 404


def test_a_projector_that_is_killed_is_replaced(processes):
    """Records that come afterwards are all shown, each once, by both."""
    customer, reader = "later@example.com", "later-reader@example.com"
    processes.annals.add_customer(customer)
    processes.annals.add_account(reader, customer, PASSWORD, *ADMINISTRATOR)
    generated = named("generated")
    processes.annals.import_files("cloudtrail", customer, generated.cloudtrail)
    processes.folding[0].kill()
    processes.annals.import_files("windows-security", customer, generated.windows)
    events = generated.read()
    one, other = processes.clients(reader)

    def complete():
        return all(
            len(client.get("auditlog", "get_events", params=window(events))) >= len(events) for client in (one, other)
        )

    until(complete, "both show everything", TAKEN_OVER)
    told = one.get("auditlog", "get_events", params=window(events))
    assert len({event["audit_event_id"] for event in told}) == len(told) == len(events)
    busiest = max({e.address for e in events if e.user}, key=lambda a: sum(e.address == a for e in events if e.user))
    wanted = len(reading.users_logged_on(events, busiest))

    def users():
        got = [c.get("session", "get_users_logged_on", params={"ip_address": busiest}) for c in (one, other)]
        return [len(each) for each in got] == [wanted, wanted]

    until(users, "both show every user", TAKEN_OVER)
    until(lambda: processes.status()["outbox"] == 0, "the outbox is empty")
    assert answers(one, events) == answers(other, events)
