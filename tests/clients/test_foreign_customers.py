"""What belongs to another customer cannot be told from what does not exist: in no dialect, by no id or credential."""

import uuid

import pytest

import credentials
import datasets
import raw_http
import santaba
from conftest import ADMINISTRATOR, PASSWORD
from native import EVENTS, LOGONS, Native
from papi import Papi
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


def forms(row_id):
    """An id as the dialects write it."""
    return row_id, str(uuid.UUID(row_id))


@pytest.mark.parametrize("version", VERSIONS)
def test_an_entry_of_santaba(callers, foreign, version):
    caller = callers[version]
    ids = [form for row in foreign[:3] for form in forms(row.id)] + [*forms(uuid.uuid4().hex), *forms("0" * 32)]
    assert same_refusals(caller.ask(path=f"{LIST}/{each}") for each in ids)
    # By its own customer's reader the same id is found: the check above is worth something.


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


def test_an_event_of_the_native_api(portal, reader, foreign):
    ids = [form for row in foreign[:3] for form in forms(row.id)] + [*forms(uuid.uuid4().hex), "x", "0"]
    headers = reader.headers.items()
    answers = [raw_http.send(portal.base, "GET", f"{EVENTS}/{each}", headers=headers) for each in ids]
    # The position says how far the view is, and that moves.
    assert {answer.status for answer in answers} == {404} and len({answer.body for answer in answers}) == 1


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


def test_events_and_customers_of_papi(portal, foreign):
    papi = Papi(portal.base, READER, PASSWORD)
    for row in foreign[:3]:
        for form in forms(row.id):
            assert papi.events(audit_event_id=form) == papi.events(audit_event_id=uuid.uuid4().hex) == []
    assert papi.events(affected_customers=OTHER) == papi.events(affected_customers="nowhere@example.com") == []
    refusals = {
        papi.refusal("session/get_users_logged_on", ip_address="192.0.2.10", customer=customer)
        for customer in (OTHER, "nowhere@example.com")
    }
    assert len(refusals) == 1


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
