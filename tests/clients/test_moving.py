"""An installation is moved between engines, and nobody can tell: the same answers, byte for byte, to everybody.

Answers are recorded from an embedded installation and asked for again after the two copies, with the passwords that
there were. What happens during the tests is an event too, so every question ends before the recording.
"""

import collections
import datetime
import json
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

import datasets
import engines
from conftest import ADMINISTRATOR, PASSWORD
from generated import cloud_record, write_lines
from papi import Papi, shown
from program import Annals, until
from test_any_input import VALUES, fuzz
from test_hostile_text import TEXTS, cloud_text, windows_record

pytestmark = pytest.mark.only("shared", "there is nowhere else to move to")

UTC = datetime.timezone.utc

ACME, OTHER, EMPTY = "acme@example.com", "Other@Example.com", "empty"
ZONES = {ACME: "UTC", OTHER: "Europe/Berlin", EMPTY: "Asia/Taipei"}
# (account, customer, permissions there, customers at which it may do everything)
ACCOUNTS = [
    ("admin@example.com", ACME, ADMINISTRATOR, ()),
    ("nobody@example.com", ACME, (), ()),
    ("boss@example.com", OTHER, ADMINISTRATOR, ()),
    ("Auditor@Example.com", EMPTY, ADMINISTRATOR, (ACME, OTHER)),
    ("guest@example.com", OTHER, ("can_view_appliances",), (ACME,)),
]
LEFT, CHANGED = "left@example.com", "changed@example.com"
NEW_PASSWORD = "another long password"
# Asks the most: it sees the records of two customers.
AUDITOR = ACCOUNTS[3][0]

SORTED_BY = (
    "ts",
    "recorded_at",
    "audit_event_id",
    "account",
    "customer",
    "event_name",
    "event_category",
    "event_severity",
    "entity_type",
    "entity_id",
    "src_ip",
)
FILTERS = {
    "accounts": "account",
    "source_ips": "src_ip",
    "action_types": "event_name",
    "entity_types": "entity_type",
    "portal_entity_ids": "entity_id",
    "affected_customers": "customer",
}
EVENTS, USERS = "auditlog/get_events", "session/get_users_logged_on"


@dataclass
class Original:
    """The installation that is moved, and what it answered before."""

    annals: Annals
    end: str  # of every question
    passwords: dict
    questions: list
    answers: list
    listed: dict
    dumped: list


def fill(annals, directory):
    """Customers, accounts, and every kind of record."""
    for customer, zone in ZONES.items():
        annals.run("customer", "add", customer, "--time-zone", zone)
    for account, customer, permissions, elsewhere in ACCOUNTS:
        annals.add_account(account, customer, PASSWORD, *permissions)
        for other in elsewhere:
            annals.run("permission", "grant", account, *ADMINISTRATOR, "--customer", other)
    annals.add_account(LEFT, ACME, PASSWORD, *ADMINISTRATOR)
    annals.run("account", "disable", LEFT)
    annals.add_account(CHANGED, ACME, PASSWORD, *ADMINISTRATOR)
    annals.run("permission", "revoke", CHANGED, "can_view_appliances")
    annals.run("account", "password", CHANGED, "--password-stdin", stdin=NEW_PASSWORD + "\n")
    for customer, file in files(directory):
        importer = "cloudtrail" if "cloud" in file.name else "windows-security"
        annals.import_files(importer, customer, file)


def files(directory):
    """Every file that is imported, and into which customer."""
    for number, dataset in enumerate(datasets.available()):
        for importer in datasets.IMPORTERS:
            yield (ACME, OTHER)[number % 2], dataset.file(importer)
    hostile = directory / "cloud-texts.jsonl", directory / "windows-texts.jsonl"
    write_lines(hostile[0], (cloud_text(number, text) for number, text in enumerate(TEXTS.values())))
    write_lines(hostile[1], (windows_record(number, text) for number, text in enumerate(TEXTS.values())))
    yield from ((OTHER, file) for file in hostile)
    # Shown by the time at which they were recorded, which must move as well.
    future = datetime.datetime.now(UTC) + datetime.timedelta(days=400)
    later = directory / "cloud-later.jsonl"
    write_lines(later, (cloud_record(9, number, future, eventName=f"ListLater{number}") for number in range(3)))
    yield ACME, later


def use(base, passwords):
    """Sign-ins, refused ones, and looking at the log, which are events."""
    for client in sign_in(base, passwords).values():
        client.events(max_results=1)
        client.call("logout")
    for account in (LEFT, "admin@example.com"):
        Papi(base).envelope("login.json", "POST", data={"username": account, "password": "wrong"})


def second_after_now():
    """Waits for the next second, and gives the one that is over."""
    second = datetime.datetime.now(UTC).replace(microsecond=0)
    until(lambda: datetime.datetime.now(UTC) >= second + datetime.timedelta(seconds=1), "the second is over")
    return shown(second)


def sign_in(base, passwords):
    """Everybody's client."""
    return {account: Papi(base, account, password) for account, password in passwords.items()}


def questions_about_events(account, client, end):
    """Everything; for the auditor in every order too, and each filter with values that are there."""
    whole = {"end_time": end, "max_results": 10000}
    yield EVENTS, whole
    events = client.events(**whole)
    ids = [event["audit_event_id"] for event in events]
    yield EVENTS, {"end_time": end, "audit_event_id": ",".join(ids[:2] + ids[-1:]), "timezone": "America/New_York"}
    for parameter, name in FILTERS.items():
        counts = collections.Counter(event[name] for event in events if event[name] and "," not in event[name])
        values = [value for value, _ in sorted(counts.items(), key=lambda each: (-each[1], each[0]))]
        # The most frequent value, and with it a rare one.
        for chosen in (values[:1], values[:1] + values[-1:]):
            yield EVENTS, {"end_time": end, "max_results": 100, parameter: [value.upper() for value in chosen]}
    if account != AUDITOR:
        return
    for name in SORTED_BY:
        yield EVENTS, {"end_time": end, "max_results": 300, "orderby": name}
        yield EVENTS, {"end_time": end, "max_results": 100, "offset_results": 333, "orderby": f"{name} DESC"}
    yield EVENTS, whole | {"orderby": "event_severity,src_ip DESC,account"}
    middle = events[len(events) // 2]["ts"]
    yield EVENTS, {"start_time": middle, "end_time": end}
    yield EVENTS, {"end_time": middle, "source_ips": "::1,192.0.2.10", "orderby": "ts,account DESC"}
    yield EVENTS, {"end_time": end, "orderby": "shoe_size"}
    yield EVENTS, {"end_time": end, "start_time": "2999-01-01"}


def questions_about_users(account, end):
    """Who was logged on: up to now, and between two moments; at one's own customer and at others."""
    for dataset in datasets.available():
        counts = collections.Counter(event.address for event in dataset.read() if event.user)
        for address, _ in counts.most_common(9 if account == AUDITOR else 1):
            yield USERS, {"ip_address": address, "lookup_end": end, "timezone": "Asia/Taipei"}
            for customer in (ACME, OTHER):
                bounds = "2022-10-30 00:00:00", "2022-11-01 12:00:00"
                yield USERS, {"ip_address": address, "lookup_end": end, "customer": customer}
                yield USERS, {"ip_address": address, "lookup_start": bounds, "customer": customer}


def questions(clients, end):
    """What everybody asks, without what one is told: (account, function with its form, parameters)."""
    for account, client in clients.items():
        about_events = list(questions_about_events(account, client, end))
        for number, (function, parameters) in enumerate(about_events + list(questions_about_users(account, end))):
            for form in (".json", ".xml") if account == AUDITOR or number == 0 else (("", ".xml")[number % 2],):
                yield account, function + form, parameters


def ask(server, original_questions, passwords):
    """The answers to everybody's questions: status, type and bytes."""
    clients = sign_in(server.base, passwords)
    answers = []
    for account, function, parameters in original_questions:
        answer = clients[account].request(function, params=parameters)
        answers.append((answer.status_code, answer.headers["content-type"], answer.content))
    return answers


def listed(annals):
    """Customers with their ids, and accounts with their numbers and permissions."""
    return {kind: annals.run(kind, "list", "--json").stdout for kind in ("customer", "account")}


def dumped(annals):
    """The log without its positions: what is in each partition, in its order."""
    return [{key: value for key, value in record.items() if key != "offset"} for record in annals.dump()]


@pytest.fixture(scope="module")
def original(new_annals, tmp_path_factory):
    """An embedded installation with everything that there can be, stopped, and its answers."""
    annals = new_annals("original", bus=None, store=None)
    fill(annals, tmp_path_factory.mktemp("moving"))
    passwords = {account: PASSWORD for account, *_ in ACCOUNTS}
    passwords |= {CHANGED: NEW_PASSWORD, "operator": annals.operator_password()}
    server = annals.serve()
    use(server.base, passwords)
    # Its end writes what was only counted until then.
    server.stop()
    end = second_after_now()
    server = annals.serve()
    asked = list(questions(sign_in(server.base, passwords), end))
    answers = ask(server, asked, passwords)
    server.stop()
    return Original(annals, end, passwords, asked, answers, listed(annals), dumped(annals))


def test_the_recording_is_worth_something(original):
    """Many answers, few of them empty, and everybody sees what nobody else sees."""
    assert len(original.answers) > 200
    data = collections.defaultdict(list)
    for (account, function, _), (status, _, content) in zip(original.questions, original.answers, strict=True):
        assert status == 200
        if function.endswith(".json"):
            data[account, function].append(json.loads(content).get("data"))
    whole = {account: told[0] for (account, function), told in data.items() if function == f"{EVENTS}.json"}
    seen = [frozenset(event["audit_event_id"] for event in told) for told in whole.values()]
    assert len(whole) == len(original.passwords) and all(seen) and len(set(seen)) >= len(ACCOUNTS)
    names = {event["event_name"] for event in whole[AUDITOR]}
    assert {"SUCCESSFUL_LOGIN", "FAILED_LOGIN", "LOGOUT", "HOST_LOGON", "S3_LIST_LATER1"} <= names
    assert sum(map(bool, data[AUDITOR, f"{EVENTS}.json"])) > 30
    assert sum(map(bool, data[AUDITOR, f"{USERS}.json"])) > 10


def assert_moved(original, annals, *servers):
    """Everything is the same, at every server."""
    for server in servers:
        answers = ask(server, original.questions, original.passwords)
        different = [n for n, answer in enumerate(answers) if answer != original.answers[n]]
        if different:
            first = different[0]
            assert answers[first] == original.answers[first], (len(different), original.questions[first])
        refused = Papi(server.base).envelope("login.json", "POST", data={"username": LEFT, "password": PASSWORD})
        assert refused["error_code"] == 3004
    assert listed(annals) == original.listed
    # Behind what was copied something may have been appended since.
    wanted, found = partitions(original.dumped), partitions(dumped(annals))
    assert set(wanted) <= set(found)
    for partition, records in wanted.items():
        assert found[partition][: len(records)] == records, partition


def partitions(records):
    """Records by where they are."""
    parts = collections.defaultdict(list)
    for record in records:
        parts[record["topic"], record["partition"]].append(record)
    return parts


def copy(source, target):
    """Both copies from one installation to another, as they are documented."""
    copy_log(target, log_of(source), log_of(target))
    copy_control(target, store_of(source), store_of(target))


def log_of(annals):
    """How the copies call the log of an installation."""
    return annals.bus.url if annals.bus else annals.data


def store_of(annals):
    """How the copies call the store of an installation."""
    return annals.store.url if annals.store else annals.data


def copy_log(annals, source, target):
    """Copies a log, twice: the second time there is nothing left to do."""
    first, second = (
        json.loads(annals.run("log", "copy", source, target, "--json").stdout)["topics"] for _ in range(2)
    )
    assert all(topic["records"] and topic["same_positions"] and not topic["missing"] for topic in first), first
    assert [topic["records"] for topic in second] == [0, 0]
    assert [topic["already_there"] for topic in second] == [topic["records"] for topic in first]


def copy_control(annals, source, target):
    """Copies the control tables, which are not copied over others."""
    said = annals.run("control", "copy", source, target).stdout
    # Besides those that are added: the operator and its customer.
    assert f"{len(ZONES) + 1} customers, {len(ACCOUNTS) + 3} accounts" in said, said
    refused = annals.run("control", "copy", source, target, status=1)
    assert refused.stderr.startswith("annals: "), refused.stderr


@pytest.fixture(scope="module")
def moved(original, new_annals):
    """The installation on Kafka and PostgreSQL, with two processes that fold and two that answer."""
    annals = new_annals("moved")
    copy(original.annals, annals)
    servers = [annals.start("--roles", roles) for roles in ("query", "query", "projector,relay", "projector")]
    for server in servers:
        server.wait_until_ready()
    return annals, servers


def test_kafka_and_postgresql_give_the_same_answers(original, moved):
    annals, servers = moved
    assert_moved(original, annals, *servers[:2])


orders = st.lists(
    st.tuples(st.sampled_from(SORTED_BY), st.sampled_from(("", " ASC", " desc"))).map("".join), max_size=3
).map(",".join)
numbers = st.sampled_from(("0", "1", "7", "50", "1000", "10001"))


def any_question(draw, values, end):
    """What nobody thought of: any filters with values that are there, nearly there, or awkward, in any order."""
    parameters = [("end_time", draw(st.sampled_from([end, *values["ts"]])))]
    for parameter in draw(st.lists(st.sampled_from(sorted(FILTERS)), unique=True, max_size=3)):
        known = st.sampled_from(values[FILTERS[parameter]]) | st.sampled_from(VALUES)
        for value in draw(st.lists(known, min_size=1, max_size=3)):
            parameters.append((parameter, draw(st.sampled_from((value, value.upper(), value.lower())))))
    if draw(st.booleans()):
        parameters.append(("orderby", draw(orders)))
    for name in draw(st.sampled_from(((), ("max_results",), ("max_results", "offset_results")))):
        parameters.append((name, draw(numbers)))
    return parameters


def any_question_about_users(draw, values, end):
    """An address and any range."""
    bounds = draw(st.lists(st.sampled_from(values["ts"]), min_size=1, max_size=2))
    customer = draw(st.sampled_from((ACME, OTHER, EMPTY, "no")))
    address = draw(st.sampled_from(values["src_ip"]))
    return {"lookup_end": end, "ip_address": address, "lookup_start": bounds, "customer": customer}


def test_any_question_has_the_same_answer(original, moved):
    """At the old place and at the new one, both serving."""
    server = original.annals.serve()
    old, new = (Papi(each.base, AUDITOR, PASSWORD) for each in (server, moved[1][0]))
    events = old.events(max_results=10000, end_time=original.end)
    values = {name: sorted({event[name] for event in events if event[name]}) for name in events[0]}

    @fuzz(100)
    @given(data=st.data(), form=st.sampled_from(("", ".json", ".xml")))
    def same(data, form):
        for function, ask_for in ((EVENTS, any_question), (USERS, any_question_about_users)):
            parameters = ask_for(data.draw, values, original.end)
            answers = [client.request(function + form, params=parameters) for client in (old, new)]
            assert answers[1].content == answers[0].content, (function, parameters)

    same()
    server.stop()


def test_what_was_imported_before_is_not_shown_twice_after(original, moved, tmp_path):
    """Ids of records are of the records: importing them again at the new place changes no answer."""
    annals, servers = moved
    for importer in datasets.IMPORTERS:
        annals.import_files(importer, ACME, datasets.available()[0].file(importer))
    client = Papi(servers[0].base, "admin@example.com", PASSWORD)
    marker = tmp_path / "marker.jsonl"
    write_lines(marker, [cloud_record(8, 1, datetime.datetime.now(UTC), eventName="ListMarker")])
    annals.import_files("cloudtrail", ACME, marker)
    until(lambda: client.events(action_types="S3_LIST_MARKER"), "what came last is shown")
    until(lambda: lag(annals) == 0, "everything is folded")
    assert_moved(original, annals, servers[0])


def lag(annals):
    """How many records the views have not folded."""
    status = json.loads(annals.run("status", "--json").stdout)
    return sum(at["lag"] for generation in status["generations"] for at in generation["partitions"])


def test_the_way_back_gives_the_same_answers(original, moved, new_annals):
    """What was added meanwhile goes along."""
    annals, servers = moved
    for server in servers:
        if server.running():
            server.stop()
    back = new_annals("back", bus=None, store=None)
    copy(annals, back)
    server = back.serve()
    assert_moved(original, back, server)
    client = Papi(server.base, "admin@example.com", PASSWORD)
    since = {"start_time": original.end, "accounts": "admin@example.com", "action_types": "SUCCESSFUL_LOGIN"}
    assert len(client.events(**since)) > 2
    back.close()


def test_an_archive_gives_the_same_answers(original, new_annals, tmp_path):
    """The backup of the documentation: the log in an archive, the control tables in a data directory beside it."""
    archive, control = f"archive:{tmp_path / 'backup'}", tmp_path / "backup" / "control"
    restored = new_annals("restored")
    copy_log(original.annals, log_of(original.annals), archive)
    copy_control(original.annals, store_of(original.annals), control)
    copy_log(restored, archive, log_of(restored))
    copy_control(restored, control, store_of(restored))
    assert_moved(original, restored, restored.serve())
    restored.close()


@pytest.mark.parametrize("bus, store", [(engines.Kafka, None), (None, engines.Postgres)], ids=["kafka", "postgresql"])
def test_one_shared_engine_gives_the_same_answers(original, new_annals, bus, store):
    """Kafka beside SQLite, and the embedded log beside PostgreSQL."""
    annals = new_annals("mixed", bus=bus, store=store)
    copy(original.annals, annals)
    assert_moved(original, annals, annals.serve())
    annals.close()
