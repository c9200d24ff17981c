"""annals' own API: files, problems, what was written just now; and the same questions in a terminal."""

import csv
import datetime
import http.client
import io
import json
import os
import signal
import socket
import time

import pytest

import credentials
import datasets
import native
from conftest import PASSWORD
from generated import cloud_record, write_lines
from native import Native
from program import until
from stored_rows import Stored
from test_hostile_text import TEXTS, cloud_text, out

CUSTOMER, OTHER, READER, NOBODY = "acme@example.com", "other@example.com", "reader@example.com", "stranger@example.com"
FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", '=HYPERLINK("http://x","y")', "=cmd|' /C calc'!A0", "a=1", "'=1"]
TEXTS_DAY = {"start": "2021-03-04T00:00:00Z", "end": "2021-03-05T00:00:00Z"}
MANY = 8_000


@pytest.fixture(scope="module")
def portal(new_annals, tmp_path_factory):
    """A site with the generated records, hostile texts and formulas; and another customer with records of its own."""
    annals = new_annals("files")
    file = tmp_path_factory.mktemp("records") / "texts.jsonl"
    write_lines(file, (cloud_text(number, text) for number, text in enumerate([*TEXTS.values(), *FORMULAS])))
    for customer in (CUSTOMER, OTHER):
        annals.add_customer(customer)
        for importer in datasets.IMPORTERS:
            annals.import_files(importer, customer, datasets.available()[1].file(importer))
    annals.import_files("cloudtrail", CUSTOMER, file)
    annals.add_account(READER, CUSTOMER, PASSWORD, credentials.VIEW_AUDIT_LOG, "can_view_appliances")
    annals.add_account(NOBODY, CUSTOMER, PASSWORD)
    server = annals.serve()
    yield server
    annals.close()


@pytest.fixture(scope="module")
def token(portal):
    """The reader's token."""
    return credentials.add(portal.annals, credentials.BEARER, READER, "files")


@pytest.fixture
def reader(portal, token):
    """The reader."""
    return Native(portal.base, token)


# Files


def test_files_have_every_row_of_the_query(reader):
    window = {"end": "2024-12-31T00:00:00Z", "sort": "time"}
    events = reader.all(**window)
    lines = reader.file("ndjson", **window).split("\n")
    assert lines[-1] == "" and [json.loads(line) for line in lines[:-1]] == events
    text = reader.file("csv", **window)
    rows = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
    assert text.splitlines()[0] == ",".join(native.COLUMNS) and text.endswith("\r\n")
    assert len(rows) == len(events) > 500
    for row, event in zip(rows, events, strict=True):
        actor, entity = event["actor"], event["entity"]
        wanted = [event["id"], event["customer"]["id"], event["customer"]["name"], event["time"], event["claimed_time"]]
        wanted += [event["recorded_at"], actor["kind"], actor["id"], actor["account"], actor["qualified_account"]]
        wanted += [event["action"], event["category"], event["severity"], entity["type"], entity["id"]]
        wanted += [event["address"], event["description"], event["sign_in"], str(event["misplaced"]).lower()]
        assert list(row.values()) == [defused(value or "") for value in wanted]


def defused(text):
    """A text as a spreadsheet may show it: one that it would take for a formula has a mark before it."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) else text


def test_formulas_are_defused_in_csv_and_kept_elsewhere(reader):
    rows = {}
    for row in csv.DictReader(io.StringIO(reader.file("csv", **TEXTS_DAY), newline=""), strict=True):
        rows[row["id"]] = row
        for cell in row.values():
            assert not cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n")), row
    events = reader.all(**TEXTS_DAY)
    accounts = {event["actor"]["account"]: rows[event["id"]]["account"] for event in events}
    for formula in FORMULAS:
        # The importer takes blanks from the ends of a name.
        assert accounts[formula.strip()] == defused(formula.strip())
    for text in TEXTS.values():
        assert accounts[out(text)] == defused(out(text))


@pytest.fixture(scope="module")
def long_file(new_annals, tmp_path_factory):
    """A site whose whole log is more than lies between a server and a client that does not read."""
    annals = new_annals("long")
    annals.add_customer(CUSTOMER)
    annals.add_account(READER, CUSTOMER, PASSWORD, credentials.VIEW_AUDIT_LOG)
    file = tmp_path_factory.mktemp("records") / "long.jsonl"
    begin, name = datetime.datetime(2024, 1, 1), "a name that is as long as a name may be, " * 24
    moments = (begin + datetime.timedelta(seconds=n) for n in range(MANY))
    write_lines(file, (cloud_record(90, n, moment, f"{n} {name}") for n, moment in enumerate(moments)))
    assert annals.import_files("cloudtrail", CUSTOMER, file)["published"] == MANY
    yield annals, credentials.add(annals, credentials.BEARER, READER, "long")
    annals.close()


def begin_to_read(server, token, form):
    """A download of which a client has read the first bytes, and no more."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(60)
    host, port = server.base.removeprefix("http://").split(":")
    connection.connect((host, int(port)))
    headers = "".join(f"{name}: {value}\r\n" for name, value in token.headers.items())
    connection.sendall(f"GET {native.EVENTS}?format={form} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n".encode())
    response = http.client.HTTPResponse(connection)
    response.begin()
    assert response.status == 200
    return response, response.read(1000)


def read_on(response, text):
    """The rest, and whether the transfer came to its end."""
    try:
        return text + response.read(), True
    except http.client.IncompleteRead as error:
        return text + error.partial, False
    except ConnectionResetError:
        return text, False


@pytest.mark.parametrize("form", ["csv", "ndjson"])
def test_a_file_that_the_server_could_not_finish_says_so_in_its_last_line(long_file, form):
    annals, token = long_file
    server = annals.serve()
    response, text = begin_to_read(server, token, form)
    os.kill(server.process.pid, signal.SIGTERM)
    text, whole = read_on(response, text)
    assert whole and server.process.wait(30) == 0
    *rows, last = text.decode().rstrip("\r\n").split("\n")
    assert len(rows) < MANY
    assert last.startswith("# incomplete: ") if form == "csv" else json.loads(last).keys() == {"incomplete"}, last[:300]


@pytest.mark.parametrize("form", ["csv", "ndjson"])
def test_a_file_of_a_server_that_was_killed_has_no_end(long_file, form):
    annals, token = long_file
    server = annals.serve()
    response, text = begin_to_read(server, token, form)
    server.kill()
    text, whole = read_on(response, text)
    assert not whole and text.count(b"\n") < MANY
    # The next server is not troubled by it, and the whole file has all rows.
    server = annals.serve()
    lines = Native(server.base, token).file(form, end="2025-01-01T00:00:00Z").split("\n")
    assert len(lines) == MANY + 1 + (form == "csv")
    server.stop()


# Problems


def test_problems_have_their_codes(portal, reader, token):
    for parameters, wanted in (
        ({"shoe": "45"}, (400, "unknown-parameter")),
        ({"Account": "x"}, (400, "unknown-parameter")),
        ({"limit": "0"}, (400, "bad-parameter")),
        ({"limit": "1001"}, (400, "bad-parameter")),
        ({"limit": ["1", "1"]}, (400, "bad-parameter")),
        ({"start": "yesterday"}, (400, "bad-parameter")),
        ({"start": "2024-01-01T00:00:00"}, (400, "bad-parameter")),
        ({"start": "2024-01-02T00:00:00Z", "end": "2024-01-01T00:00:00Z"}, (400, "bad-parameter")),
        ({"account": ""}, (400, "bad-parameter")),
        ({"address": "10.0.0.0/8"}, (400, "bad-parameter")),
        ({"sort": "account"}, (400, "bad-parameter")),
        ({"cursor": "x"}, (400, "bad-cursor")),
        ({"after": "x"}, (400, "bad-cursor")),
        ({"at_least": "x"}, (400, "bad-cursor")),
        ({"after": "", "sort": "time"}, (400, "bad-parameter")),
    ):
        assert reader.problem(**parameters) == wanted, parameters
    assert reader.problem("/v1") == reader.problem("/v1/audit-event") == (404, "not-found")
    answer = reader.http.post(portal.base + native.EVENTS, timeout=30)
    assert answer.headers["allow"] == "GET, HEAD"
    assert native.problem_of(answer.status_code, answer.headers["content-type"], answer.json())[0] == 405
    stranger = Native(portal.base)
    assert stranger.problem() == (401, "unauthenticated")
    assert stranger.get().headers["www-authenticate"]


def test_a_cursor_belongs_to_its_query_and_its_log(reader, long_file):
    """One of another query or of another log is refused, and so is one that was damaged."""
    cursor = reader.ask(limit=5)["next"]
    assert reader.ask(limit=7, cursor=cursor)["events"]
    for other in ({"account": "ada"}, {"sort": "time"}, {"end": "2030-01-01T00:00:00Z"}):
        assert reader.problem(cursor=cursor, **other) == (400, "cursor-of-another-query")
    for damaged in (cursor[:-1], cursor[1:], cursor + "A", cursor.swapcase(), reader.position()):
        assert reader.problem(cursor=damaged) == (400, "bad-cursor"), damaged
    annals, token = long_file
    server = annals.serve()
    elsewhere = Native(server.base, token)
    foreign, position = elsewhere.ask(limit=5)["next"], elsewhere.position()
    server.stop()
    assert reader.problem(cursor=foreign) == (400, "cursor-of-another-log")
    for name in ("after", "at_least"):
        assert reader.problem(**{name: position}) == (400, "cursor-of-another-log"), name
    assert reader.problem(after=cursor) == (400, "bad-cursor")
    # A live stream, which tells it before it begins, whoever remembered the token.
    for token_of, wanted in ((position, "cursor-of-another-log"), (cursor, "bad-cursor"), ("x", "bad-cursor")):
        for asked in ({"params": {"after": token_of}}, {"headers": {"Last-Event-ID": token_of}}):
            headers = asked.get("headers", {}) | {"Accept": native.LIVE}
            answer = reader.get(params=asked.get("params"), headers=headers)
            told = native.problem_of(answer.status_code, answer.headers["content-type"], answer.json())
            assert told == (400, wanted), asked


def test_somebody_without_permission_sees_their_own_events_only(portal):
    stranger = Native(portal.base, credentials.add(portal.annals, credentials.API_KEY, NOBODY, "files"))
    own = until(lambda: stranger.page(limit=1000), "a read is an event of one's own")
    assert {event["actor"]["account"] for event in own} == {NOBODY}
    assert stranger.problem(native.LOGONS, address="192.0.2.10") == (403, "permission-denied")
    foreign = Native(portal.base, credentials.add(portal.annals, credentials.API_KEY, READER, "other"))
    (imported,) = foreign.page(limit=1, end="2024-12-31T00:00:00Z")
    assert stranger.problem(f"{native.EVENTS}/{imported['id']}") == (404, "not-found")


def test_another_customer_is_like_one_that_does_not_exist(portal, reader):
    for customer in (OTHER, "nowhere@example.com", str(Stored(portal.annals, OTHER).customer)):
        page = reader.ask(customer=customer, count="true")
        assert (page["events"], page["total"], page["next"]) == ([], 0, None)
        assert reader.problem(native.LOGONS, address="192.0.2.10", customer=customer) == (403, "permission-denied")


def test_logons_are_those_of_the_reading(portal, reader):
    """The users logged on to each address, as another dialect has them."""
    from papi import Papi

    papi = Papi(portal.base, READER, PASSWORD)
    for address in ("192.0.2.10", "198.51.100.7", "2001:db8::7", "::1", "203.0.113.99"):
        logons = reader.ask(native.LOGONS, address=address)["logons"]
        told = papi.users(address)
        assert [(row["user_id"].replace("-", ""), row["username"]) for row in logons] == [
            (row["user_uuid"], row["username"]) for row in told
        ]
        assert [row["last_seen"][:19].replace("T", " ") for row in logons] == [row["last_seen"] for row in told]


# What was written just now


def test_an_answer_is_at_least_as_new_as_its_token(portal, reader):
    """Its own position is there at once; and a page of the same query has what the first one had."""
    position = reader.position()
    started = time.monotonic()
    assert reader.ask(at_least=position, wait=10, limit=1)["events"]
    assert time.monotonic() - started < 5
    assert reader.problem(at_least=position, wait=11) == (400, "bad-parameter")
    assert reader.ask(native.LOGONS, address="192.0.2.10", at_least=position)["logons"]


@pytest.mark.only("embedded", "a view can be taken away by taking its file away")
def test_a_view_that_is_behind_is_waited_for_and_never_shows_less(long_file):
    """While the log is folded again, whoever names a position gets everything up to it, or is told to come back."""
    annals, token = long_file
    server = annals.serve()
    before = Native(server.base, token)
    position, total = before.position(), before.ask(limit=1, count="true")["total"]
    server.stop()
    for file in (annals.data / "views").iterdir():
        file.unlink()
    server = annals.start()
    reader, told = Native(until(server.address, "the server said where it listens"), token), set()

    def answered():
        answer = reader.get(params={"at-least": position, "wait": len(told), "limit": 1, "count": "true"})
        if answer.status_code == 200:
            return answer.json()
        told.add(native.problem_of(answer.status_code, answer.headers["content-type"], answer.json()))
        return None

    assert until(answered, "the view has come so far", 60)["total"] >= total
    assert told <= {(409, "not-yet"), (503, "unavailable")}, told
    server.wait_until_ready()
    server.stop()


def test_cursors_and_tokens_outlive_a_rebuild(portal, reader):
    """The walk goes on where it was, the feed too: rows and places are those of the log."""
    window = {"end": "2024-12-31T00:00:00Z", "limit": 100, "count": "true"}
    whole = [event["id"] for page in reader.walk(**window) for event in page["events"]]
    feed = [event["id"] for page in reader.feed(limit=1000, action="HOST_LOGON") for event in page["events"]]
    first, page = reader.ask(**window), next(reader.feed(limit=50, action="HOST_LOGON"))
    position = reader.position()
    portal.annals.rebuild("audit_log")
    walked, cursor = [event["id"] for event in first["events"]], first["next"]
    while cursor:
        following = reader.ask(**window, cursor=cursor)
        walked, cursor = walked + [event["id"] for event in following["events"]], following["next"]
        assert following["total"] == first["total"]
    assert walked == whole
    rest = [
        event["id"] for each in reader.feed(page["next"], limit=50, action="HOST_LOGON") for event in each["events"]
    ]
    assert [event["id"] for event in page["events"]] + rest == feed
    assert reader.ask(at_least=position, wait=10, limit=1)["events"]


def test_more_live_streams_than_there_are_places_are_told_to_come_back(reader):
    """And a place is free again when a stream ends."""
    streams = [reader.live() for _ in range(64)]
    try:
        answer = reader.get(headers={"Accept": native.LIVE}, stream=True)
        refused = native.problem_of(answer.status_code, answer.headers["content-type"], answer.json())
        assert refused == (429, "too-many-streams")
    finally:
        for stream in streams:
            stream.answer.close()

    def again():
        answer = reader.get(headers={"Accept": native.LIVE}, stream=True)
        answer.close()
        return answer.status_code == 200

    until(again, "there is a place again")
