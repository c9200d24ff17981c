"""annals' own API: pages and what they hold; walks, the feed and live streams while events come in."""

import collections
import concurrent.futures
import datetime
import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

import credentials
import datasets
import native
from conftest import ADMINISTRATOR, PASSWORD
from generated import cloud_record, write_lines
from native import Native
from papi import Papi
from program import clean_environment, until
from stored_rows import Stored
from test_hostile_text import TEXTS, cloud_text

CUSTOMER, OTHER, READER = "acme@example.com", "other@example.com", "reader@example.com"
BEGIN_OF_TESTS = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc).timestamp()


@pytest.fixture(scope="module")
def portal(new_annals, tmp_path_factory):
    """A site with the invented and the generated records, and hostile texts."""
    annals = new_annals("native")
    for customer in (CUSTOMER, OTHER):
        annals.add_customer(customer)
        for dataset in datasets.available()[:2]:
            for importer in datasets.IMPORTERS:
                annals.import_files(importer, customer, dataset.file(importer))
    file = tmp_path_factory.mktemp("records") / "texts.jsonl"
    write_lines(file, (cloud_text(number, text) for number, text in enumerate(TEXTS.values())))
    annals.import_files("cloudtrail", CUSTOMER, file)
    annals.add_account(READER, CUSTOMER, PASSWORD, credentials.VIEW_AUDIT_LOG, *ADMINISTRATOR)
    server = annals.serve()
    yield server
    annals.close()


@pytest.fixture(scope="module")
def token(portal):
    """The reader's token."""
    return credentials.add(portal.annals, credentials.BEARER, READER, "native")


@pytest.fixture
def reader(portal, token):
    """The reader."""
    return Native(portal.base, token)


@pytest.fixture(scope="module")
def stored(portal):
    """The customer's rows."""
    return Stored(portal.annals, CUSTOMER)


def id_of(event):
    """An event's id as the database has it."""
    return event["id"].replace("-", "")


class Ingest:
    """Imports of new events that go on beside a test; late ones among them, and each file twice."""

    def __init__(self, annals, directory, series, files=20, size=100):
        choice = random.Random(series)

        def ingest():
            for number in range(files):
                path = directory / f"{series}-{number}.jsonl"
                seconds = (datetime.timedelta(seconds=choice.randrange(2 * 10**8)) for _ in range(size))
                moments = enumerate(datetime.datetime(2019, 1, 1) + after for after in seconds)
                write_lines(path, (cloud_record(series, number * size + n, moment) for n, moment in moments))
                assert annals.import_files("cloudtrail", CUSTOMER, path)["published"] == size
                assert annals.import_files("cloudtrail", CUSTOMER, path)["published"] == 0

        self.pool = concurrent.futures.ThreadPoolExecutor()
        self.ingesting = self.pool.submit(ingest)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.pool.shutdown()
        self.ingesting.result()

    def runs(self):
        """Whether it is still going on."""
        return not self.ingesting.done()


# Walks


@pytest.mark.parametrize("sort", ["-time", "time"])
def test_a_walk_under_heavy_ingest_has_each_row_of_its_snapshot_once(portal, reader, stored, tmp_path, sort):
    walks, grown = 0, 0
    with Ingest(portal.annals, tmp_path, 60 + (sort == "time")) as ingest:
        while ingest.runs() or walks < 2:
            before = {row.id for row in stored.rows()}
            pages = reader.walk(sort=sort, limit=97, count="true")
            first = next(pages)
            after = {row.id for row in stored.rows()}
            cursors = [None, first["next"]]
            events = first["events"]
            for page in pages:
                assert page["total"] == first["total"]
                events += page["events"]
                cursors.append(page["next"])
            ids = [id_of(event) for event in events]
            assert len(ids) == len(set(ids)) == first["total"], "a row came twice, or the total is another"
            assert before <= set(ids) <= after, "the walk is not of the snapshot of its first page"
            by_id = sorted(events, key=lambda event: event["id"])
            assert events == sorted(by_id, key=lambda event: event["time"], reverse=sort == "-time")
            # A page that was read never changes, whatever has come since.
            for cursor, place in list(zip(cursors[1:-1], range(97, len(ids), 97), strict=True))[
                :: max(1, len(cursors) // 4)
            ]:
                again = reader.ask(sort=sort, limit=97, count="true", cursor=cursor)
                assert [id_of(event) for event in again["events"]] == ids[place : place + 97]
            walks, grown = walks + 1, grown + (len(stored.rows()) > len(ids))
    assert grown >= 2, f"of {walks} walks {grown} were such that something came in meanwhile"


def test_pages_of_any_size_join_to_the_rows(reader, stored):
    year, hours = (
        ("2022-01-01T00:00:00.000000Z", "2022-12-31T23:59:59.999999Z"),
        (
            "2022-10-29T00:00:00.000000Z",
            "2022-10-29T08:00:00.000000Z",
        ),
    )
    for limit, (start, end) in ((1000, year), (333, year), (50, year), (1, hours)):
        wanted = [row.id for row in stored.rows() if start <= shown_time(row.micros) <= end]
        pages = list(reader.walk(limit=limit, start=start, end=end))
        assert [id_of(event) for page in pages for event in page["events"]] == wanted
        assert len(wanted) > 10 and len(pages) == max(1, -(-len(wanted) // limit))


def shown_time(micros):
    """A time as RFC 3339 writes it, in UTC."""
    return (datetime.datetime(1970, 1, 1) + datetime.timedelta(microseconds=micros)).isoformat(
        timespec="microseconds"
    ) + "Z"


def test_an_event_is_shown_with_everything_that_is_known(reader, stored):
    rows = {row.id: row for row in stored.rows()}
    for event in reader.all(end="2025-01-01T00:00:00Z"):
        row = rows[id_of(event)]
        assert (event["actor"]["account"] or "") == row.username
        assert (event["address"] or "", event["sign_in"] or "") == (row.ip, row.session)
        assert (event["description"], event["time"]) == (row.description, shown_time(row.micros))
        assert event["customer"]["name"] == CUSTOMER
        if event["action"] == "HOST_LOGON":
            assert reader.ask(f"{native.EVENTS}/{event['id']}") == event


def test_it_says_what_papi_says(portal, reader):
    """The same events in another dialect, one for one."""
    papi = Papi(portal.base, READER, PASSWORD)
    window = {"end_time": "2024-12-31 23:59:59"}
    told = {event["audit_event_id"]: event for event in papi.all_events(**window)}
    events = {id_of(event): event for event in reader.all(end="2024-12-31T23:59:59.999999Z")}
    assert set(told) == set(events) and len(told) > 500
    for event_id, event in events.items():
        other = told[event_id]
        assert (event["action"], event["category"], event["severity"]) == (
            other["event_name"],
            other["event_category"],
            other["event_severity"],
        )
        assert (event["entity"]["type"], event["entity"]["id"]) == (other["entity_type"], other["entity_id"])
        assert (event["actor"]["account"] or "", event["address"]) == (other["account"], other["src_ip"])
        assert event["time"][:19].replace("T", " ") == other["ts"]


def counts(events, key):
    """How many events have each value."""
    return collections.Counter(key(event) for event in events)


def test_every_filter_gives_what_it_says(reader):
    """Counted in the whole list, each filter by its most frequent and by its rarest value."""
    window = {"end": "2024-12-31T00:00:00Z"}
    events = reader.all(**window)
    filters = {
        "account": lambda e: e["actor"]["account"],
        "actor": lambda e: e["actor"]["id"],
        "address": lambda e: e["address"],
        "action": lambda e: e["action"],
        "category": lambda e: e["category"],
        "severity": lambda e: e["severity"],
        "entity_type": lambda e: e["entity"]["type"],
        "entity": lambda e: e["entity"]["id"],
    }
    for name, key in filters.items():
        found = counts(events, key)
        values = [value for value, _ in found.most_common() if value and "," not in value and "\\" not in value]
        values = [value for value in values if value == value.strip()]
        for value in (values[0], values[-1]):
            wanted = [e for e in events if key(e) == value]
            if name == "account":
                wanted = [e for e in events if (key(e) or "").lower() == value.lower()]
            page = reader.ask(**{name: value}, limit=1000, count="true", **window)
            assert page["total"] == len(wanted) and page["events"] == wanted[:1000], (name, value)
    for text in ("logged on", "S3.AMAZON", "192.0.2.1", "%", "_"):
        wanted = [e for e in events if text.lower() in e["description"].lower()]
        assert reader.ask(description=text, limit=1, count="true", **window)["total"] == len(wanted), text
        texts = lambda e: (e["description"], e["actor"]["account"] or "", e["address"] or "")
        wanted = [e for e in events if any(text.lower() in each.lower() for each in texts(e))]
        assert reader.ask(text=text, limit=1, count="true", **window)["total"] == len(wanted), text


# The feed


def log_places(annals):
    """Where each event of the customer stands in the log: (topic, partition), offset."""
    places = {}
    for record in annals.dump():
        event_id = record["event"]["meta"]["event_id"].replace("-", "")
        places.setdefault(event_id, ((record["topic"], record["partition"]), record["offset"]))
    return places


def assert_in_log_order(ids, places):
    """Within each partition the ids come in the order of the log."""
    last = {}
    for event_id in ids:
        partition, offset = places[event_id]
        assert last.get(partition, -1) < offset, (partition, offset)
        last[partition] = offset


def test_a_feed_reader_that_is_killed_misses_nothing_and_gets_nothing_twice(portal, token, stored, tmp_path):
    file = tmp_path / "feed.jsonl"
    program = Path(__file__).with_name("feed_reader.py")
    arguments = [sys.executable, program, portal.base, file, "23", json.dumps(token.headers)]
    choice, killed = random.Random(5), 0

    def pages():
        text = file.read_bytes() if file.exists() else b""
        return [json.loads(line) for line in text[: text.rfind(b"\n") + 1].splitlines()]

    def ids():
        return [event_id.replace("-", "") for page in pages() for event_id in page["ids"]]

    with Ingest(portal.annals, tmp_path, 70) as ingest:
        while ingest.runs() or killed < 10:
            goal = len(pages()) + choice.randrange(1, 8)
            with subprocess.Popen(arguments, env=clean_environment()) as reading:
                until(lambda: len(pages()) >= goal or len(ids()) >= len(stored.rows()), "the reader got on")  # noqa: B023
                assert reading.poll() is None
                reading.kill()
            killed += 1
    with subprocess.Popen(arguments, env=clean_environment()) as reading:
        until(lambda: set(ids()) >= {row.id for row in stored.rows()}, "the reader has everything")
        reading.kill()
    read = ids()
    assert len(read) == len(set(read)), "something came twice"
    assert set(read) <= {row.id for row in stored.rows()}
    assert_in_log_order(read, log_places(portal.annals))


def test_the_feed_is_complete_from_an_empty_token_whatever_the_size_of_its_pages(portal, reader, stored):
    """And filters narrow it; the token goes on behind what they left out."""
    for limit in (1000, 61):
        known = {row.id for row in stored.rows()}
        events = [event for page in reader.feed(limit=limit) for event in page["events"]]
        ids = [id_of(event) for event in events]
        assert len(ids) == len(set(ids)) and known <= set(ids)
        assert_in_log_order(ids, log_places(portal.annals))
    logons = [event for page in reader.feed(limit=61, action="HOST_LOGON") for event in page["events"]]
    assert [event["id"] for event in logons] == [event["id"] for event in events if event["action"] == "HOST_LOGON"]


def test_a_token_of_now_gives_only_what_comes_later(portal, reader, tmp_path):
    (*_, last) = reader.feed(limit=1000)
    position = reader.position()
    file = tmp_path / "later.jsonl"
    # Late by its own time, which the feed does not go by.
    write_lines(file, [cloud_record(80, 1, datetime.datetime(2001, 1, 1), eventName="ListLater")])
    portal.annals.import_files("cloudtrail", CUSTOMER, file)

    def later(token):
        events = [e for page in reader.feed(token, limit=1000) for e in page["events"]]
        return [event["action"] for event in events if event["category"] == "cloud_read"]

    for token in (last["next"], position):
        until(lambda: later(token) == ["S3_LIST_LATER"], "what came later is in the feed")  # noqa: B023


# Live


def test_a_live_stream_shows_events_as_they_come_and_goes_on_after_a_cut(portal, reader, stored, tmp_path):
    """Cut at any event, and taken up by the id of the last one that was read."""
    before = {row.id for row in stored.rows()}
    choice, ids, last_id = random.Random(6), [], None
    with reader.live() as live, Ingest(portal.annals, tmp_path, 81, files=6):
        streams = live.events()
        for _ in range(40):
            ids.append(id_of(next(streams)))
        last_id = live.last_id
    for _ in range(8):
        with reader.live(last_event_id=last_id) as live:
            streams = live.events()
            for _ in range(choice.randrange(1, 60)):
                ids.append(id_of(next(streams)))
            last_id = live.last_id
    # What was imported; reads of the log are events as well, and may have come just before the stream.
    wanted = {row.id for row in stored.rows() if row.seconds < BEGIN_OF_TESTS} - before
    with reader.live(last_event_id=last_id) as live:
        streams = live.events()
        while not set(ids) >= wanted:
            ids.append(id_of(next(streams)))
    assert len(ids) == len(set(ids)), "something came twice"
    assert not before & set(ids)
    assert_in_log_order(ids, log_places(portal.annals))


def test_a_live_stream_from_the_beginning_is_the_feed(reader):
    whole = [event for page in reader.feed(limit=1000, action="HOST_LOGON") for event in page["events"]]
    with reader.live(after="", action="HOST_LOGON") as live:
        streams = live.events()
        assert [next(streams)["id"] for _ in whole] == [event["id"] for event in whole]


def test_live_streams_end_when_their_credential_or_the_server_does(new_annals, tmp_path):
    annals = new_annals("streams")
    annals.add_customer(CUSTOMER)
    annals.add_account(READER, CUSTOMER, PASSWORD, credentials.VIEW_AUDIT_LOG)
    tokens = [credentials.add(annals, credentials.BEARER, READER, f"stream-{number}") for number in range(2)]
    server = annals.serve()
    revoked, kept = (Native(server.base, each).live() for each in tokens)
    credentials.revoke(annals, tokens[0])
    # It ends by itself: reading it comes to an end.
    assert all(event["action"] for event in revoked.events())
    assert Native(server.base, tokens[0]).problem() == (401, "unauthenticated")
    # The server does not wait for streams that never end.
    server.stop()
    assert all(event["action"] for event in kept.events())
    annals.close()
