"""`annals query` and `annals tail`: the questions of the native API in a terminal."""

import csv
import datetime
import io
import json
import random
import re
import signal
import subprocess
import unicodedata
from pathlib import Path

import pytest

import credentials
import datasets
from conftest import PASSWORD
from generated import cloud_record, write_lines
from native import Native
from program import until
from test_hostile_text import TEXTS, cloud_text

CUSTOMER, OTHER, READER = "acme@example.com", "other@example.com", "reader@example.com"
END = "2024-12-31T00:00:00Z"
# What makes a terminal do something, or a reader read something else.
OBEYED = {"Cc", "Cf"}


@pytest.fixture(scope="module")
def portal(new_annals, tmp_path_factory):
    """A site with the generated records and with hostile texts; and another customer, whom an operator sees too."""
    annals = new_annals("terminal")
    file = tmp_path_factory.mktemp("records") / "texts.jsonl"
    write_lines(file, (cloud_text(number, text) for number, text in enumerate(TEXTS.values())))
    for customer in (CUSTOMER, OTHER):
        annals.add_customer(customer)
        for importer in datasets.IMPORTERS:
            annals.import_files(importer, customer, datasets.available()[1].file(importer))
    annals.import_files("cloudtrail", CUSTOMER, file)
    annals.add_account(READER, CUSTOMER, PASSWORD, credentials.VIEW_AUDIT_LOG)
    yield annals.serve()
    annals.close()


@pytest.fixture(scope="module")
def reader(portal):
    """A reader of the first customer, at the native API."""
    return Native(portal.base, credentials.add(portal.annals, credentials.BEARER, READER, "terminal"))


def query(portal, *options):
    """What the command prints."""
    done = subprocess.run(**portal.annals.command("query", *options), capture_output=True, check=True, timeout=60)
    # As it is: line ends of a file are part of it.
    return done.stdout.decode()


def lines(text):
    """The lines of a text, whatever letters are in it."""
    assert text.endswith("\n")
    return text.removesuffix("\n").split("\n")


def test_a_query_gives_the_events_of_the_api(portal, reader):
    wanted = reader.all(end=END)
    found = lines(query(portal, "--customer", CUSTOMER, "--end", END, "--limit", "100000", "--format", "json"))
    assert [json.loads(line) for line in found] == wanted and len(wanted) > 500
    oldest = query(
        portal, "--customer", CUSTOMER, "--end", END, "--limit", "7", "--order", "oldest", "--format", "json"
    )
    assert [json.loads(line) for line in lines(oldest)] == reader.page(end=END, sort="time", limit=7)
    assert query(portal, "--customer", CUSTOMER, "--end", END, "--limit", "100000", "--format", "csv") == reader.file(
        "csv", end=END
    )


def test_filters_narrow_a_query_and_the_total_is_counted(portal, reader):
    for options, parameters in (
        (("--account", "user0"), {"account": "user0"}),
        (("--account", "user0", "--account", "ada"), {"account": "user0,ada"}),
        (("--address", "::ffff:192.0.2.10"), {"address": "192.0.2.10"}),
        (("--action", "HOST_LOGON", "--severity", "INFO"), {"action": "HOST_LOGON", "severity": "INFO"}),
        (("--category", "cloud_change"), {"category": "cloud_change"}),
        (("--entity-type", "host", "--entity", "GATE"), {"entity_type": "host", "entity": "GATE"}),
        (("--text", "PRESS1"), {"text": "PRESS1"}),
        (("--start", "2022-10-30T00:00:00Z"), {"start": "2022-10-30T00:00:00Z"}),
    ):
        common = ("--customer", CUSTOMER, "--end", END, "--format", "json", "--count")
        done = portal.annals.run("query", *common, *options, "--limit", "3")
        page = reader.ask(**parameters, end=END, limit=3, count="true")
        assert [json.loads(line) for line in lines(done.stdout)] == page["events"], options
        total = f"{page['total']:,}"
        assert total in done.stderr or total.replace(",", "") in done.stderr.replace(" ", ""), (options, done.stderr)


def test_a_query_without_filters_is_of_all_customers_and_is_recorded(portal, reader):
    found = [json.loads(line) for line in lines(query(portal, "--limit", "100000", "--format", "json"))]
    assert {event["customer"]["name"] for event in found} >= {CUSTOMER, OTHER, "operator"}

    def recorded():
        text = query(portal, "--action", "AUDIT_LOG_READ", "--customer", "operator", "--format", "json")
        return text and json.loads(lines(text)[0])

    assert until(recorded, "the read is an event")["actor"]["kind"] == "system"


def test_a_table_has_a_head_and_a_row_for_each_event(portal):
    table = lines(query(portal, "--customer", CUSTOMER, "--end", END, "--limit", "5"))
    assert len(table) == 6 and table[0].split()[:2] == ["TIME", "SEVERITY"]
    nothing = portal.annals.run("query", "--account", "nobody.at.all", "--format", "json")
    assert nothing.stdout == ""


@pytest.mark.parametrize("form", ["table", "json"])
def test_nothing_that_a_terminal_obeys_is_printed(portal, form):
    """Names in events come from whoever tried to log on."""
    day = ("--start", "2021-03-04T05:00:00Z", "--end", "2021-03-04T05:59:59Z", "--limit", "1000")
    text = query(portal, *day, "--format", form)
    bad = {character for character in text if unicodedata.category(character) in OBEYED} - {"\n"}
    # These join and mark letters, and turn nothing around.
    bad -= {"\u200d", "\u200c", "\ufeff"}
    assert not bad, bad
    assert len(lines(text)) == len(TEXTS) + (form == "table")


def test_what_cannot_be_asked_is_refused_in_words(portal, new_annals):
    for options in (
        ("--start", "yesterday"),
        ("--severity", "FATAL"),
        ("--address", "10.0.0.0/8"),
        ("--format", "xml"),
        ("--limit", "-1"),
        ("--shoe", "45"),
    ):
        refused = portal.annals.run("query", *options, status=None)
        assert refused.returncode != 0 and refused.stderr and not refused.stdout, options
    unserved = new_annals("unserved")
    unserved.add_customer(CUSTOMER)
    refused = unserved.run("query", status=None)
    assert refused.returncode == 1 and "annals serve" in refused.stderr
    unserved.close()


def test_a_tail_goes_on_only_after_a_token_of_its_own_log(portal, new_annals):
    """Of another log, damaged or none at all: it is told, and nothing is printed."""
    other = new_annals("other-log")
    other.add_customer(CUSTOMER)
    other.add_account(READER, CUSTOMER, PASSWORD, credentials.VIEW_AUDIT_LOG)
    server = other.serve()
    foreign = Native(server.base, credentials.add(other, credentials.BEARER, READER, "other")).position()
    other.close()
    for token, words in ((foreign, "another log"), (foreign[:-1], "damaged"), ("x", "damaged")):
        refused = portal.annals.run("tail", "--after", token, status=1)
        assert "--after" in refused.stderr and words in refused.stderr and not refused.stdout, refused.stderr


class Tail:
    """A tail that runs until it is interrupted."""

    def __init__(self, annals, file, *options):
        self.file, self.errors = file, file.with_suffix(".err")
        with file.open("wb") as output, self.errors.open("wb") as errors:
            command = annals.command("tail", "--format", "json", *options)
            self.process = subprocess.Popen(**command, stdin=subprocess.DEVNULL, stdout=output, stderr=errors)

    def events(self):
        """What it has printed."""
        text = self.file.read_bytes()
        return [json.loads(line) for line in text[: text.rfind(b"\n") + 1].split(b"\n")[:-1]]

    def interrupt(self):
        """Ends it as Ctrl-C does; gives the token to go on with."""
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(30) == 0, self.errors.read_text()
        said = self.errors.read_text().rstrip("\n").rsplit("\n", 1)[-1]
        assert said.startswith("annals: go on with --after "), said
        return said.rsplit(" ", 1)[1]

    def interrupted_at_once(self):
        """Ends it as soon as it can be: before that it knows no token."""
        until(lambda: self.process.poll() is not None or is_waiting(self.process.pid), "the tail waits for events")
        return self.interrupt()


def is_waiting(pid):
    """Whether a process has taken over its signals: it then ends by itself."""
    (caught,) = re.findall(r"^SigCgt:\s*([0-9a-f]+)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return bool(int(caught, 16) >> (signal.SIGINT - 1) & 1)


def test_a_tail_that_ends_and_goes_on_misses_nothing_and_prints_nothing_twice(portal, tmp_path):
    choice = random.Random(9)
    files = []
    for number in range(12):
        files.append(tmp_path / f"new-{number}.jsonl")
        moments = (
            datetime.datetime(2019, 1, 1) + datetime.timedelta(seconds=choice.randrange(10**8)) for _ in range(50)
        )
        write_lines(
            files[-1], (cloud_record(95, number * 50 + n, m, eventName="ListTail") for n, m in enumerate(moments))
        )
    filters = ("--customer", CUSTOMER, "--action", "S3_LIST_TAIL")
    # Where it begins is known before anything comes.
    token = Tail(portal.annals, tmp_path / "begin.jsonl", *filters).interrupted_at_once()
    printed = []
    importing = portal.annals.command("import", "cloudtrail", *files, "--customer", CUSTOMER)
    with subprocess.Popen(**importing, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
        while len(printed) < len(files) * 50:
            goal = choice.randrange(1, 120)
            tail = Tail(portal.annals, tmp_path / "tail.jsonl", *filters, "--after", token)
            left = len(files) * 50 - len(printed)
            until(lambda: len(tail.events()) >= min(goal, left), "the tail has printed some", 60)  # noqa: B023
            token = tail.interrupt()
            printed += [event["id"] for event in tail.events()]
    assert len(printed) == len(set(printed)) == 600


def test_a_tail_after_an_empty_token_is_the_whole_feed(portal, reader, tmp_path):
    wanted = [event["id"] for page in reader.feed(limit=1000, action="HOST_LOGON") for event in page["events"]]
    tail = Tail(
        portal.annals, tmp_path / "whole.jsonl", "--customer", CUSTOMER, "--action", "HOST_LOGON", "--after", ""
    )
    until(lambda: len(tail.events()) >= len(wanted), "the tail has printed everything")
    tail.interrupt()
    assert [event["id"] for event in tail.events()] == wanted


def test_csv_of_the_terminal_is_read_by_a_strict_reader(portal):
    text = query(portal, "--customer", CUSTOMER, "--end", END, "--limit", "100000", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
    assert len(rows) > 500 and len({row["id"] for row in rows}) == len(rows)
