"""LogicMonitor's own clients, unmodified, as the judges of the dialect santaba: the newest, and two for version 2."""

import datetime
import json
import re

import pytest

import credentials
import santaba
from conftest import PASSWORD
from datasets import PROJECT
from generated import cloud_record, write_lines
from logicmonitor import CLIENTS, Sdk, User
from program import until

CUSTOMER, READER, NOBODY = "acme@example.com", "reader@example.com", "stranger@example.com"
ZONE = "America/Los_Angeles"
MANY = 3_120
BEGIN = datetime.datetime(2024, 7, 9, 16, 0, 0)
FIRST = int(BEGIN.replace(tzinfo=datetime.timezone.utc).timestamp())
HALF_AN_HOUR = 30 * 60
BUDGET = 25


@pytest.fixture(scope="module")
def portal(new_annals, tmp_path_factory):
    """A site with more entries than three pages hold: one every ten seconds, every third one of Victoria's."""
    annals = new_annals("portal")
    annals.run("customer", "add", CUSTOMER, "--time-zone", ZONE)
    file = tmp_path_factory.mktemp("records") / "many.jsonl"
    users = ("sarah", "sarah", "Victoria")
    write_lines(
        file,
        (
            cloud_record(7, n, BEGIN + datetime.timedelta(seconds=10 * n), users[n % 3], eventName=f"GetThing{n:04}x")
            for n in range(MANY)
        ),
    )
    assert annals.import_files("cloudtrail", CUSTOMER, file)["published"] == MANY
    annals.add_account(READER, CUSTOMER, PASSWORD, credentials.VIEW_AUDIT_LOG)
    annals.add_account(NOBODY, CUSTOMER, PASSWORD)
    yield annals.serve()
    annals.close()


@pytest.fixture(scope="module")
def credential(portal):
    """The reader's pair."""
    return credentials.add(portal.annals, credentials.LMV1, READER, "sdk")


@pytest.fixture(scope="module", params=CLIENTS)
def sdk(request):
    """Each client in its own process."""
    client = Sdk(request.param)
    yield client
    client.close()


@pytest.fixture
def user(sdk, portal, credential):
    """The reader, with a client."""
    return User(sdk, portal.base, access_id=credential.access_id, access_key=credential.secret)


def since(number):
    """A filter for the entries from one on, as the vendor's documentation writes it."""
    return f'happenedOn>:"{FIRST + 10 * number}",happenedOn<:"{FIRST + 10 * MANY}"'


def assert_unauthenticated(refused):
    """A refusal that says nothing but that it is one."""
    status, body, headers = refused
    assert status == 401
    assert body == {"errorMessage": "Authentication failed", "errorCode": 1401, "errorDetail": None}
    assert "retry-after" not in headers


# Signing in


def test_a_good_pair_is_accepted(user):
    total, items = user.list()
    assert total >= MANY and len(items) == 50


def test_a_wrong_key_an_unknown_id_and_none_at_all_look_the_same(sdk, portal, credential):
    for access_id, access_key in (
        (credential.access_id, credential.secret + "x"),
        (credential.access_id, credential.secret.swapcase()),
        ("unknown", credential.secret),
        ("", credential.secret),
        (credential.access_id, ""),
        (credential.access_id + "\u00e9".encode().decode("latin-1"), credential.secret),
    ):
        assert_unauthenticated(User(sdk, portal.base, access_id=access_id, access_key=access_key).refusal())


def test_a_clock_may_be_half_an_hour_wrong_and_no_more(user):
    for clock in (-HALF_AN_HOUR + 60, HALF_AN_HOUR - 60):
        assert user.list(clock=clock, size=1)[0] >= MANY
    for clock in (-HALF_AN_HOUR - 60, HALF_AN_HOUR + 60, -10 * 365 * 86_400):
        assert_unauthenticated(user.refusal(clock=clock))


def test_a_bearer_token_is_accepted_by_the_client_that_knows_it(portal):
    token = credentials.add(portal.annals, credentials.BEARER, READER, "sdk-token")
    sdk = Sdk("3.0.256")
    try:
        total, _ = User(sdk, portal.base, auth_type="bearer", bearer_token=token.secret).list()
        assert total >= MANY
        for wrong in (token.secret[:-1], token.secret + "x", "lmb_unknown", ""):
            assert_unauthenticated(User(sdk, portal.base, auth_type="bearer", bearer_token=wrong).refusal())
    finally:
        sdk.close()


def test_without_the_permission_it_is_403(sdk, portal):
    name = f"of-nobody-{sdk.version}"
    other = credentials.add(portal.annals, credentials.LMV1, NOBODY, name)
    stranger = User(sdk, portal.base, access_id=other.access_id, access_key=other.secret)
    for refused in (stranger.refusal(), stranger.refusal("get_audit_log_by_id", "0" * 32)):
        assert (refused[0], refused[1]["errorCode"], refused[1]["errorDetail"]) == (403, 1403, None)


# Lists


def test_more_than_three_thousand_entries_come_page_by_page(user):
    """A thousand at a time: the total is that of all, nothing is missing and nothing comes twice."""
    items, size = [], 1000
    while True:
        total, page = user.list(size=size, offset=len(items), filter=since(0))
        assert total == MANY
        items += page
        if len(page) < size:
            break
    assert len(items) == MANY
    assert len({item["id"] for item in items}) == MANY
    assert [item["happened_on"] for item in items] == [FIRST + 10 * n for n in reversed(range(MANY))]
    # The pages are those of one list, whatever their size.
    assert user.list(size=70, offset=1234, filter=since(0))[1] == items[1234:1304]
    assert user.list(size=1000, offset=MANY, filter=since(0)) == (MANY, [])


def test_a_page_is_50_unless_more_is_asked_for_and_1000_at_most(user):
    assert len(user.list(filter=since(0))[1]) == 50
    for asked, given in ((1, 1), (999, 999), (1000, 1000), (1001, 1000), (10_000, 1000), (2**31 - 1, 1000)):
        assert len(user.list(size=asked, filter=since(0))[1]) == given
    for bad in (0, -1):
        status, body, _ = user.refusal(size=bad)
        assert (status, body["errorCode"]) == (400, 1400)


def test_beyond_ten_thousand_it_is_the_error_that_clients_know(user):
    """The clamped size counts."""
    assert user.list(size=50, offset=9_950, filter=since(0)) == (MANY, [])
    for size, offset in ((50, 9_951), (1000, 9_001), (5000, 9_001), (1, 10**9)):
        status, body, _ = user.refusal(size=size, offset=offset, filter=since(0))
        assert (status, body["errorCode"]) == (400, 1400)
        assert "the query limitation of auditLog is 10000" in body["errorMessage"]
    assert user.list(size=5000, offset=9_000, filter=since(0)) == (MANY, [])


def test_an_entry_has_every_field_that_the_client_knows(user):
    _, (item,) = user.list(size=1, filter=f"happenedOn<:{FIRST}")
    expected = {
        "username": "sarah",
        "happened_on": FIRST,
        "happened_on_local": "2024-07-09 09:00:00 PDT",
        "ip": "192.0.2.9",
        "description": "GetThing0000x on s3.amazonaws.com",
    }
    assert expected.items() <= item.items() and item["id"]
    # Nobody signed in to do it.
    assert item.get("session_id") is None


def test_filters_narrow_the_list(user):
    victorias = MANY // 3
    for text, wanted in (
        (since(0), MANY),
        (since(3000), MANY - 3000),
        (f"happenedOn>{FIRST},happenedOn<{FIRST + 50}", 4),
        (f'username:"Victoria",{since(0)}', victorias),
        (f'username!:"Victoria",{since(0)}', MANY - victorias),
        (f'username~"ICTOR",{since(0)}', victorias),
        (f'username!~"ICTOR",{since(0)}', MANY - victorias),
        (f'username:"Victoria"|"sarah",{since(0)}', MANY),
        (f'_all~"*thing0007*",{since(0)}', 1),
        (f"_all~thing0007,{since(0)}", 1),
        (f'_all~"**",{since(0)}', MANY),
        ('description~"GetThing0007x"||description~"GetThing0008x"', 2),
        ('_all~"thing0007 OR thing0008"', 2),
        (f'_all~"thing000 AND victoria",{since(0)}', 3),
        (f'_all~"* AND NOT *sarah*",{since(0)}', victorias),
        (f'ip:"192.0.2.9",{since(0)}', MANY),
        ('shoeSize:"45"', 0),
        ('happenedOn:"login"', 0),
        ('_all~"no such word anywhere"', 0),
    ):
        total, items = user.list(filter=text, size=1000)
        assert (total, len(items)) == (wanted, min(wanted, 1000)), text


def test_a_filter_that_cannot_be_read_is_refused(user):
    for text in ("username", '"', 'username:"open', ",,||", "username:a,,b", "||", ":x"):
        status, body, _ = user.refusal(filter=text)
        assert (status, body["errorCode"]) == (400, 1400), text
        assert "invalid filter" in body["errorMessage"].lower(), text


def test_fields_are_those_asked_for(user):
    """In the names of the API; what was not asked for is none. Unknown names are ignored, `*` is all."""
    _, (item,) = user.list(size=1, fields="username,description", filter=since(0))
    assert {name for name, value in item.items() if value is not None} == {"username", "description"}
    _, (item,) = user.list(size=1, fields="id,shoeSize", filter=since(0))
    assert {name for name, value in item.items() if value is not None} == {"id"}
    for everything in ("*", ""):
        _, (item,) = user.list(size=1, fields=everything, filter=since(0))
        assert None not in [item[name] for name in ("id", "username", "happened_on", "happened_on_local", "ip")]


def test_the_format_is_ignored(user):
    assert user.list(format="json", size=3, filter=since(0)) == user.list(size=3, filter=since(0))


# One entry


def test_an_entry_is_found_by_its_id(user):
    _, items = user.list(size=3, filter=since(0))
    for item in items:
        assert user.one(item["id"]) == item


@pytest.mark.parametrize(
    "unknown",
    ["0" * 32, "2415", "a/b c%", "../accesslogs", "%2e%2e", "\u00e9\U0001f980", "*", "a?b#c", "null", "x" * 3000],
)
def test_an_unknown_id_is_404(user, unknown):
    status, body, _ = user.refusal("get_audit_log_by_id", unknown)
    assert (status, body["errorCode"], body["errorDetail"]) == (404, 1404, None)


# The rate limit


def assert_rate(headers, limit):
    """The three headers, as integers."""
    rate, left, window = (headers[name] for name in santaba.RATE_HEADERS)
    assert rate.isdecimal() and left.isdecimal() and window.isdecimal(), headers
    assert int(rate) == limit and 0 <= int(left) <= limit and int(window) > 0, headers
    return int(left)


@pytest.fixture(scope="module")
def scarce(new_annals):
    """A site whose customer has few requests in a minute."""
    annals = new_annals("scarce")
    annals.add_customer(CUSTOMER)
    annals.add_account(READER, CUSTOMER, PASSWORD, credentials.VIEW_AUDIT_LOG)
    yield annals.serve(*credentials.rate_limit(BUDGET))
    annals.close()


def test_beyond_the_limit_it_is_429_with_the_headers_that_clients_want(scarce, sdk):
    """Without Retry-After, for which the client would sleep and repeat silently."""
    credential = credentials.add(scarce.annals, credentials.LMV1, READER, f"sdk-{sdk.version}")
    user = User(sdk, scarce.base, access_id=credential.access_id, access_key=credential.secret)
    left, answers = [], []

    def beyond():
        answer = sdk.call("get_audit_log_list", user.config, size=1)
        headers = {name.lower(): value for name, value in answer["headers"].items()}
        left.append(assert_rate(headers, BUDGET))
        answers.append(answer["status"])
        return answer if answer["status"] == 429 else None

    answer = until(beyond, "a request is refused")
    # A minute may turn meanwhile, and then there is more. The budget is the customer's, whoever asks.
    assert answers[:-1] == [200] * (len(answers) - 1) and len(answers) - 1 <= 2 * BUDGET
    body = json.loads(answer["body"])
    assert body["errorCode"] == 1429 and set(body) == {"errorMessage", "errorCode", "errorDetail"}
    headers = {name.lower(): value for name, value in answer["headers"].items()}
    assert "retry-after" not in headers and left[-1] == 0
    # What one endpoint has spent, another one has not.
    status, _, headers = user.refusal("get_audit_log_by_id", "0" * 32)
    assert status == 404 and assert_rate(headers, BUDGET) < BUDGET


def test_every_answer_has_the_headers_of_the_rate_limit(sdk, user, portal):
    """Good ones and bad ones, of known people and of unknown ones."""
    good = sdk.call("get_audit_log_list", user.config, size=1)
    answers = [{name.lower(): value for name, value in good["headers"].items()}]
    answers.append(user.refusal("get_audit_log_by_id", "0")[2])
    answers.append(user.refusal(filter=",,||")[2])
    answers.append(user.refusal(size=0)[2])
    answers.append(User(sdk, portal.base, access_id="unknown", access_key="x").refusal()[2])
    for headers in answers:
        assert_rate(headers, 6_000)


def test_the_clients_are_the_ones_that_were_pinned():
    """As scripts/python-env has them."""
    (pinned,) = re.findall(
        r'^logicmonitor_versions="(.*)"$', (PROJECT / "scripts/python-env").read_text(), re.MULTILINE
    )
    assert pinned.split() == list(CLIENTS)
