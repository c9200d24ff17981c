"""What the importers count, and how what they append becomes visible while a server runs."""

import datetime
import json
import random
import re
import uuid

import pytest

import datasets
import reading
from papi import Papi, shown
from program import until


@pytest.fixture(scope="module")
def annals(new_annals):
    """An installation without a server."""
    made = new_annals("import")
    yield made
    made.close()


@pytest.fixture
def customer(annals):
    """A customer of each test's own: what others imported says nothing about it."""
    name = f"{uuid.uuid4().hex}@example.com"
    annals.add_customer(name)
    return name


def lines_of(path):
    """The records of a file, as written."""
    return [line.rstrip(b"\r\n") for _, line in reading.read_lines(path)]


@pytest.mark.parametrize("importer", datasets.IMPORTERS)
def test_the_first_import_publishes_and_the_second_knows(annals, customer, dataset, importer):
    file, events = dataset.file(importer), dataset.lines(importer)
    distinct = len(reading.distinct(events))
    if dataset.name == "real":
        assert distinct == len(events) == datasets.REAL_COUNTS[file.name]
    first = annals.import_files(importer, customer, file)
    assert (first["read"], first["published"], first["already_known"], first["failed"]) == (
        len(events),
        distinct,
        len(events) - distinct,
        0,
    )
    assert sum(first["by_event"].values()) == distinct
    second = annals.import_files(importer, customer, file)
    assert (second["read"], second["published"], second["already_known"], second["failed"]) == (
        len(events),
        0,
        len(events),
        0,
    )


@pytest.mark.parametrize("importer", datasets.IMPORTERS)
def test_the_summary_for_people_says_the_same(annals, customer, dataset, importer):
    events = dataset.lines(importer)
    published = len(reading.distinct(events))
    done = annals.run("import", importer, dataset.file(importer), "--customer", customer)
    # "1,581" and "1581" are both fine to read.
    said = (done.stdout + done.stderr).replace(",", "").lower()
    for count, word in ((published, "published"), (len(events) - published, "already known")):
        assert re.search(rf"\b{count} {word}|{word}\W+{count}\b", said), said


def another_record(line):
    """A record that is not in the file: a copy of one with another id, number or, where it has neither, content."""
    record = json.loads(line)
    if "eventID" in record:
        return {**record, "eventID": "00000000-aaaa-bbbb-cccc-000000000001"}
    if "RecordNumber" in record:
        return {**record, "RecordNumber": 987654321}
    return {**record, "Task": "987654321"}


@pytest.mark.parametrize("importer", datasets.IMPORTERS)
def test_a_shuffled_file_with_one_new_record_publishes_one(annals, customer, dataset, importer, tmp_path):
    file = dataset.file(importer)
    annals.import_files(importer, customer, file)
    lines = lines_of(file)
    known = len(lines)
    lines.append(json.dumps(another_record(lines[0])).encode())
    random.Random(7).shuffle(lines)
    shuffled = tmp_path / "shuffled.jsonl"
    shuffled.write_bytes(b"\n".join(lines) + b"\n")
    again = annals.import_files(importer, customer, shuffled)
    assert (again["published"], again["already_known"], again["failed"]) == (1, known, 0)


def test_the_keys_of_a_record_may_stand_in_any_order(annals, customer, dataset, tmp_path):
    """Records without a number are known by their canonical form."""
    annals.import_files("windows-security", customer, dataset.windows)
    records = [json.loads(line) for line in lines_of(dataset.windows)]
    turned = tmp_path / "turned.jsonl"
    turned.write_text("".join(json.dumps(dict(reversed(record.items()))) + "\n" for record in records))
    again = annals.import_files("windows-security", customer, turned)
    assert (again["published"], again["already_known"]) == (0, len(records))


def test_two_files_in_one_command_are_one_import(annals, customer, dataset, tmp_path):
    lines = lines_of(dataset.cloudtrail)
    half = len(lines) // 2
    parts = tmp_path / "one.jsonl", tmp_path / "two.jsonl"
    parts[0].write_bytes(b"\n".join(lines[: half + 1]) + b"\n")
    parts[1].write_bytes(b"\n".join(lines[half:]) + b"\n")
    summary = annals.import_files("cloudtrail", customer, *parts)
    distinct = len(reading.distinct(dataset.lines("cloudtrail")))
    assert (summary["read"], summary["published"]) == (len(lines) + 1, distinct)


def test_two_customers_may_import_the_same_records(annals, customer, dataset):
    """An id belongs to a customer: nobody learns from `already known` what somebody else has."""
    neighbour = f"other-{customer}"
    annals.add_customer(neighbour)
    first = annals.import_files("cloudtrail", customer, dataset.cloudtrail)
    other = annals.import_files("cloudtrail", neighbour, dataset.cloudtrail)
    assert other == first


def test_an_import_while_a_server_runs_becomes_visible(site, dataset):
    """The importer is a process of its own; the server must see what it appends without being told."""
    customer = f"{dataset.name}@example.com"
    site.annals.add_customer(customer)
    site.annals.add_account(f"reader-{dataset.name}@example.com", customer, "some password", "can_manage_users")
    client = Papi(site.base, f"reader-{dataset.name}@example.com", "some password")
    events = dataset.read()
    window = {"start_time": shown(min(e.time for e in events)), "end_time": shown(max(e.time for e in events))}
    assert client.events(**window) == []
    for importer in datasets.IMPORTERS:
        site.annals.import_files(importer, customer, dataset.file(importer))
    until(lambda: len(client.events(max_results=10000, **window)) >= len(events), "every imported event is shown")
    assert len(client.events(max_results=10000, **window)) == len(events)


def test_the_log_holds_what_was_imported(imported):
    """One line per record, each with where it stands, when it was recorded and the event."""
    dumped = imported.annals.dump()
    for record in dumped:
        assert {"topic", "partition", "offset", "recorded_at", "event_type", "event"} <= set(record)
        assert record["event"]["meta"]["event_id"]
    places = [(record["topic"], record["partition"], record["offset"]) for record in dumped]
    assert len(set(places)) == len(places)
    logons = imported.annals.dump("--topic", "annals.host-logons")
    assert {record["topic"] for record in logons} == {"annals.host-logons"}
    names = ("HOST_LOGON", "FAILED_HOST_LOGON", "HOST_LOGOFF")
    assert len(logons) == sum(event.name in names for event in imported.events)
    published = sum(summary["published"] for summary in imported.summaries.values())
    own = sum(record["event"]["meta"]["source"].startswith("annals:") for record in dumped)
    assert len(dumped) - own == published == len(imported.events)


def good_line(number):
    """A record of an unremarkable logon."""
    return json.dumps(
        {
            "EventID": 4624,
            "Channel": "Security",
            "Hostname": "ws1.example.com",
            "TargetUserName": "ada",
            "TargetDomainName": "EXAMPLE",
            "TargetUserSid": "S-1-5-21-1-2-3-1001",
            "TargetLogonId": f"0x{number:x}",
            "LogonType": "3",
            "IpAddress": "192.0.2.7",
            "TimeCreated": f"2020-10-18T02:{number:02}:00Z",
        }
    ).encode()


BAD_LINES = {
    "half a line": b'{"EventID": 4624, "Channel": "Secu',
    "not UTF-8": b'{"EventID": 4624, "Channel": "\xff\xfe"}',
    "not an object": b"[1, 2, 3]",
    "not JSON": b"hello",
    "no event id": b'{"Channel": "Security", "Hostname": "h", "TimeCreated": "2020-10-18T02:00:00Z"}',
    "no time": b'{"EventID": 4624, "Channel": "Security", "Hostname": "h"}',
    "nested too deep": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
}


def import_bad(annals, customer, file, line):
    """Imports a file with one bad line, for a program and for people: both must name the line and say why."""
    done = annals.run("import", "windows-security", file, "--customer", customer, "--json", status=None)
    assert done.returncode not in (0, 101) and done.returncode > 0, done
    summary = json.loads(done.stdout)
    assert summary["failed"] == 1
    (failure,) = summary["failures"]
    assert (failure["file"], failure["line"]) == (str(file), line) and failure["reason"]
    again = annals.run("import", "windows-security", file, "--customer", customer, status=done.returncode)
    said = again.stdout + again.stderr
    assert re.search(rf"\b{line}\b[^\n]*{re.escape(failure['reason'])}", said), said
    assert "panicked" not in said
    return summary


@pytest.mark.parametrize("last", [True, False], ids=["last line", "in the middle"])
@pytest.mark.parametrize("bad", BAD_LINES.values(), ids=BAD_LINES.keys())
def test_a_bad_line_is_named_and_the_rest_goes_on(annals, customer, tmp_path, bad, last):
    file = tmp_path / "records.jsonl"
    lines = [good_line(1), good_line(2), bad] if last else [good_line(1), bad, good_line(2)]
    file.write_bytes(b"\n".join(lines))
    summary = import_bad(annals, customer, file, 3 if last else 2)
    assert (summary["read"], summary["published"]) == (3, 2)


def test_a_line_of_100_megabytes_is_refused_and_the_rest_goes_on(annals, customer, tmp_path):
    file = tmp_path / "long.jsonl"
    with file.open("wb") as output:
        output.write(good_line(1) + b'\n{"EventID": 4624, "Message": "')
        for _ in range(100):
            output.write(b"x" * 1_000_000)
        output.write(b'"}\n' + good_line(2) + b"\n")
    assert import_bad(annals, customer, file, 2)["published"] == 2


def test_a_file_that_is_not_there_and_an_unknown_customer_are_named(annals, customer, tmp_path):
    """And nothing is published."""
    records = datasets.available()[0].cloudtrail
    begin = datetime.datetime.now(datetime.timezone.utc).isoformat()
    missing = annals.run("import", "cloudtrail", tmp_path / "nowhere.jsonl", "--customer", customer, status=None)
    assert missing.returncode not in (0, 101) and "nowhere.jsonl" in missing.stderr
    unknown = annals.run("import", "cloudtrail", records, "--customer", "who@example.com", status=None)
    assert unknown.returncode not in (0, 101) and "who@example.com" in unknown.stderr
    assert annals.dump("--from", begin) == []
    annals.import_files("cloudtrail", customer, records)
    assert len(annals.dump("--from", begin)) == len(reading.distinct(datasets.available()[0].lines("cloudtrail")))
