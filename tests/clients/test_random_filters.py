"""Random filters of the dialect santaba, compared with what they mean: totals, pages and their order.

ANNALS_RANDOM_FILTERS says how many are asked in all (10,000); each of the two engines asks half. What a filter means is
said independently (filter_meaning.py), over the rows as the database has them (stored_rows.py).
"""

import concurrent.futures
import datetime
import os
import random
import time

import pytest

import credentials
import datasets
import filter_meaning
import stored_rows
from conftest import PASSWORD
from generated import cloud_record, write_lines
from program import until
from random_filters import RandomFilters, written
from santaba import PAGE_LIMIT, VERSIONS, Caller, listing
from test_hostile_text import TEXTS, cloud_text, windows_record
from test_moving import lag, log_of, store_of

FILTERS = int(os.environ.get("ANNALS_RANDOM_FILTERS") or 10_000) // 2
CHUNKS = 10
CHUNK = max(1, FILTERS // CHUNKS)
# Each of these is one query of its own to the database; psql is a process.
IN_SQL = {"sqlite": 400, "postgres": 100}

CUSTOMER, OTHER, READER = "acme@example.com", "other@example.com", "reader@example.com"
DAY = 86_400

# Letters whose small forms are longer, shorter or none, and what means something to databases.
LETTERS = {
    "dotted capital": "\u0130stanbul \u0130\u0130",
    "dotless": "\u0131stanbul DIYARBAKIR",
    "kelvin": "300 \u212a and \u212bngstr\u00f6m",
    "sharp s": "Stra\u00dfe STRASSE \u1e9e",
    "sigmas": "\u039f\u0394\u039f\u03a3 \u03bf\u03b4\u03cc\u03c2",
    "emoji": "\U0001f980 crab \U0001f980\U0001f980",
    "one letter": "x",
    "two letters": "qz zq",
    "wildcards of databases": "100% _under_ 5%_ [a-z] ?",
    "words of queries": "NEAR OR AND NOT a AND b or c",
    "quotes": "\"quoted\" 'single' `back`",
}


def fill(directory):
    """Imports everything there is for one customer, and the same for another, who must never be seen."""

    def run(annals, customer):
        annals.add_customer(OTHER)
        texts = directory / "cloud-texts.jsonl", directory / "windows-texts.jsonl"
        all_texts = [*TEXTS.values(), *LETTERS.values()]
        write_lines(texts[0], (cloud_text(number, text) for number, text in enumerate(all_texts)))
        write_lines(texts[1], (windows_record(number, text) for number, text in enumerate(all_texts)))
        for owner in (customer, OTHER):
            for dataset in datasets.available():
                for importer in datasets.IMPORTERS:
                    annals.import_files(importer, owner, dataset.file(importer))
            annals.import_files("cloudtrail", owner, texts[0])
            annals.import_files("windows-security", owner, texts[1])
        annals.add_account(READER, customer, PASSWORD, credentials.VIEW_AUDIT_LOG)

    return run


class Portal:
    """A site, its callers in all versions, and the rows behind it."""

    def __init__(self, annals, server):
        self.annals = annals
        self.stored = stored_rows.Stored(annals, CUSTOMER)
        self.credential = credentials.add(annals, credentials.LMV1, READER, f"reader-{time.time_ns()}")
        self.serve(server)
        self.table = None
        self.refresh()
        self.shown_ids = {row_id: shown for shown, row_id in self.pairs()}
        self.random = RandomFilters(self.table, self.shown_ids)

    def serve(self, server):
        """The server that is asked."""
        self.server = server
        self.callers = {version: Caller(server.base, self.credential.santaba, version) for version in VERSIONS}

    def refresh(self):
        """Reads the rows; says whether there are others than before."""
        before, rows = self.table, self.stored.rows()
        self.table = filter_meaning.Table(rows)
        return before is None or before.rows != rows

    def pairs(self):
        """Ids as they are shown with those that are stored. Clients take them for opaque; this test does not."""
        _, items = self.callers[3].all()
        return [(item["id"], item["id"].replace("-", "").lower()) for item in items]

    def expected(self, filters, version, now):
        """The rows that filters mean in a version; None when nothing says which."""
        bits = filter_meaning.meaning(self.table, filters)
        if bits is None:
            return None
        rows = self.table.chosen(bits)
        if version == 1 and not any(each.names_the_time() for each in filters):
            rows = [row for row in rows if row.micros >= (now - DAY) * 1_000_000]
        return rows

    def mistake(self, number):
        """What is wrong with the answer to the question of a number: (question, answer, wanted), or None.

        Also None, and counted, where nothing says what the question means.
        """
        filters, choice = self.random.make(number)
        version = choice.choice((3, 3, 3, 2, 1))
        query = written(filters, choice)
        size = choice.choice((1, 7, 50, 50, 50, PAGE_LIMIT[version]))
        skipped, whole = choice.random(), choice.randrange(10) == 0
        for _ in range(5):
            wanted = self.expected(filters, version, time.time())
            if wanted is None:
                return "unsaid"
            offset = 0 if skipped < 0.5 else int((skipped - 0.5) * 2 * (len(wanted) + 2))
            page = f"&size={size}&offset={offset}"
            found = self.found(version, query, page, size, offset, whole and size >= 50)
            slice_end = None if whole and size >= 50 else offset + size
            ids = [row.id for row in wanted][offset:slice_end]
            if found == (len(wanted), ids):
                return None
            # Reads of the log are events too; the rows may not be those that the server saw.
            if not self.refresh():
                return f"v{version} {query}{page}", found, (len(wanted), ids)
        raise AssertionError("the rows change all the time")

    def found(self, version, query, page, size, offset, whole):
        """Total and ids of a page, or of all pages from there on."""
        caller = self.callers[version]
        answer = caller.ask(query + page)
        if answer.status != 200 or caller.version == 1 and answer.json()["status"] != 200:
            return answer.body
        total, items = listing(answer, version)
        while whole and offset + len(items) < total:
            _, more = listing(caller.ask(f"{query}&size={size}&offset={offset + len(items)}"), version)
            if not more:
                break
            items += more
        return total, [item["id"].replace("-", "").lower() for item in items]


@pytest.fixture(scope="module")
def portal(new_site, tmp_path_factory):
    """A site with everything imported. Nothing changes it but the reads themselves."""
    directory = tmp_path_factory.mktemp("records")
    site = new_site("filters", CUSTOMER, fill(directory), options=credentials.NO_RATE_LIMIT)
    yield Portal(site.annals, site.server)
    site.annals.close()


def test_every_row_is_shown_as_the_database_has_it(portal):
    """What the other tests take for granted: id, time and texts of every row, in the default order."""

    def told():
        portal.refresh()
        total, items = portal.callers[3].all()
        shown = [stored_rows.Row(*map(text_of, item_values(item)), item["happenedOn"]) for item in items]
        rows = [stored_rows.Row(r.id, r.username, r.description, r.ip, r.session, r.seconds) for r in portal.table.rows]
        return (total, shown) == (len(rows), rows)

    until(told, "every row is shown")
    assert len(portal.table.rows) > 700


def item_values(item):
    """The texts of an entry in the order of a row."""
    return item["id"].replace("-", "").lower(), item["username"], item["description"], item["ip"], item["sessionId"]


def text_of(value):
    """A text that is not there is empty."""
    return value or ""


def report(mistakes):
    """The first few mistakes, in words."""
    lines = [f"{len(mistakes)} mistakes"]
    for number, (question, found, wanted) in list(mistakes.items())[:5]:
        lines.append(f"#{number}: {question}\n  answered {str(found)[:600]}\n  wanted   {str(wanted)[:600]}")
    return "\n".join(lines)


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_totals_and_pages_are_what_the_filters_mean(portal, chunk):
    results = {number: portal.mistake(number) for number in range(chunk * CHUNK, (chunk + 1) * CHUNK)}
    mistakes = {number: result for number, result in results.items() if isinstance(result, tuple)}
    assert not mistakes, report(mistakes)
    unsaid = sum(result == "unsaid" for result in results.values())
    assert unsaid <= CHUNK // 4, f"{unsaid} of {CHUNK} filters were not asked, because nothing says what they mean"


def test_totals_are_those_of_sql(portal):
    """The same filters as conditions in SQL, which the database itself counts."""
    asked, mistakes, number = 0, {}, 2 * FILTERS
    while asked < IN_SQL[portal.stored.dialect]:
        number += 1
        filters, choice = portal.random.make(number)
        if not filter_meaning.is_alike_in_sql(filters) or filter_meaning.meaning(portal.table, filters) is None:
            continue
        asked += 1
        query = written(filters, choice)
        condition = " AND ".join(each.sql() for each in filters)
        total, _ = listing(portal.callers[3].ask(query + "&size=1"), 3)
        # Rows are only ever added, the reads of this test among them.
        if total != portal.stored.count(condition):
            total, _ = listing(portal.callers[3].ask(query + "&size=1"), 3)
            counted = portal.stored.count(condition)
            if total != counted:
                mistakes[number] = query, total, f"{counted} by {condition}"
    assert not mistakes, report(mistakes)


@pytest.mark.parametrize("sort", ["+happenedOn", "-happenedOn", "+username", "-username", "+sessionId", "-sessionId"])
def test_any_order_ends_with_the_id(portal, sort):
    """Texts sort by their bytes. Rows without one stand together, at one end."""

    def told():
        portal.refresh()
        names = {"happenedOn": "micros", "username": "username", "sessionId": "session"}
        rows, name = sorted(portal.table.rows, key=lambda row: row.id), names[sort[1:]]
        value = lambda row: row.micros if name == "micros" else getattr(row, name).encode()
        rows.sort(key=value, reverse=sort[0] == "-")
        wanted = [row.id for row in rows]
        blanks = [row.id for row in rows if value(row) == b""]
        filled = [row.id for row in rows if value(row) != b""]
        _, items = portal.callers[3].all(sort=sort)
        found = [item["id"].replace("-", "").lower() for item in items]
        return found in (wanted, blanks + filled, filled + blanks)

    until(told, f"the rows come in the order {sort}")


def files_of_new_events(directory, count, size):
    """Files of events that nobody imported, most of them older than what is there."""
    choice = random.Random(count)
    names = ("Sarah", "sarah", "\u0130lker", "system:health", "100%")
    for number in range(count):
        path = directory / f"new-{number}.jsonl"
        moments = (
            datetime.datetime(2020, 1, 1) + datetime.timedelta(seconds=choice.randrange(10**8)) for _ in range(size)
        )
        write_lines(
            path,
            (
                cloud_record(50 + number, n, moment, choice.choice(names), eventName=choice.choice(("PutX", "ListX")))
                for n, moment in enumerate(moments)
            ),
        )
        yield path


def test_totals_are_between_before_and_after_while_events_come_in(portal, tmp_path):
    """Rows are only ever added, so a total lies between what is counted before the question and after it."""

    def ingest():
        for file in files_of_new_events(tmp_path, 30, 100):
            portal.annals.import_files("cloudtrail", CUSTOMER, file)

    mistakes, asked, grown = {}, 0, 0
    with concurrent.futures.ThreadPoolExecutor() as pool:
        ingesting = pool.submit(ingest)
        while not ingesting.done() or asked < 50:
            asked += 1
            filters, choice = portal.random.make(3 * FILTERS + asked)
            query = written(filters, choice)
            least = filter_meaning.meaning(portal.table, filters)
            total, items = listing(portal.callers[3].ask(query + "&size=1000"), 3)
            grown += portal.refresh()
            most = filter_meaning.meaning(portal.table, filters)
            if least is None or most is None:
                continue
            shown = [item["id"].replace("-", "").lower() for item in items]
            may_be_shown = {row.id for row in portal.table.chosen(most)}
            bounds = least.bit_count(), most.bit_count()
            if not bounds[0] <= total <= bounds[1] or len(set(shown)) < len(shown) or not may_be_shown >= set(shown):
                mistakes[asked] = query, total, bounds
        ingesting.result()
    assert not mistakes, report(mistakes)
    assert grown > 9, "nothing came in between the questions"


@pytest.fixture(scope="module")
def copied(new_annals, tmp_path_factory):
    """An installation whose log was copied: it does not know what was imported, so that a file goes in again."""
    directory = tmp_path_factory.mktemp("copied")
    first, second = new_annals("first"), new_annals("second")
    first.add_customer(CUSTOMER)
    files = [datasets.available()[1].cloudtrail, *files_of_new_events(directory, 2, 200)]
    for file in files:
        first.import_files("cloudtrail", CUSTOMER, file)
    first.add_account(READER, CUSTOMER, PASSWORD, credentials.VIEW_AUDIT_LOG)
    second.run("log", "copy", log_of(first), log_of(second))
    second.run("control", "copy", store_of(first), store_of(second))
    portal = Portal(second, second.serve(*credentials.NO_RATE_LIMIT))
    yield portal, files
    first.close()
    second.close()


def records(annals):
    """How many records the log has."""
    return len(annals.dump("--topic", "annals.audit"))


def test_late_and_repeated_events_change_totals_by_what_is_new(copied, tmp_path):
    """Remembered totals are brought forward: the same questions again and again, with events in between."""
    portal, files = copied
    questions = [portal.random.make(4 * FILTERS + number) for number in range(60)]
    questions = [(filters, written(filters, choice)) for filters, choice in questions]
    new = list(files_of_new_events(tmp_path, 12, 20))
    repeated = 0
    for number, late in enumerate(new):
        before = records(portal.annals)
        file = files[number % len(files)] if number < len(files) else late
        summary = portal.annals.import_files("cloudtrail", CUSTOMER, file)
        repeated += summary["published"] if number < len(files) else 0
        assert records(portal.annals) >= before + summary["published"]
        until(lambda: lag(portal.annals) == 0, "the view has everything")
        assert_answered(portal, questions)
    # The log has more records than there are events: what came twice is counted once.
    assert repeated > 400 and records(portal.annals) >= len(portal.table.rows) + repeated


def assert_answered(portal, questions):
    """Every question is answered by what it means now."""
    portal.refresh()
    for filters, query in questions:
        for _ in range(5):
            bits = filter_meaning.meaning(portal.table, filters)
            total, _ = listing(portal.callers[3].ask(query + "&size=1"), 3)
            if bits is None or total == bits.bit_count():
                break
            assert portal.refresh(), (query, total, bits.bit_count())
