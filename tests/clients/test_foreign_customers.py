"""What belongs to another customer cannot be told from what does not exist: in no dialect, by no id or credential.

Answers are compared whole: status, body and headers.
"""

import urllib.parse
import uuid

import pytest

import credentials
import datasets
import raw_http
import santaba
from conftest import ADMINISTRATOR, PASSWORD
from credentials import API_KEY, BEARER, KINDS, LMV1
from native import EVENTS, LOGONS, Native
from papi import Papi
from program import until
from santaba import LIST, VERSIONS, Caller
from stored_rows import Stored
from test_credentials import same_refusals

OWN, OTHER = "acme@example.com", "other@example.com"
READER, FOREIGNER = "reader@example.com", "foreigner@example.com"
PERMISSIONS = (credentials.VIEW_AUDIT_LOG, *ADMINISTRATOR)


@pytest.fixture(scope="module")
def portal(new_annals):
    """Two customers, each with records and with somebody who may read all of them."""
    annals = new_annals("foreign")
    for customer, account, dataset in ((OWN, READER, 0), (OTHER, FOREIGNER, 1)):
        annals.add_customer(customer)
        annals.add_account(account, customer, PASSWORD, *PERMISSIONS)
        for importer in datasets.IMPORTERS:
            annals.import_files(importer, customer, datasets.available()[dataset].file(importer))
    yield annals.serve()
    annals.close()


@pytest.fixture(scope="module")
def foreign(portal):
    """Rows that the reader must not see; the oldest ones, which no test adds to."""
    rows = Stored(portal.annals, OTHER).rows()
    assert len(rows) > 500
    return rows[-500:]


@pytest.fixture(scope="module")
def callers(portal):
    """The reader in every version of santaba."""
    pair = credentials.add(portal.annals, credentials.LMV1, READER, "foreign").santaba
    return {version: Caller(portal.base, pair, version) for version in VERSIONS}


@pytest.fixture(scope="module")
def reader(portal):
    """The reader at the native API."""
    return Native(portal.base, credentials.add(portal.annals, credentials.BEARER, READER, "foreign-token"))


@pytest.fixture(scope="module")
def foreigners(portal):
    """The other customer's credentials, one of each kind."""
    return {kind: credentials.add(portal.annals, kind, FOREIGNER, f"theirs {kind}") for kind in KINDS}


def forms(row_id):
    """An id as the dialects write it."""
    return row_id, str(uuid.UUID(row_id))


@pytest.mark.parametrize("version", VERSIONS)
def test_an_entry_of_santaba(portal, callers, foreigners, foreign, version):
    caller = callers[version]
    ids = [form for row in foreign[:3] for form in forms(row.id)] + [*forms(uuid.uuid4().hex), *forms("0" * 32)]
    answers = [caller.ask(path=f"{LIST}/{each}") for each in ids]
    assert same_refusals(answers) and santaba.refusal(answers[0], version) == santaba.UNKNOWN
    # Its own customer's reader finds it by the same id, so that the check above is worth something.
    theirs = Caller(portal.base, foreigners[BEARER].santaba, version)
    assert all(theirs.one(row.id)["id"].replace("-", "") == row.id for row in foreign[:3])


@pytest.mark.parametrize("version", VERSIONS)
def test_lists_of_santaba_hold_nothing_foreign(callers, foreign, version):
    caller, hidden = callers[version], {row.id for row in foreign}
    _, items = caller.all(filter="happenedOn>:0")
    assert items and not hidden & {item["id"].replace("-", "") for item in items}
    for row in foreign[:20]:
        for form in forms(row.id):
            assert caller.page(filter=f'id:"{form}"') == (0, [])
    only_theirs = {row.username for row in foreign} - {item["username"] or "" for item in items}
    for name in sorted(filter(None, only_theirs))[:5]:
        assert caller.page(filter=[f'username:"{name}"', "happenedOn>:0"]) == (0, [])


def test_an_event_of_the_native_api(portal, reader, foreigners, foreign):
    ids = [form for row in foreign[:3] for form in forms(row.id)] + [*forms(uuid.uuid4().hex), "x", "0"]
    headers = reader.headers.items()
    answers = [raw_http.send(portal.base, "GET", f"{EVENTS}/{each}", headers=headers) for each in ids]
    assert same_refusals(answers) and answers[0].status == 404
    theirs = Native(portal.base, foreigners[BEARER])
    assert all(theirs.get(f"{EVENTS}/{form}").status_code == 200 for form in forms(foreign[0].id))


def test_pages_feed_and_files_of_the_native_api_hold_nothing_foreign(reader, foreign):
    hidden = {row.id for row in foreign}
    ids = {event["id"].replace("-", "") for event in reader.all()}
    ids |= {event["id"].replace("-", "") for page in reader.feed(limit=1000) for event in page["events"]}
    assert ids and not hidden & ids
    for form in ("csv", "ndjson"):
        text = reader.file(form)
        assert OTHER not in text and not [row for row in foreign if forms(row.id)[1] in text]
    customer = str(uuid.UUID(int=0))
    for name in (OTHER, OTHER.upper(), customer, "nowhere@example.com"):
        assert reader.ask(customer=name, count="true") == {"events": [], "next": None, "total": 0}


def test_customers_of_the_native_api(portal, reader):
    """By name and by id, where there is one and where there is none."""
    known = Stored(portal.annals, OTHER).customer
    answers = [
        raw_http.send(
            portal.base, "GET", f"{LOGONS}?address=192.0.2.10&customer={each}", headers=reader.headers.items()
        )
        for each in (OTHER, known, uuid.uuid4(), "nowhere@example.com")
    ]
    assert same_refusals(answers) and answers[0].status == 403


@pytest.mark.parametrize("form", ["json", "xml"])
def test_events_and_customers_of_papi(portal, foreign, form):
    papi = Papi(portal.base, READER, PASSWORD)
    signed = [("Cookie", f"PHPSESSID={papi.http.cookies['PHPSESSID']}")]

    def ask(function, **parameters):
        target = f"/papi/{function}.{form}?{urllib.parse.urlencode(parameters)}"
        return raw_http.send(portal.base, "GET", target, headers=signed)

    ids = [each for row in foreign[:3] for each in forms(row.id)] + [*forms(uuid.uuid4().hex)]
    assert same_refusals(ask("auditlog/get_events", audit_event_id=each) for each in ids)
    theirs = Papi(portal.base, FOREIGNER, PASSWORD)
    assert all(len(theirs.events(audit_event_id=each)) == 1 for each in forms(foreign[0].id))
    assert papi.events(audit_event_id=foreign[0].id) == []
    for name, values in (
        ("affected_customers", (OTHER, OTHER.upper(), "nowhere@example.com")),
        ("accounts", (FOREIGNER, "nobody.at.all@example.com")),
    ):
        answers = [ask("auditlog/get_events", **{name: value}) for value in values]
        assert same_refusals(answers) and answers[0].status == 200, name
        # What the foreigner did itself is a sign-in, which is shown a moment later.
        until(lambda asked={name: values[0]}: theirs.events(**asked), f"the foreigner finds something by {name}")
        assert papi.events(**{name: values[0]}) == []
    customers = (OTHER, "nowhere@example.com", str(Stored(portal.annals, OTHER).customer))
    answers = [ask("session/get_users_logged_on", ip_address="192.0.2.10", customer=each) for each in customers]
    assert same_refusals(answers) and b"3001" in answers[0].body


# What is shown to sign in, and whose it is


WRONG = "a password that nobody has"


def test_a_foreign_account_with_a_wrong_password_is_like_an_unknown_one(portal):
    """As one's own is; wherever passwords are taken."""
    accounts = (FOREIGNER, READER, "nobody.at.all@example.com", FOREIGNER.upper())
    for form in ("json", "xml"):
        target = f"/papi/login.{form}?"
        asked = [target + urllib.parse.urlencode({"username": each, "password": WRONG}) for each in accounts]
        assert same_refusals(raw_http.send(portal.base, "POST", each) for each in asked), form
    for target in (santaba.ROOT + LIST, EVENTS):
        headers = [[("Authorization", santaba.Basic(each, WRONG).header("GET", ""))] for each in accounts]
        answers = [raw_http.send(portal.base, "GET", target, headers=each) for each in headers]
        assert same_refusals(answers), target
        assert b"403" in answers[0].body if target != EVENTS else answers[0].status == 401


def test_foreign_tokens_and_keys_where_they_do_not_belong_are_like_unknown_ones(portal, foreigners):
    """Cut, in the place of another kind, or revoked: like one that was never given out, in every dialect."""
    gone = {kind: credentials.add(portal.annals, kind, FOREIGNER, f"gone {kind}") for kind in KINDS}
    for credential in gone.values():
        credentials.revoke(portal.annals, credential)
    tokens = ["lmb_" + "0" * 40, "ak_" + "0" * 40, foreigners[LMV1].secret, foreigners[LMV1].access_id]
    tokens += [foreigners[kind].secret[:-1] for kind in KINDS] + [credential.secret for credential in gone.values()]
    in_santaba = [*tokens, foreigners[API_KEY].secret]
    for version in VERSIONS:
        answers = [Caller(portal.base, santaba.Bearer(each), version).ask() for each in in_santaba]
        assert same_refusals(answers) and santaba.refusal(answers[0], version) == santaba.REFUSED
    for name, start, values in (
        ("Authorization", "Bearer ", tokens),
        ("X-API-Key", "", [*tokens, foreigners[BEARER].secret]),
        ("Cookie", "PHPSESSID=", [*tokens, *(credential.secret for credential in foreigners.values())]),
    ):
        sent = [raw_http.send(portal.base, "GET", EVENTS, headers=[(name, start + each)]) for each in values]
        assert same_refusals(sent) and sent[0].status == 401, name
    cookies = [raw_http.send(portal.base, "GET", "/papi/ping", headers=[("Cookie", f"PHPSESSID={each}")]) for each in tokens]
    assert same_refusals(cookies) and cookies[0].json()["error_code"] == 3004


@pytest.mark.parametrize("version", VERSIONS)
def test_a_foreign_access_id_is_like_an_unknown_one(portal, callers, version):
    """Signed with another key, whoever asks."""
    theirs = credentials.add(portal.annals, credentials.LMV1, FOREIGNER, f"theirs-{version}")
    own = callers[version].credential
    answers = [
        Caller(portal.base, santaba.Lmv1(access_id, own.access_key), version).ask()
        for access_id in (theirs.access_id, "unknown", theirs.access_id[::-1])
    ]
    assert same_refusals(answers)
    assert santaba.refusal(answers[0], version) == santaba.REFUSED
    # And with its own key it opens what is theirs.
    assert Caller(portal.base, theirs.santaba, version).page(filter="happenedOn>:0")[0] > 500


def test_a_grant_at_another_customer_opens_it_everywhere_and_a_revocation_closes_it(portal, callers, reader, foreign):
    """By any of the ids that were hidden."""
    row = foreign[0]

    def seen():
        by_id = callers[3].ask(path=f"{LIST}/{row.id}").status == 200
        native = reader.get(f"{EVENTS}/{forms(row.id)[1]}").status_code == 200
        listed = callers[3].page(filter=f'id:"{row.id}"')[0] == 1
        assert by_id == native == listed
        return by_id

    assert not seen()
    portal.annals.run("permission", "grant", READER, credentials.VIEW_AUDIT_LOG, "--customer", OTHER)
    assert seen()
    portal.annals.run("permission", "revoke", READER, credentials.VIEW_AUDIT_LOG, "--customer", OTHER)
    assert not seen()
