"""Random filters in the grammar of the dialect santaba: drawn from the rows, written in every way that clients write.

The choice is random from a seed, so that a filter comes back under its number. A filter is a tree (filter_meaning.py);
this file makes trees, and writes them.
"""

import random
import re
import urllib.parse

from filter_meaning import (
    EVERYWHERE,
    TEXTS,
    Filter,
    Glob,
    IsEmpty,
    OfId,
    OfNothing,
    OfText,
    OfTime,
    Word,
    Words,
    fold,
)

UNKNOWN_FIELDS = ("shoeSize", "apiTokenId", "_everything", "Username", "happened_on", "x")
# What the vendor's PowerShell module puts a backslash before, and what the grammar itself reads.
ESCAPED_BY_CLIENTS, MEANT_BY_GRAMMAR = '()$&#[]"\\', '"\\,|:~<>!%()'
OPERATOR = re.compile(r"(?:^|[\s()])(?:AND|OR|NOT)(?:[\s()]|$)", re.IGNORECASE)
INT64 = 2**63 - 1
# Encoded three times over, a longer text is longer than a request may be.
LONGEST = 400


class RandomFilters:
    """Filters over a table of rows; `ids` are the ids of its rows as the dialect shows them."""

    def __init__(self, table, shown_ids):
        self.table = table
        self.ids = [(shown_ids[row_id], row_id) for row_id in table.ids if row_id in shown_ids]
        self.values = {
            field: sorted({text for text in table.texts[field] if 0 < len(text) <= LONGEST}) for field in TEXTS
        }

    def make(self, seed):
        """The filters of one question, most often one, and the random choice to write it with."""
        choice = random.Random(seed)
        return [self.filter(choice) for _ in range(choice.choice((1, 1, 1, 1, 1, 2)))], choice

    def filter(self, choice):
        """Conditions joined by `,` and `||`."""
        groups = []
        for _ in range(choice.choice((1, 1, 1, 1, 2, 2, 3))):
            groups.append(tuple(self.condition(choice) for _ in range(choice.choice((1, 1, 1, 2, 2, 3)))))
        return Filter(tuple(groups))

    def condition(self, choice):
        """One condition of any kind."""
        make = choice.choices(
            (self.of_all, self.of_text, self.of_time, self.is_empty, self.of_id, self.of_nothing),
            (8, 8, 7, 1, 1, 1),
        )[0]
        return make(choice)

    def of_all(self, choice):
        """A condition on any text."""
        operator = choice.choice(("~", "~", "~", "!~"))
        return OfText("_all", operator, tuple(self.words(choice) for _ in range(choice.choice((1, 1, 1, 2)))))

    def words(self, choice):
        """Everything, a text, or an expression of words."""
        kind = choice.randrange(8)
        if kind == 0:
            return Word(Glob(choice.choice((("", ""), ("", "", "")))))
        if kind <= 4:
            return Word(self.glob(choice, choice.choice(EVERYWHERE)))
        return self.expression(choice, choice.choice((1, 1, 2, 3)))

    def expression(self, choice, depth):
        """Words with AND, OR and NOT between them, so deep."""
        if depth == 0:
            everything = choice.randrange(6) == 0
            return Word(Glob(("", ""))) if everything else Word(self.word(choice, choice.choice(EVERYWHERE)))
        operator = choice.choice(("AND", "AND", "OR", "OR", "NOT"))
        count = 1 if operator == "NOT" else choice.choice((2, 2, 3))
        return Words(operator, tuple(self.expression(choice, choice.randrange(depth)) for _ in range(count)))

    def of_text(self, choice):
        """A condition on one text field."""
        field = choice.choice(TEXTS)
        operator = choice.choice((":", ":", "!:", "~", "~", "~", "!~"))
        return OfText(field, operator, tuple(self.value(choice, field, operator) for _ in range(count(choice))))

    def value(self, choice, field, operator):
        """A whole text for `:`, a part of one for `~`, either with holes now and then."""
        if operator.endswith("~") or choice.randrange(3) == 0:
            return self.glob(choice, field)
        text = self.text(choice, field)
        return Glob((text if choice.randrange(6) else changed(choice, text),))

    def text(self, choice, field):
        """A text that is there."""
        return choice.choice(self.values[field]) if self.values[field] else "nothing"

    def glob(self, choice, field):
        """A part of a text that is there, or near to it; or two parts with a hole between."""
        text = self.text(choice, field)
        if choice.randrange(2):
            text = choice.choice([word for word in text.split() if word] or [text])
        part = self.part(choice, text)
        if choice.randrange(8) == 0:
            part = changed(choice, part)
        part = "word" if OPERATOR.search(part) or not part.strip() else part
        shape = choice.randrange(6)
        if shape == 0:
            return Glob(("", part, ""))
        if shape == 1 and len(part) > 2:
            cut = choice.randrange(1, len(part))
            return Glob(("", part[:cut], part[cut + choice.randrange(2) :], ""))
        if shape == 2:
            return Glob(choice.choice(((part, ""), ("", part))))
        return Glob((part,))

    def word(self, choice, field):
        """A part of a text for an expression: without what the expression reads."""
        pieces = [piece.strip() for piece in re.split(r'[()"\\]+', self.text(choice, field))]
        pieces = [piece for piece in pieces if piece and not OPERATOR.search(piece)] or ["word"]
        part = self.part(choice, choice.choice(pieces))
        part = "word" if OPERATOR.search(part) else part
        return Glob((part,)) if choice.randrange(4) else Glob(("", part, ""))

    def part(self, choice, text):
        """Some letters of a text that stand together, without blanks at their ends."""
        start = choice.randrange(len(text))
        part = text[start : start + choice.choice((1, 2, 3, 4, 8, 20, 60))].strip()
        return part or "word"

    def of_time(self, choice):
        """A condition on happenedOn, near to times that are there, or far away."""
        operator = choice.choice((":", "!:", ">", "<", ">:", "<:", ">:", "<:"))
        several = count(choice) if operator in (":", "!:") else 1
        return OfTime(operator, tuple(self.time(choice) for _ in range(several)))

    def time(self, choice):
        """Seconds."""
        if choice.randrange(12) == 0:
            return choice.choice((0, -1, 1, -62135596800, 253402300799, INT64, -INT64, 10**15))
        return choice.choice(self.table.seconds) + choice.choice((0, 0, 0, -1, 1, 3600, -3600))

    def is_empty(self, choice):
        """Whether there is a text."""
        return IsEmpty(choice.choice(TEXTS), choice.choice((":::", "!::")), choice.choice(("empty", "null")))

    def of_id(self, choice):
        """A condition on ids as they were shown."""
        chosen = [choice.choice(self.ids) for _ in range(count(choice))] or [("0", "0")]
        return OfId(choice.choice((":", ":", "!:")), *zip(*chosen, strict=True))

    def of_nothing(self, choice):
        """A field that nobody has, or a time that is none."""
        if choice.randrange(2):
            operator = choice.choice((":", "!:", "~", "!~"))
            return OfNothing(choice.choice(UNKNOWN_FIELDS), operator, choice.choice(("5", "x", "*", "a b")))
        return OfNothing(
            "happenedOn", choice.choice((":", "!:", ">:", "<:")), choice.choice(("login", "12:30", "1e3x"))
        )


def count(choice):
    """How many values a condition has."""
    return choice.choice((1, 1, 1, 1, 2, 3))


def changed(choice, text):
    """A text that is near to another: other case, a letter more or less."""
    return choice.choice((text.swapcase(), text + "q", text[1:] or "q", text.upper(), fold(text)))


# Writing.


def written(filters, choice):
    """The query string of a question: every filter percent-encoded in one of the ways that clients know."""
    safe = choice.choice(("", "~", "~*,:", "~*,:|<>!\"'()"))
    encode = choice.choice((urllib.parse.quote, urllib.parse.quote_plus))
    return "&".join("filter=" + encode(write_filter(each, choice), safe=safe) for each in filters)


def write_filter(each, choice):
    """A filter before the encoding of the query string."""
    groups = []
    for conditions in each.alternatives:
        comma = choice.choice((",", ",", ", ", " , "))
        groups.append(comma.join(write_condition(condition, choice) for condition in conditions))
    return choice.choice(("||", "||", " || ")).join(groups)


def write_condition(condition, choice):
    """A condition."""
    if isinstance(condition, OfText):
        field, values = condition.field, [write_value(value, choice) for value in condition.values]
    elif isinstance(condition, OfTime):
        field, values = "happenedOn", [write_number(value, choice) for value in condition.values]
    elif isinstance(condition, OfId):
        field, values = "id", [write_text(shown, choice) for shown in condition.shown]
    elif isinstance(condition, IsEmpty):
        field, values = condition.field, [f'"{condition.word}"']
    else:
        field, values = condition.field, [f'"{condition.written}"']
    # Blanks may stand between any two parts, and clients leave some.
    blank = choice.choice(("", "", "", "", "", " "))
    return field + blank + condition.operator + blank + (blank + "|" + blank).join(values)


def write_number(number, choice):
    """A number, with quotes as some clients write it, or without."""
    return choice.choice((f'"{number}"', str(number)))


def write_value(value, choice):
    """A text with its holes, or an expression of words, which needs quotes."""
    if isinstance(value, Words):
        return '"' + write_words(value, choice) + '"'
    return write_glob(value.glob if isinstance(value, Word) else value, choice)


BINDING = {"NOT": 3, "AND": 2, "OR": 1}


def write_words(value, choice, around=0):
    """An expression within quotes: with brackets where it needs them, and now and then where it does not."""
    if isinstance(value, Word):
        return write_word(value.glob, choice)
    binding = BINDING[value.operator]
    parts = [write_words(part, choice, binding) for part in value.parts]
    text = f"NOT {parts[0]}" if value.operator == "NOT" else f" {value.operator} ".join(parts)
    return f"({text})" if binding < around or choice.randrange(5) == 0 else text


def write_word(glob, choice):
    """A word of an expression; one without holes may have quotes of its own, which need backslashes here."""
    text = encoded(glob, choice, quoted=True)
    return f'\\"{text}\\"' if glob.text is not None and choice.randrange(5) == 0 else text


def write_text(text, choice):
    """A text without holes."""
    return write_glob(Glob((text,)), choice)


def write_glob(glob, choice):
    """A text with its holes, with quotes, or without them where it can stand so."""
    text = "*".join(glob.pieces)
    may_be_bare = text and text == text.strip() and not text.startswith('"') and text.isprintable()
    if may_be_bare and choice.randrange(3) == 0:
        return encoded(glob, choice, quoted=False)
    return '"' + encoded(glob, choice, quoted=True) + '"'


def encoded(glob, choice, quoted):
    """A value as it stands in a filter: with backslashes, and percent-encoded once before the query string is."""
    everything, backslashes = choice.randrange(4) == 0, choice.randrange(4) == 0
    pieces = []
    for piece in glob.pieces:
        parts = []
        for letter in piece:
            escaped = letter in '"\\*' or (backslashes and letter in ESCAPED_BY_CLIENTS)
            for each in ("\\" + letter) if escaped else letter:
                meant = each == "%" or (not quoted and each in MEANT_BY_GRAMMAR)
                parts.append(urllib.parse.quote(each, safe="") if meant or everything else each)
        pieces.append("".join(parts))
    return "*".join(pieces)
