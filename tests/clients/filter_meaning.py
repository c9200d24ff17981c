"""What a filter of the dialect santaba means, said a second time: over rows in Python, and as SQL.

It shares no code with annals and is written from the vendor's pages and the list of decisions. Filters are made as
trees (random_filters.py) and only ever written, so that nothing here reads the grammar the way the server does.
"""

import functools
import ipaddress
import re
from dataclasses import dataclass

TEXTS = ("username", "ip", "sessionId", "description")
EVERYWHERE = ("username", "description", "ip")
COLUMNS = {"username": "username", "ip": "ip", "sessionId": "session", "description": "description"}


@dataclass(frozen=True)
class Reading:
    """What nothing says. A filter on which two readings differ is not asked."""

    holes_fold_addresses: bool  # whether `ip:"FE80*"` finds what is shown in small letters


READINGS = (Reading(False), Reading(True))


@functools.lru_cache(maxsize=100_000)
def fold(text):
    """A text without case, letter by letter."""
    return "".join("σ" if small == "ς" else small for letter in text for small in letter.lower())


class Table:
    """Rows in their default order, with what is compared of them made once. Sets of rows are the bits of a number."""

    def __init__(self, rows):
        self.rows = rows
        self.everything = (1 << len(rows)) - 1
        self.seconds = [row.seconds for row in rows]
        self.texts = {field: [getattr(row, COLUMNS[field]) for row in rows] for field in TEXTS}
        self.folded = {field: [fold(text) for text in texts] for field, texts in self.texts.items()}
        self.ids = [row.id for row in rows]

    def where(self, column, test):
        """The rows whose value in a column passes."""
        bits = "".join("1" if test(value) else "0" for value in reversed(column))
        return int(bits or "0", 2)

    def chosen(self, bits):
        """The rows of a set, in the default order."""
        return [row for number, row in enumerate(self.rows) if bits >> number & 1]


@dataclass(frozen=True)
class Glob:
    """Pieces of a text, in order, with anything in between; without an inner piece it is that text."""

    pieces: tuple

    @property
    def text(self):
        """The text, when there are no holes."""
        return self.pieces[0] if len(self.pieces) == 1 else None

    def find(self, table, field, folds, within):
        """The rows in which a field has this form; `within` lets anything stand before and after."""
        pieces = ("", *self.pieces, "") if within else self.pieces
        pieces = tuple(map(fold, pieces)) if folds else pieces
        column = table.folded[field] if folds else table.texts[field]
        inner = [piece for piece in pieces if piece]
        if len(pieces) == 1:
            return table.where(column, lambda value: value == pieces[0])
        if len(inner) <= 1 and not pieces[0] and not pieces[-1]:
            text = "".join(inner)
            return table.where(column, lambda value: text in value)
        expression = re.compile(".*".join(map(re.escape, pieces)), re.DOTALL)
        return table.where(column, lambda value: expression.fullmatch(value) is not None)

    def find_within(self, table, field):
        """The rows in which a field contains it, which never minds case."""
        return self.find(table, field, True, True)

    def find_whole(self, table, field, reading):
        """The rows in which a field is of this form, where case counts; addresses are compared in any spelling."""
        if field != "ip":
            return self.find(table, field, False, False)
        if self.text is None:
            return self.find(table, field, reading.holes_fold_addresses, False)
        return table.where(table.texts["ip"], lambda shown: shown == usual_address(self.text))

    def within(self, column):
        """The condition of SQL that a column contains it. Only for ASCII, which both engines make small alike."""
        return f"{sql_folded(column)} LIKE {self.like('%', fold)}"

    def whole(self, field):
        """The condition of SQL that a field is of this form."""
        if field == "ip" and self.text is not None:
            return f"coalesce(ip, '') = {sql_text(usual_address(self.text))}"
        return f"coalesce({COLUMNS[field]}, '') LIKE {self.like('', str)}"

    def like(self, around, form):
        """A pattern of SQL, as a literal."""
        pieces = [re.sub(r"([\\%_])", r"\\\1", form(piece)) for piece in self.pieces]
        return sql_text(around + "%".join(pieces) + around) + " ESCAPE " + sql_text("\\")


def usual_address(text):
    """An address as it is shown; another text as it is."""
    try:
        address = ipaddress.ip_address(text.strip())
    except ValueError:
        return text
    return str(getattr(address, "ipv4_mapped", None) or address)


def sql_text(text):
    """A literal."""
    return "'" + text.replace("'", "''") + "'"


def sql_folded(column):
    """A column in small letters: those of ASCII, and the two letters outside whose small form is in ASCII."""
    small = f"lower({column})"
    for letter in ("\u0130", "\u212a"):
        small = f"replace({small}, {sql_text(letter)}, {sql_text(fold(letter))})"
    return f"coalesce({small}, '')"


# What `_all~` takes: words that some field must contain, with AND, OR and NOT between them.


@dataclass(frozen=True)
class Word:
    """A word, or a text without operators."""

    glob: Glob

    def matches(self, table):
        """The rows in which one of the fields contains it."""
        found = 0
        for field in EVERYWHERE:
            found |= self.glob.find_within(table, field)
        return found

    def sql(self):
        """The same in SQL."""
        return "(" + " OR ".join(self.glob.within(COLUMNS[field]) for field in EVERYWHERE) + ")"


@dataclass(frozen=True)
class Words:
    """An expression of words: the operator is AND, OR or NOT."""

    operator: str
    parts: tuple

    def matches(self, table):
        """The rows that fulfil it."""
        found = [part.matches(table) for part in self.parts]
        if self.operator == "NOT":
            return table.everything & ~found[0]
        result = found[0]
        for each in found[1:]:
            result = result & each if self.operator == "AND" else result | each
        return result

    def sql(self):
        """The same in SQL."""
        if self.operator == "NOT":
            return f"NOT {self.parts[0].sql()}"
        return "(" + f" {self.operator} ".join(part.sql() for part in self.parts) + ")"


# Conditions.


@dataclass(frozen=True)
class OfText:
    """A condition on a text: `:` and `~` and their opposites, against any of several values."""

    field: str
    operator: str
    values: tuple  # of Glob; of Word or Words where the field is _all

    def matches(self, table, reading):
        """The rows that fulfil it."""
        found = 0
        for value in self.values:
            if self.field == "_all":
                found |= value.matches(table)
            elif self.operator.endswith("~"):
                found |= value.find_within(table, self.field)
            else:
                found |= value.find_whole(table, self.field, reading)
        return table.everything & ~found if self.operator.startswith("!") else found

    def sql(self):
        """The same in SQL."""
        if self.field == "_all":
            parts = [value.sql() for value in self.values]
        elif self.operator.endswith("~"):
            parts = [value.within(COLUMNS[self.field]) for value in self.values]
        else:
            parts = [value.whole(self.field) for value in self.values]
        found = "(" + " OR ".join(parts) + ")"
        return f"NOT {found}" if self.operator.startswith("!") else found


@dataclass(frozen=True)
class IsEmpty:
    """`:::` and `!::`."""

    field: str
    operator: str
    word: str  # empty or null, which mean the same here

    def matches(self, table, _reading):
        """The rows that fulfil it."""
        return table.where(table.texts[self.field], lambda text: (text == "") == (self.operator == ":::"))

    def sql(self):
        """The same in SQL."""
        return f"coalesce({COLUMNS[self.field]}, '') {'=' if self.operator == ':::' else '<>'} ''"


@dataclass(frozen=True)
class OfTime:
    """A condition on happenedOn, in whole seconds."""

    operator: str
    values: tuple  # of int; several for `:` and `!:` only

    def matches(self, table, _reading):
        """The rows that fulfil it."""
        first, tests = self.values[0], self.values
        passes = {
            ":": lambda seconds: seconds in tests,
            "!:": lambda seconds: seconds not in tests,
            ">": lambda seconds: seconds > first,
            "<": lambda seconds: seconds < first,
            ">:": lambda seconds: seconds >= first,
            "<:": lambda seconds: seconds <= first,
        }[self.operator]
        return table.where(table.seconds, passes)

    def sql(self):
        """The same in SQL."""
        if self.operator in (":", "!:"):
            listed = ", ".join(map(str, self.values))
            return f"seconds {'NOT ' if self.operator == '!:' else ''}IN ({listed})"
        return f"seconds {self.operator.replace(':', '=')} {self.values[0]}"


@dataclass(frozen=True)
class OfId:
    """`:` and `!:` on id; ids are written as they were shown."""

    operator: str
    shown: tuple
    ids: tuple

    def matches(self, table, _reading):
        """The rows that fulfil it."""
        found = table.where(table.ids, lambda row_id: row_id in self.ids)
        return table.everything & ~found if self.operator == "!:" else found

    def sql(self):
        """The same in SQL."""
        listed = ", ".join(sql_text(each) for each in self.ids)
        return f"lower(replace(id, '-', '')) {'NOT ' if self.operator == '!:' else ''}IN ({listed})"


@dataclass(frozen=True)
class OfNothing:
    """A condition that no row fulfils: on an unknown field, or with a value of the wrong type, also when negated."""

    field: str
    operator: str
    written: str

    def matches(self, _table, _reading):
        """No row."""
        return 0

    def sql(self):
        """The same in SQL."""
        return "1 = 0"


@dataclass(frozen=True)
class Filter:
    """Conditions joined by `,` within, and by `||` between; several filters are all meant at once."""

    alternatives: tuple  # of tuples of conditions

    def matches(self, table, reading):
        """The rows that fulfil it."""
        found = 0
        for conditions in self.alternatives:
            both = table.everything
            for condition in conditions:
                both &= condition.matches(table, reading)
            found |= both
        return found

    def sql(self):
        """The same in SQL."""
        return "(" + " OR ".join(f"({' AND '.join(c.sql() for c in group)})" for group in self.alternatives) + ")"

    def conditions(self):
        """Every condition in it."""
        return [condition for group in self.alternatives for condition in group]

    def names_the_time(self):
        """Whether it says anything about happenedOn, which opens the window of version 1."""
        return any(isinstance(c, OfTime) or getattr(c, "field", "") == "happenedOn" for c in self.conditions())


def is_open_to_readings(condition):
    """Whether a condition may mean one thing or another."""
    is_whole = isinstance(condition, OfText) and condition.field == "ip" and condition.operator.endswith(":")
    return is_whole and any(glob.text is None for glob in condition.values)


def globs(value):
    """What stands in the words of `_all~`."""
    return [value.glob] if isinstance(value, Word) else [glob for part in value.parts for glob in globs(part)]


def is_alike_in_sql(filters):
    """Whether the texts in filters are such as every database makes small alike, and every reading takes alike."""
    conditions = [condition for each in filters for condition in each.conditions()]
    values = [value for condition in conditions if isinstance(condition, OfText) for value in condition.values]
    found = [glob for value in values for glob in (globs(value) if isinstance(value, (Word, Words)) else [value])]
    return all(piece.isascii() for glob in found for piece in glob.pieces)


def meaning(table, filters):
    """The rows that fulfil all of the filters; None where the readings differ."""
    is_open = any(is_open_to_readings(condition) for each in filters for condition in each.conditions())
    found = set()
    for reading in READINGS if is_open else READINGS[:1]:
        bits = table.everything
        for each in filters:
            bits &= each.matches(table, reading)
        found.add(bits)
    return found.pop() if len(found) == 1 else None
