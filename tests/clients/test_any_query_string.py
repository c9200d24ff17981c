"""Any query string at all, to the dialect santaba in every version and to the native API: an envelope, never a 5xx.

The strings are made by hypothesis from a fixed seed and sent through a plain connection, byte for byte. A target that
is too long is a 414, in the envelope too.
"""

import json
import urllib.parse

import pytest
from hypothesis import given
from hypothesis import strategies as st

import credentials
import filter_meaning
import native
import raw_http
import santaba
from conftest import PASSWORD
from datasets import available
from random_filters import RandomFilters, write_filter
from santaba import LIST, ROOT, VERSIONS, Caller
from stored_rows import Stored
from test_any_input import fuzz

CUSTOMER, READER = "acme@example.com", "reader@example.com"
MEGABYTE = 1_000_000

# The ones that the issue names, and their neighbours.
FILTERS = [
    '_all~"* AND NOT *x*"',
    ",,||",
    ",",
    "||",
    "|",
    '"',
    '""',
    '"""',
    '"\\"',
    "\\",
    "_all~",
    '_all~""',
    "_all~**",
    '_all~"AND"',
    '_all~"AND AND AND"',
    '_all~"NOT"',
    '_all~"NOT NOT NOT x"',
    '_all~"x AND"',
    '_all~"OR x"',
    '_all~"(x"',
    '_all~")x("',
    '_all~"((((((((((x))))))))))"',
    '_all~"\\"a \\"b\\" c\\""',
    "_all~'x'",
    '_all~"x',
    '_all~x"',
    '_all~"x"y',
    '_all~"x""y"',
    "username",
    "username:",
    ":",
    ":::",
    "!::",
    'username:::"empty"',
    "username:::x",
    "username::::",
    'username!:::"null"',
    "username:a||",
    "||username:a",
    "username:a,",
    ",username:a",
    "username:a,,username:b",
    "username:a|||username:b",
    "username:a||||username:b",
    "username:|a",
    "username:a|",
    "username>a",
    "username<:a",
    "happenedOn:login",
    "happenedOnLocal>:1700000000",
    "apiTokenId:5",
    "happenedOn>:99999999999999999999999999",
    "happenedOn<:-9223372036854775808",
    "happenedOn:1|x|3",
    "happenedOn:NaN",
    "happenedOn:1e400",
    "happenedOn~14",
    "id~a",
    "id:%",
    "ip:999.1.2.3",
    "ip>:1.2.3.4",
    "ip~:",
    "ip:::1",
    "_all:x",
    "_all>x",
    "_all!:x",
    "\u0000",
    "username:%00",
    "username:\u0000",
    "username:%ff%fe",
    "username:%",
    "username:%2",
    "username:%zz",
    "username:%25",
    "username:%C3%28",
    "username:\ud7ff\ue000\uffff\U0010ffff",
    "_all~%",
    "_all~_",
    "_all~[a-z]",
    "_all~?",
    "_all~a*b*c*d*e",
    "_all~" + "*" * 500,
    "_all~" + "a*" * 200,
    "_all~'; DROP TABLE events; --",
    "_all~NEAR(a b)",
    "_all~\u0130",
    " ",
    "\t\r\n",
    "(username:a)",
    "!username:a",
    "username : a",
    "username:a || username:b",
    "a:b," * 300 + "a:b",
    "a:b||" * 300 + "a:b",
    "username:" + "|".join("a" * 5 for _ in range(900)),
]
OTHERS = {
    "size": ["", "0", "-1", "1", "50", "1e2", "01", "+5", " 5", "99999999999999999999", "x", "1,2", "\u0661"],
    "offset": ["", "-1", "9950", "9951", "99999999999999999999", "x", "1.0"],
    "sort": ["", "+", "-", "+id", "-id", "--id", "+shoe", "id,id", ",", "+happenedOnLocal", "_all", "\u0000"],
    "fields": ["", "*", ",", "id,id", "shoe", "id,", "\u0000", "_all"],
    "format": ["", "json", "xml", "\u0000"],
    "v": ["", "1", "2", "3", "4", "x", "\u0000"],
    "searchId": ["x"],
}


@pytest.fixture(scope="module")
def portal(new_annals):
    """A site with records, so that beyond the door there is something to break."""
    annals = new_annals("any")
    annals.add_customer(CUSTOMER)
    annals.add_account(READER, CUSTOMER, PASSWORD, credentials.VIEW_AUDIT_LOG, "can_view_appliances")
    for importer in ("windows-security", "cloudtrail"):
        annals.import_files(importer, CUSTOMER, available()[0].file(importer))
    yield annals.serve(*credentials.NO_RATE_LIMIT)
    annals.close()


@pytest.fixture(scope="module")
def callers(portal):
    """The reader, in every version."""
    pair = credentials.add(portal.annals, credentials.LMV1, READER, "any").santaba
    return {version: Caller(portal.base, pair, version) for version in VERSIONS}


@pytest.fixture(scope="module")
def reader(portal):
    """The reader, with a token for the native API."""
    return native.Native(portal.base, credentials.add(portal.annals, credentials.BEARER, READER, "any-token"))


names = st.one_of(st.sampled_from(["filter", "filter", "filter", *OTHERS]), st.text(max_size=8))
grammar = st.lists(
    st.sampled_from(
        [
            *("username", "happenedOn", "_all", "id", "ip", "x", ":", "!:", ">:", "<:", ">", "<", "~", "!~", ":::"),
            *(
                '"',
                '"',
                "\\",
                "|",
                "||",
                ",",
                " ",
                "*",
                "%",
                "%25",
                "%22",
                "%2A",
                "AND",
                "OR",
                "NOT",
                "(",
                ")",
                "1",
                "a",
            ),
        ]
    ),
    max_size=25,
).map("".join)
values = st.one_of(
    grammar,
    grammar,
    st.sampled_from(FILTERS),
    st.sampled_from([value for each in OTHERS.values() for value in each]),
    st.text(max_size=60),
)
encoded = st.lists(st.tuples(names, values), max_size=5).map(
    lambda pairs: urllib.parse.urlencode(pairs, errors="surrogatepass").encode()
)
# What stands raw in a request line: any byte but the ones that end it.
raw_bytes = st.binary(max_size=60).map(lambda data: bytes(byte for byte in data if byte not in b"\n\r #"))
escaped_bytes = st.binary(max_size=60).map(lambda data: urllib.parse.quote_from_bytes(data).encode())
typed = st.one_of(grammar, st.sampled_from(FILTERS)).map(
    lambda text: "".join(c for c in text if c not in "\n\r #\t").encode(errors="replace")
)
queries = st.one_of(
    encoded,
    encoded,
    escaped_bytes.map(lambda data: b"filter=" + data),
    raw_bytes,
    raw_bytes.map(lambda data: b"filter=" + data),
    typed.map(lambda data: b"filter=" + data),
)


@pytest.mark.parametrize("version", VERSIONS)
def test_any_query_string_has_an_envelope_of_the_dialect(callers, version):
    caller = callers[version]

    @fuzz(400)
    @given(query=queries)
    def answered(query):
        # The envelope of a version that the query names is that one's only without the header, which goes first.
        caller.send(query)

    answered()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("text", FILTERS, ids=range(len(FILTERS)))
def test_every_awkward_filter_has_an_envelope(callers, version, text):
    """As it stands, encoded once, and encoded twice."""
    data = text.encode(errors="surrogatepass")
    once = urllib.parse.quote_from_bytes(data, safe="")
    for written in (once, urllib.parse.quote(once, safe="")):
        answer = callers[version].send(f"filter={written}")
        if answer.status == 400 or (version == 1 and answer.json()["status"] != 200):
            assert b"nvalid" in answer.body or b"longer" in answer.body or b"more than" in answer.body, answer


@pytest.mark.parametrize("version", VERSIONS)
def test_every_awkward_value_of_the_other_parameters_has_an_envelope(callers, version):
    for name, texts in OTHERS.items():
        for text in texts:
            callers[version].send(urllib.parse.urlencode({name: text}))
            callers[version].send(urllib.parse.urlencode([(name, text), (name, "1"), ("filter", "_all~a")]))


@pytest.mark.parametrize("version", VERSIONS)
def test_a_megabyte_of_filter(callers, portal, version):
    """Refused as a target that is too long, in the dialect's own form; and one as long as may be is looked at."""
    caller = callers[version]
    for start, piece in (("_all~", "x"), ("", "username:a,"), ("", "username:a||"), ("_all~", "%22"), ("", "%252525")):
        long = "filter=" + start + (piece * (MEGABYTE // len(piece))).rstrip(",|")
        answer = caller.send(long)
        assert answer.status == 414 and b"the URL is longer than 65000 bytes" in answer.body, answer
        assert answer.json()["status" if version == 1 else "errorCode"] == {1: 1007, 2: 1400, 3: 1400}[version]
    caller.page(size=1)
    filled = f"filter=_all~{'x' * raw_http.LONGEST_TARGET}"[: raw_http.LONGEST_TARGET - len(ROOT + LIST + "?")]
    assert caller.send(filled).status in (200, 400)
    assert caller.send(filled + "x").status == 414


def test_a_megabyte_of_url_is_a_problem_of_the_native_api_and_an_envelope_of_papi(reader):
    for path in ("/v1/audit-events?text=", "/v1/logons?", "/v1/", "/v1/openapi.json?"):
        answer = raw_http.send(reader.base, "GET", path + "x" * MEGABYTE, headers=reader.headers.items())
        assert native.problem_of(answer.status, answer.content_type, answer.json()) == (414, "target-too-long")
    for method in ("GET", "POST"):
        answer = raw_http.send(reader.base, method, "/papi/ping?" + "x" * MEGABYTE)
        assert (answer.status, answer.json()["error_code"]) == (414, 3005)

@pytest.mark.parametrize("version", VERSIONS)
def test_a_filter_of_the_grammar_is_never_refused_and_a_damaged_one_has_an_envelope(callers, portal, version):
    """Random filters, whole; and with a letter taken away, doubled or changed somewhere."""
    stored = Stored(portal.annals, CUSTOMER)
    table = filter_meaning.Table(stored.rows())
    made = RandomFilters(table, {row_id: row_id for row_id in table.ids})
    for number in range(150):
        filters, choice = made.make(number)
        text = write_filter(filters[0], choice)
        query = "filter=" + urllib.parse.quote(text)
        santaba.listing(callers[version].send(query), version)
        place = choice.randrange(len(text))
        letter = choice.choice('",|:~<>!%\\ *\u0000(')
        for damaged in (text[:place] + text[place + 1 :], text[:place] + letter + text[place:], text[:place]):
            callers[version].send("filter=" + urllib.parse.quote(damaged))


@pytest.mark.parametrize("version", VERSIONS)
def test_any_bytes_of_an_id_are_an_unknown_entry(callers, version):
    caller = callers[version]

    @fuzz(150)
    @given(data=st.binary(min_size=1, max_size=40))
    def unknown(data):
        path = ROOT.encode() + LIST.encode() + b"/" + urllib.parse.quote_from_bytes(data, safe="").encode()
        signed = LIST.encode() + b"/" + data
        answer = raw_http.send(caller.base, "GET", path, headers=caller.headers(signed))
        santaba.assert_envelope(answer, version)
        assert santaba.refusal(answer, version) == santaba.UNKNOWN, answer

    unknown()


@pytest.mark.parametrize("version", VERSIONS)
def test_any_authorization_is_refused_in_the_envelope(portal, version):
    kinds = st.sampled_from(
        ["LMv1 ", "Bearer ", "Basic ", "LMv1", "lmv1 ", "", " ", "LMv1 a:b:", "LMv1 :::", "Bearer lmb_"]
    )
    text = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=80)

    @fuzz(200)
    @given(kind=kinds, rest=text)
    def refused(kind, rest):
        headers = [("Authorization", kind + rest), ("X-Version", str(version))]
        answer = raw_http.send(portal.base, "GET", ROOT + LIST, headers=headers)
        santaba.assert_envelope(answer, version)
        assert santaba.refusal(answer, version) == santaba.REFUSED, answer

    refused()


# The native API


native_values = st.one_of(
    st.text(max_size=40),
    grammar,
    st.sampled_from(
        [
            *(
                "",
                "0",
                "1",
                "-1",
                "1000",
                "1001",
                "99999999999999999999",
                "true",
                "TRUE",
                "time",
                "-time",
                "csv",
                "xml",
            ),
            *("2024-03-05T10:01:00Z", "2024-03-05", "0000-01-01T00:00:00Z", "9999-12-31T23:59:59.999999999Z"),
            *(
                "10000-01-01T00:00:00Z",
                "2024-03-05T10:01:00+99:99",
                "-292277026596-12-04T00:00:00Z",
                "2016-12-31T23:59:60Z",
            ),
            *("::1", "1.2.3", "%", "_", "*", "\\", ",", "\u0000", "a" * 5000, "a," * 2000, "0" * 32, "AAAA", "AQ=="),
        ]
    ),
)
native_queries = st.one_of(
    st.lists(
        st.tuples(st.one_of(st.sampled_from(native.PARAMETERS), st.text(max_size=8)), native_values), max_size=5
    ).map(lambda pairs: urllib.parse.urlencode(pairs, errors="surrogatepass").encode()),
    escaped_bytes,
    raw_bytes,
    st.tuples(st.sampled_from(native.PARAMETERS), raw_bytes).map(lambda pair: pair[0].encode() + b"=" + pair[1]),
)


@pytest.mark.parametrize("path", [native.EVENTS, native.LOGONS, f"{native.EVENTS}/{'0' * 32}", "/v1/openapi.json"])
def test_any_query_string_has_an_answer_of_the_native_api(reader, path):
    @fuzz(400)
    @given(query=native_queries)
    def answered(query):
        target = path.encode() + b"?" + query
        answer = raw_http.send(reader.base, "GET", target, headers=reader.headers.items())
        native.assert_answer(answer)

    answered()


@pytest.mark.parametrize("name", native.PARAMETERS)
def test_every_awkward_value_has_an_answer_of_the_native_api(reader, name):
    """Every parameter with every awkward value of this file, not left to chance."""
    for text in (*FILTERS, *OTHERS["size"], *OTHERS["sort"], "x" * 2000):
        query = urllib.parse.urlencode({name: text}, errors="surrogatepass")
        answer = raw_http.send(reader.base, "GET", f"{native.EVENTS}?{query}", headers=reader.headers.items())
        native.assert_answer(answer)


@fuzz(200)
@given(data=st.binary(max_size=40), method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "BREW", "HEAD"]))
def test_any_path_below_v1_has_an_answer_of_the_native_api(reader, data, method):
    target = b"/v1/" + urllib.parse.quote_from_bytes(data, safe="/.").encode()
    answer = raw_http.send(reader.base, method, target, headers=reader.headers.items())
    if method == "HEAD":
        assert answer.status < 500, answer
    else:
        native.assert_answer(answer)


def test_the_server_is_whole_after_all_that(portal, callers, reader):
    for caller in callers.values():
        caller.page(size=1)
    assert reader.page(limit=1)
    assert "panicked" not in portal.log()
    assert json.loads(raw_http.send(portal.base, "GET", "/v1/openapi.json").body)
