"""The judge of the random filters is judged first: what a filter means, by hand, and how it is written."""

import random
import sqlite3
import urllib.parse

import pytest

from filter_meaning import (
    Filter,
    Glob,
    IsEmpty,
    OfId,
    OfNothing,
    OfText,
    OfTime,
    Table,
    Word,
    Words,
    is_alike_in_sql,
    meaning,
)
from random_filters import RandomFilters, write_filter, written
from stored_rows import Row

pytestmark = pytest.mark.only("embedded", "no engine is asked")

ROWS = [
    Row("a" * 32, "sarah", "sarah signs in (adminId=4).", "192.0.2.1", "s1", 1_000_000_000),
    Row("b" * 32, "Victoria", 'Add "host" to 100% of C:\\x, y', "2001:db8::7", "", 999_999_999),
    Row("c" * 32, "", "\u0130stanbul R AND D", "", "", -1),
]
TABLE = Table(ROWS)


def names(*conditions):
    """The rows that a filter of these conditions means, by the first letter of their ids."""
    bits = meaning(TABLE, [Filter((conditions,))])
    return "".join(row.id[0] for row in TABLE.chosen(bits))


def text(value):
    """A text without holes."""
    return Glob((value,))


def anywhere(*pieces):
    """A word of `_all~`."""
    return Word(Glob(pieces))


@pytest.mark.parametrize(
    "wanted, condition",
    [
        ("a", OfText("username", ":", (text("sarah"),))),
        ("", OfText("username", ":", (text("SARAH"),))),
        ("bc", OfText("username", "!:", (text("sarah"),))),
        ("ab", OfText("username", ":", (text("sarah"), text("Victoria")))),
        ("c", OfText("username", ":", (text(""),))),
        ("a", OfText("username", ":", (Glob(("s", "h")),))),
        ("b", OfText("username", "~", (text("ICTOR"),))),
        ("abc", OfText("username", "~", (text(""),))),
        ("b", OfText("ip", ":", (text("2001:DB8:0::7"),))),
        ("a", OfText("ip", ":", (text("::ffff:192.0.2.1"),))),
        ("b", OfText("ip", "~", (text("DB8"),))),
        ("c", OfText("ip", ":", (text(""),))),
        ("c", OfText("description", "~", (text("i\u0307S"),))),
        ("a", OfText("_all", "~", (anywhere("192"),))),
        ("bc", OfText("_all", "!~", (anywhere("sarah"),))),
        ("abc", OfText("_all", "~", (anywhere("", ""),))),
        ("bc", OfText("_all", "~", (Words("AND", (anywhere("", ""), Words("NOT", (anywhere("sarah"),)))),))),
        ("ac", OfText("_all", "~", (Words("OR", (anywhere("sarah"), anywhere("r and d"))),))),
        ("b", OfText("_all", "~", (Words("AND", (anywhere("victoria"), anywhere("2001"))),))),
        ("a", OfTime(":", (1000,))),
        ("b", OfTime(":", (999,))),
        ("c", OfTime("<", (0,))),
        ("ab", OfTime(">:", (999,))),
        ("bc", OfTime("!:", (1000, 5))),
        ("bc", IsEmpty("sessionId", ":::", "null")),
        ("a", IsEmpty("sessionId", "!::", "empty")),
        ("b", OfId(":", ("B",), ("b" * 32,))),
        ("ac", OfId("!:", ("B",), ("b" * 32,))),
        ("", OfNothing("shoeSize", "!:", "45")),
    ],
)
def test_a_condition_means_what_it_says(wanted, condition):
    assert names(condition) == wanted


def test_commas_bind_tighter_than_bars():
    is_sarah, is_old = OfText("username", ":", (text("sarah"),)), OfTime("<", (0,))
    assert names(is_sarah, is_old) == ""
    found = meaning(TABLE, [Filter(((is_sarah, is_old), (is_old,)))])
    assert [row.id[0] for row in TABLE.chosen(found)] == ["c"]
    assert meaning(TABLE, [Filter(((is_sarah,),)), Filter(((is_old,),))]) == 0


def test_what_nothing_says_is_not_asked():
    assert meaning(TABLE, [Filter(((OfText("ip", ":", (Glob(("2001:DB8", "")),)),),))]) is None


def decoded(value):
    """A value as the server must read it: percent-decoded once more, then backslashes taken away."""
    letters, result = iter(urllib.parse.unquote(value)), []
    for letter in letters:
        result.append(next(letters) if letter == "\\" else letter)
    return "".join(result)


@pytest.mark.parametrize(
    "value", ["sarah", 'Add "host" to 100%, y', "a|b||c", "C:\\x\\", "%41", "~:<>!", "\u0130 \U0001f980"]
)
def test_a_value_is_read_as_it_was_meant_however_it_is_written(value):
    for seed in range(50):
        text_of_filter = write_filter(Filter(((OfText("username", ":", (text(value),)),),)), random.Random(seed))
        field, _, shown = text_of_filter.partition(":")
        shown = shown.strip()
        assert field.strip() == "username"
        if shown.startswith('"'):
            shown = shown.removeprefix('"').removesuffix('"')
        else:
            assert not set(shown) & set('"|,\\'), shown
        assert decoded(shown) == value


def test_a_filter_comes_back_under_its_number():
    made = RandomFilters(TABLE, {row.id: row.id for row in ROWS})
    for number in range(300):
        first, second = (written(*made.make(number)) for _ in range(2))
        assert first == second and first.isascii()
        assert urllib.parse.parse_qs(first, keep_blank_values=True, strict_parsing=True).keys() == {"filter"}


def test_sql_says_the_same():
    """On SQLite, in a table of these rows; the texts of each filter in ASCII."""

    connection = sqlite3.connect(":memory:")
    connection.execute("PRAGMA case_sensitive_like = ON")
    connection.execute("CREATE TABLE r (id, username, description, ip, session, seconds)")
    values = [(r.id, r.username, r.description, r.ip or None, r.session or None, r.seconds) for r in ROWS]
    connection.executemany("INSERT INTO r VALUES (?, ?, ?, ?, ?, ?)", values)
    made, asked = RandomFilters(TABLE, {row.id: row.id for row in ROWS}), 0
    for number in range(3_000):
        filters, _ = made.make(number)
        bits = meaning(TABLE, filters)
        if bits is None or not is_alike_in_sql(filters):
            continue
        asked += 1
        condition = " AND ".join(each.sql() for each in filters)
        (count,) = connection.execute(f"SELECT count(*) FROM r WHERE {condition}").fetchone()
        assert count == bits.bit_count(), condition
    assert asked > 1_000
