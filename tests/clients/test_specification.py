"""The table in coverage.py is true: every test it names exists, every entry has one or a reason, none is forgotten."""

import collections
import re
import subprocess
import sys
from pathlib import Path

import pytest

import coverage
from papi import EVENT_FIELDS
from santaba import ITEM_FIELDS

HERE = Path(__file__).resolve().parent

of_the_table = pytest.mark.only("embedded", "the table is the same whatever the engines")

# Counted in the documents: a line lost from the table shows here.
AUDITLOG_PARAMETERS = 13 + 2  # and the credentials of the quick start
AUDITLOG_FIELDS = 11 + 4  # and the names that only the sample has
SESSION_CODES = 4 + 3  # and those of sibling documents
ACCESSLOGS_PARAMETERS = 5


@pytest.fixture(scope="module")
def node_ids():
    """Every test there is, without what parametrization adds: collected afresh, as this run may be of a part only."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", str(HERE)]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return {re.sub(r"\[.*", "", line).strip() for line in done.stdout.splitlines() if "::" in line}


@of_the_table
@pytest.mark.parametrize("entry", coverage.TABLE, ids=lambda e: f"{e.document} {e.kind} {e.name}")
def test_every_entry_is_held_by_tests_that_exist(entry, node_ids):
    assert bool(entry.tests) != bool(entry.not_built_yet)
    for test in entry.tests:
        assert test in node_ids, f"{entry.name} is said to be held by {test}, which does not exist"


@of_the_table
def test_nothing_is_listed_twice():
    counts = collections.Counter((entry.document, entry.kind, entry.name) for entry in coverage.TABLE)
    assert not [name for name, count in counts.items() if count > 1]


@of_the_table
def test_the_table_is_as_long_as_the_documents():
    counts = collections.Counter((entry.document, entry.kind) for entry in coverage.TABLE)
    assert counts["auditlog", "parameter"] == AUDITLOG_PARAMETERS
    assert counts["auditlog", "field"] == AUDITLOG_FIELDS
    assert counts["session", "code"] == SESSION_CODES
    assert counts["accesslogs", "parameter"] == ACCESSLOGS_PARAMETERS
    assert counts["accesslogs", "field"] == len(ITEM_FIELDS)


@of_the_table
def test_the_table_has_every_field_that_the_other_tests_ask_for():
    assert {entry.name for entry in coverage.AUDITLOG if entry.kind == "field"} == EVENT_FIELDS


@pytest.mark.parametrize("function", coverage.ABSENT_FUNCTIONS)
def test_what_is_not_built_yet_answers_404(site, function):
    """When somebody builds it, this fails and the table gets its tests."""
    answer = site.sign_in().request(f"session/{function}.json")
    assert (answer.status_code, answer.json()["success"]) == (404, 0)
