"""Every example of LogicMonitor's access-log page through real curl, typed as it stands, host and credentials replaced.

Then what the page and the known clients of the dialect rely on: envelopes by version, signatures, versions, errors.
"""

import base64
import datetime
import hashlib
import hmac
import json
import re
import time

import pytest

import credentials
import raw_http
import santaba
from conftest import PASSWORD
from generated import cloud_record, write_lines
from santaba import BAD, FORBIDDEN, LIST, REFUSED, ROOT, UNKNOWN, VERSIONS, Basic, Bearer, Caller, Lmv1
from test_quick_starts import curl

CUSTOMER, READER, NOBODY = "acme@example.com", "api.user@example.com", "stranger@example.com"
UTC = datetime.timezone.utc
DAY = 86_400
NOW = int(time.time())

# The page's first example, as it shows it (its last bracket is missing there).
SHOWN = """{
  "status" : 200,
  "errmsg" : "OK",
  "data" : {
    "total" : 9,
    "items" : [ {
      "id" : "2415",
      "username" : "sarah",
      "happenedOn" : 1436460382,
      "happenedOnLocal" : "2015-07-09 09:46:22 PDT",
      "ip" : "174.76.130.100",
      "sessionId" : "17A45B032911D0A8F701906E922A4B50",
      "description" : "sarah signs in (adminId=4)."
    } ],
    "searchId" : null
  }
}"""
# Who did something when, around the times of the second example: its three entries, and others that it leaves out.
THEN = {
    1436203979: "sarah",
    1436203987: "sarah",
    1436204100: "Victoria",
    1436204111: "Sarah",
    1436204148: "sarah",
    1436204151: "sarah",
}
# Seconds before now: nine within a day, as in the first example, and two before. "Now" is when pytest began: it may take a
# while until these tests have their turn, and the ninth must be within a day of then.
AGO = (10, 60, 3_600, 7_200, 7_201, 40_000, 70_000, 75_000, 80_000, DAY + 600, 40 * DAY)


@pytest.fixture(scope="module")
def portal(new_annals, tmp_path_factory):
    """A site in California with the entries of the examples."""
    annals = new_annals("examples")
    annals.run("customer", "add", CUSTOMER, "--time-zone", "America/Los_Angeles")
    annals.add_account(READER, CUSTOMER, PASSWORD, credentials.VIEW_AUDIT_LOG)
    annals.add_account(NOBODY, CUSTOMER, PASSWORD)
    entries = [*THEN.items(), *((NOW - ago, ("sarah", "Victoria")[n % 2]) for n, ago in enumerate(AGO))]
    file = tmp_path_factory.mktemp("records") / "examples.jsonl"
    write_lines(
        file,
        (
            cloud_record(
                8, n, datetime.datetime.fromtimestamp(at, UTC).replace(tzinfo=None), user, eventName="SignInTo"
            )
            for n, (at, user) in enumerate(entries)
        ),
    )
    assert annals.import_files("cloudtrail", CUSTOMER, file)["published"] == len(entries)
    yield annals.serve()
    annals.close()


@pytest.fixture(scope="module")
def pair(portal):
    """A pair of the reader's."""
    return credentials.add(portal.annals, credentials.LMV1, READER, "examples").santaba


@pytest.fixture(scope="module")
def token(portal):
    """A token of the reader's."""
    return credentials.add(portal.annals, credentials.BEARER, READER, "examples-token").santaba


def typed(portal, query="", version=None):
    """The command of the page, with host and credentials replaced; version 1 unless a header says another."""
    header = ["-H", f"X-Version: {version}"] if version else []
    url = f"{portal.base}/santaba/rest/setting/accesslogs{query}"
    status, headers, body = curl("--globoff", "--user", f"{READER}:{PASSWORD}", *header, "-X", "GET", url)
    assert re.search(r"(?im)^content-type: application/json", headers)
    for name in santaba.RATE_HEADERS:
        assert re.search(rf"(?im)^{name}: \d+\r?$", headers), headers
    return status, body


def listed(portal, query=""):
    """Total and items of a typed command, whose envelope is that of the page."""
    status, body = typed(portal, query)
    answer = raw_http.Answer(status, {"content-type": "application/json"}, body.encode())
    santaba.assert_envelope(answer, 1)
    return santaba.listing(answer, 1)


def shape(value):
    """Names in their order, and types."""
    if isinstance(value, dict):
        return {name: shape(each) for name, each in value.items()}
    return [shape(each) for each in value[:1]] if isinstance(value, list) else type(value).__name__


# The examples


def test_the_first_example_lists_the_entries_of_the_past_day(portal):
    """`curl --user "apiUser:example" -X GET "https://api.logicmonitor.com/santaba/rest/setting/accesslogs"`"""
    total, items = listed(portal)
    assert len(items) == min(total, 50)
    imported = [item["happenedOn"] for item in items if item["username"] in ("sarah", "Victoria")]
    assert imported == [NOW - ago for ago in AGO if ago < DAY]
    times = [item["happenedOn"] for item in items]
    assert times == sorted(times, reverse=True) and times[-1] >= NOW - DAY


def test_the_answer_has_the_names_and_types_that_the_page_shows(portal):
    """In the page's order; `sessionId` is null where nobody signed in."""
    _, body = typed(portal, "?filter=username:sarah")
    found, wanted = shape(json.loads(body)), shape(json.loads(SHOWN))
    assert found["data"]["items"][0].pop("sessionId") == "NoneType"
    wanted["data"]["items"][0].pop("sessionId")
    assert json.dumps(found) == json.dumps(wanted)
    for item in json.loads(body)["data"]["items"]:
        assert list(item) == list(santaba.ITEM_FIELDS)
        zone = "PDT" if "PDT" in item["happenedOnLocal"] else "PST"
        local = datetime.datetime.fromtimestamp(item["happenedOn"], UTC) - datetime.timedelta(hours=7 + (zone == "PST"))
        assert item["happenedOnLocal"] == f"{local:%Y-%m-%d %H:%M:%S} {zone}"


def test_the_second_example_gives_three_fields_of_three_entries(portal):
    """With `+`, `<` and `>` as they are typed; `happenedOn` opens the window of a day."""
    query = (
        "?sort=+happenedOn&filter=_all~sarah,happenedOn<:1436204150,happenedOn>:1436203980"
        "&fields=username,happenedOn,description"
    )
    total, items = listed(portal, query)
    assert total == 3
    # Without case: what is typed in small letters finds what is written with a capital.
    assert [(item["username"], item["happenedOn"]) for item in items] == [
        ("sarah", 1436203987),
        ("Sarah", 1436204111),
        ("sarah", 1436204148),
    ]
    for item in items:
        assert set(item) == {"username", "happenedOn", "description"}


@pytest.mark.parametrize("sort", ["+happenedOn", "%2BhappenedOn", "%20happenedOn", "happenedOn"])
def test_sort_by_increasing_time(portal, sort):
    """`/setting/accesslogs?sort=+happenedOn`"""
    times = [item["happenedOn"] for item in listed(portal, f"?sort={sort}")[1]]
    assert times == sorted(times) and len(times) >= 9


def test_sort_by_each_property_of_the_page(portal):
    for name in ("username", "happenedOn", "sessionId"):
        for sign, reverse in (("+", False), ("-", True)):
            values = [item[name] or "" for item in listed(portal, f"?sort={sign}{name}&filter=happenedOn>:0")[1]]
            by_bytes = sorted(
                values, key=lambda value: value if name == "happenedOn" else value.encode(), reverse=reverse
            )
            assert values == by_bytes, (name, sign)
    both = [(i["username"] or "", -i["happenedOn"]) for i in listed(portal, "?sort=+username,-happenedOn")[1]]
    assert both == sorted(both, key=lambda pair: (pair[0].encode(), pair[1]))


@pytest.mark.parametrize("keyword", ["sarah", "*sarah*", "SARAH", '"sarah"', '"*sarah*"', "ara", "%2Asarah%2A"])
def test_filter_by_a_keyword(portal, keyword):
    """`/setting/accesslogs?filter=_all~sarah`, of the past day; quotes and stars make no difference."""
    total, items = listed(portal, f"?filter=_all~{keyword}")
    assert total == len(items) == 5 and {item["username"] for item in items} == {"sarah"}


def test_filter_by_a_keyword_and_a_time_as_the_syntax_has_it(portal):
    """`filter=_all~*keyword*, happenedOn>:value`, with a blank behind the comma."""
    for blank in ("", "%20", "+"):
        assert listed(portal, f"?filter=_all~*sarah*,{blank}happenedOn>:1436204111")[0] == 3 + 6


def test_fields_of_the_page(portal):
    """`/setting/accesslogs?fields=description,username`"""
    _, items = listed(portal, "?fields=description,username")
    assert items and all(set(item) == {"description", "username"} for item in items)


def test_size_of_the_page(portal):
    """`/setting/accesslogs?size=5`; 50 is the most."""
    total, items = listed(portal, "?size=5&filter=happenedOn>:0")
    assert len(items) == 5 < total
    assert len(listed(portal, "?size=51&filter=happenedOn>:0")[1]) <= 50


def test_offset_of_the_page(portal):
    """`/setting/accesslogs?offset=2`"""
    first, second = (listed(portal, f"?filter=_all~sarah{more}") for more in ("", "&offset=2"))
    assert (second[0], second[1]) == (first[0], first[1][2:])


def test_the_total_is_of_the_whole_range_though_fewer_are_shown(portal):
    total, items = listed(portal, "?size=2&filter=happenedOn>:1436203979,happenedOn<:1436204151")
    assert (total, len(items)) == (len(THEN), 2)


# Versions


def test_a_version_is_chosen_by_header_or_parameter(portal, pair):
    """The header goes first; without either it is 1."""
    for header, parameter, version in (
        (None, None, 1),
        ("1", None, 1),
        ("2", None, 2),
        ("3", None, 3),
        (None, "3", 3),
        ("2", "1", 2),
        ("1", "3", 1),
    ):
        headers = [("Authorization", pair.header("GET", LIST))] + ([("x-version", header)] if header else [])
        query = f"?size=1&v={parameter}" if parameter else "?size=1"
        answer = raw_http.send(portal.base, "GET", ROOT + LIST + query, headers=headers)
        santaba.assert_envelope(answer, version)
        santaba.listing(answer, version)


@pytest.mark.parametrize("number", ["4", "0", "03", "v3", "3.0", "-1", "99999999999999999999"])
def test_an_unknown_version_is_refused_in_the_envelope_of_the_third(portal, pair, number):
    for query, extra in (("", [("X-Version", number)]), (f"?v={number}", [])):
        headers = [("Authorization", pair.header("GET", LIST)), *extra]
        answer = raw_http.send(portal.base, "GET", ROOT + LIST + query, headers=headers)
        santaba.assert_envelope(answer, 3)
        assert santaba.refusal(answer, 3) == BAD


def test_versions_2_and_3_have_no_window_and_longer_pages(portal, pair):
    """And the data of version 1 at the top level."""
    for version in (2, 3):
        total, items = Caller(portal.base, pair, version).page(filter="_all~sarah", size=1000)
        assert total == len(items) == 5 + 6
        for item in items:
            santaba.assert_item(item)


# Signing in


def test_both_vectors_of_the_signature():
    """Those of the notes on the dialect: one computed by hand, one taken from the vendor's own client."""
    assert santaba.signature("bar-key-0123456789", "GET", 1436460382000, LIST) == (
        "ODU0Y2QwNWExMWI4NmJmZWJlZDllZmUzNDMxNzUzZTlmNTE1MzA5YmQzN2E4NjViMzA5OWRlNDUwNzY0NzA3YQ=="
    )
    assert santaba.signature("KEY1", "GET", 1795310953256, LIST) == (
        "MDc2ZGE1YzYzNzU3YWI5OGU2NGUzNTkwZDRlMmYzYWQ4YTYxZDkyMWJkOGI4NDBlMTNkOTBiZTJlZDI4YTY1ZA=="
    )


def authorized(portal, value, version=3, path=LIST, method="GET", body=None):
    """What is refused, or None, for a value of the header Authorization."""
    headers = [("X-Version", str(version))] + ([("Authorization", value)] if value is not None else [])
    answer = raw_http.send(portal.base, method, ROOT + path, body=body, headers=headers)
    santaba.assert_envelope(answer, version)
    good = answer.status == 200 and (version != 1 or answer.json()["status"] == 200)
    return None if good else santaba.refusal(answer, version)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_signature_of_the_bytes_instead_of_their_text_is_refused(portal, pair, version):
    at = santaba.now_ms()
    digest = hmac.new(pair.access_key.encode(), f"GET{at}{LIST}".encode(), hashlib.sha256)
    forms = {
        base64.b64encode(digest.hexdigest().encode()): None,
        base64.b64encode(digest.digest()): REFUSED,
        base64.b64encode(digest.hexdigest().upper().encode()): REFUSED,
        digest.hexdigest().encode(): REFUSED,
        base64.b64encode(digest.hexdigest().encode()).rstrip(b"="): REFUSED,
    }
    for form, wanted in forms.items():
        assert authorized(portal, f"LMv1 {pair.access_id}:{form.decode()}:{at}", version) == wanted, form


def test_everything_that_is_signed_counts(portal, pair):
    at = santaba.now_ms()
    sign = lambda *parts, **more: f"LMv1 {pair.access_id}:{santaba.signature(pair.access_key, *parts, **more)}"
    assert authorized(portal, sign("GET", at, LIST) + f":{at}") is None
    for wrong in (
        sign("POST", at, LIST) + f":{at}",
        sign("get", at, LIST) + f":{at}",
        sign("GET", at, LIST) + f":{at + 1}",
        sign("GET", at, LIST, body=b"{}") + f":{at}",
        sign("GET", at, LIST + "/") + f":{at}",
        sign("GET", at, ROOT + LIST) + f":{at}",
        sign("GET", at, LIST + "?size=1") + f":{at}",
        sign("GET", at // 1000, LIST) + f":{at // 1000}",
        sign("GET", at, LIST),
        sign("GET", at, LIST) + ":",
        "LMv1 ::",
        "LMv1",
        "",
        "Basic",
        "Bearer",
        "Digest x",
        None,
    ):
        assert authorized(portal, wrong) == REFUSED, wrong
    body = b'{"x": 1}'
    assert authorized(portal, sign("GET", at, LIST, body=body) + f":{at}", body=body) is None
    assert authorized(portal, sign("GET", at, LIST) + f":{at}", body=body) == REFUSED


def test_the_path_is_signed_decoded_or_as_it_is_sent(portal, pair):
    """One client signs the decoded path, others what they send."""
    at = santaba.now_ms()
    for signed in (f"{LIST}/a/b c%", f"{LIST}/a%2Fb%20c%25"):
        header = f"LMv1 {pair.access_id}:{santaba.signature(pair.access_key, 'GET', at, signed)}:{at}"
        assert authorized(portal, header, path=f"{LIST}/a%2Fb%20c%25") == UNKNOWN, signed
    header = f"LMv1 {pair.access_id}:{santaba.signature(pair.access_key, 'GET', at, f'{LIST}/x')}:{at}"
    assert authorized(portal, header, path=f"{LIST}/y") == REFUSED


def test_the_query_is_not_signed(portal, pair):
    header = pair.header("GET", LIST)
    answer = raw_http.send(
        portal.base, "GET", f"{ROOT}{LIST}?size=3&sort=+id", headers=[("Authorization", header), ("X-Version", "3")]
    )
    assert len(santaba.listing(answer, 3)[1]) == 3


def test_each_version_takes_its_own_credentials(portal, pair, token):
    """A pair everywhere, a token everywhere, a password in version 1 only."""
    password = Basic(READER, PASSWORD)
    for version in VERSIONS:
        assert authorized(portal, pair.header("GET", LIST), version) is None
        assert authorized(portal, token.header("GET", LIST), version) is None
        assert authorized(portal, password.header("GET", LIST), version) == (None if version == 1 else REFUSED)
        for wrong in (
            Basic(READER, "wrong"),
            Basic("unknown@example.com", PASSWORD),
            Basic("", ""),
            Bearer(token.token[::-1]),
            Bearer(pair.access_key),
            Lmv1(pair.access_id, token.token),
        ):
            assert authorized(portal, wrong.header("GET", LIST), version) == REFUSED, (version, wrong)


# Errors


@pytest.mark.parametrize("version", VERSIONS)
def test_refusals_have_the_codes_of_the_version(portal, pair, version):
    caller = Caller(portal.base, pair, version)
    for query in ("filter=,,||", "size=0", "size=-1", "size=x", "size=1.5", "offset=-1", "offset=x", "sort=shoeSize"):
        assert caller.refusal(query) == BAD, query
    for unknown in ("0" * 32, "2415", "x"):
        assert caller.refusal(path=f"{LIST}/{unknown}") == UNKNOWN
    assert Caller(portal.base, None, version).refusal() == REFUSED
    stranger = credentials.add(portal.annals, credentials.LMV1, NOBODY, f"errors-{version}").santaba
    for path in (LIST, f"{LIST}/{'0' * 32}"):
        assert Caller(portal.base, stranger, version).refusal(path=path) == FORBIDDEN


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_a_wrong_method_is_405(portal, pair, version, method):
    answer = Caller(portal.base, pair, version).send(method=method, body=b"{}")
    assert answer.status == 405, answer
    body = answer.json()
    assert body["status"] == 1007 if version == 1 else body["errorCode"] == 1400, answer


@pytest.mark.parametrize("version", VERSIONS)
def test_an_entry_by_its_id(portal, pair, version):
    """In `data` in version 1; the entry itself in the others."""
    caller = Caller(portal.base, pair, version)
    _, items = caller.page(filter="_all~sarah,happenedOn>:0", size=2)
    for item in items:
        assert caller.one(item["id"]) == item


def test_formats_and_unknown_parameters_are_ignored(portal, pair):
    caller = Caller(portal.base, pair, 3)
    wanted = caller.page(filter="_all~sarah")
    for more in ({"format": "xml"}, {"format": ""}, {"shoe": "45"}, {"_": "1"}):
        assert caller.page(filter="_all~sarah", **more) == wanted


def test_repeated_filters_must_all_hold(portal, pair):
    caller = Caller(portal.base, pair, 3)
    total, items = caller.page(filter=["_all~sarah", "happenedOn>:1436204111", "happenedOn<1436204151"])
    assert total == 2 and [item["happenedOn"] for item in items] == [1436204148, 1436204111]
