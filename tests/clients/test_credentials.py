"""Credentials of programs: made, listed, revoked, replaced and expired; and sealed keys when the master key changes."""

import datetime
import os
import re
import stat
from pathlib import Path

import pytest

import credentials
import raw_http
import santaba
from conftest import ADMINISTRATOR, PASSWORD
from credentials import API_KEY, BEARER, KINDS, LMV1
from native import Native
from papi import Papi
from program import until
from santaba import LIST, ROOT, VERSIONS, Caller
from test_moving import store_of

CUSTOMER, READER, NOBODY = "acme@example.com", "reader@example.com", "stranger@example.com"
UTC = datetime.timezone.utc


@pytest.fixture(scope="module")
def portal(new_annals):
    """A site with a reader and with somebody who may read nothing."""
    annals = new_annals("credentials")
    annals.add_customer(CUSTOMER)
    annals.add_account(READER, CUSTOMER, PASSWORD, credentials.VIEW_AUDIT_LOG, *ADMINISTRATOR)
    annals.add_account(NOBODY, CUSTOMER, PASSWORD)
    yield annals.serve()
    annals.close()


def opens(server, credential):
    """What a credential opens: the dialect santaba, the native API, both or nothing."""
    opened = set()
    for version in VERSIONS:
        answer = Caller(server.base, credential.santaba, version).ask("size=1")
        if answer.status == 200 and (version != 1 or answer.json()["status"] == 200):
            opened.add("santaba")
        else:
            assert santaba.refusal(answer, version) == santaba.REFUSED
    status = Native(server.base, credential).get(params={"limit": 1}).status_code
    assert status in (200, 401)
    return opened | ({"native"} if status == 200 else set())


# What each kind opens.
OPENED = {LMV1: {"santaba"}, BEARER: {"santaba", "native"}, API_KEY: {"native"}}


def entry_of(annals, credential):
    """How the newest credential of a name is listed."""
    return [each for each in credentials.listed(annals, credential.account) if each["id"] == credential.id][0]


@pytest.mark.parametrize("kind", KINDS)
def test_a_credential_opens_what_its_kind_is_for(portal, kind):
    credential = credentials.add(portal.annals, kind, READER, f"opens-{kind}")
    assert opens(portal, credential) == OPENED[kind]
    entry = entry_of(portal.annals, credential)
    assert (entry["account"], entry["name"], entry["kind"]) == (READER, credential.name, kind)
    assert (entry["access_id"], entry["state"], entry["expires_at"]) == (credential.access_id, "in use", None)
    made = datetime.datetime.fromisoformat(entry["created_at"])
    assert abs(datetime.datetime.now(UTC) - made) < datetime.timedelta(minutes=5)


def test_a_key_opens_the_native_api_in_either_header(portal):
    key = credentials.add(portal.annals, API_KEY, READER, "headers")
    for headers in ({"X-API-Key": key.secret}, {"Authorization": f"Bearer {key.secret}"}):
        answer = raw_http.send(portal.base, "GET", "/v1/audit-events?limit=1", headers=headers.items())
        assert answer.status == 200, headers


@pytest.mark.parametrize("kind", KINDS)
def test_the_last_use_is_noted(portal, kind):
    credential = credentials.add(portal.annals, kind, READER, f"used-{kind}")
    assert entry_of(portal.annals, credential)["used_at"] is None
    opens(portal, credential)
    noted = until(lambda: entry_of(portal.annals, credential)["used_at"], "the use is noted")
    # Once a minute at most.
    opens(portal, credential)
    assert entry_of(portal.annals, credential)["used_at"] == noted


@pytest.mark.parametrize("kind", KINDS)
def test_a_revoked_credential_is_refused_at_once_and_its_name_is_free(portal, kind):
    first = credentials.add(portal.annals, kind, READER, f"revoked-{kind}")
    assert opens(portal, first) == OPENED[kind]
    credentials.revoke(portal.annals, first)
    assert opens(portal, first) == set()
    assert entry_of(portal.annals, first)["state"] == "revoked"
    refused = credentials.revoke(portal.annals, first, status=None)
    assert refused.returncode != 0 and refused.stderr.startswith("annals: ")
    second = credentials.add(portal.annals, kind, READER, first.name)
    assert second.secret != first.secret and second.id != first.id
    assert opens(portal, second) == OPENED[kind] and opens(portal, first) == set()


@pytest.mark.parametrize("kind", KINDS)
def test_a_credential_that_is_rotated_has_another_secret_and_the_same_name_and_end(portal, kind):
    end = datetime.datetime.now(UTC).replace(microsecond=0) + datetime.timedelta(days=90)
    first = credentials.add(portal.annals, kind, READER, f"rotated-{kind}", "--expires", end.isoformat())
    assert opens(portal, first) == OPENED[kind]
    second = credentials.rotate(portal.annals, first)
    assert second.secret != first.secret
    assert opens(portal, first) == set() and opens(portal, second) == OPENED[kind]
    entry = entry_of(portal.annals, second)
    assert datetime.datetime.fromisoformat(entry["expires_at"]) == end
    assert (entry["name"], entry["kind"], entry["state"]) == (first.name, kind, "in use")


@pytest.mark.parametrize("kind", KINDS)
def test_a_credential_is_refused_from_its_end_on(portal, kind):
    end = datetime.datetime.now(UTC) + datetime.timedelta(seconds=12)
    credential = credentials.add(portal.annals, kind, READER, f"expiring-{kind}", "--expires", end.isoformat())
    assert opens(portal, credential) == OPENED[kind]
    until(lambda: opens(portal, credential) == set(), "the credential has expired")
    assert datetime.datetime.now(UTC) >= end
    assert entry_of(portal.annals, credential)["state"] == "expired"


@pytest.mark.parametrize("kind", KINDS)
def test_a_disabled_account_takes_its_credentials_along(portal, kind):
    account = f"leaving-{kind}@example.com"
    portal.annals.add_account(account, CUSTOMER, PASSWORD, credentials.VIEW_AUDIT_LOG)
    credential = credentials.add(portal.annals, kind, account, "leaving")
    assert opens(portal, credential) == OPENED[kind]
    portal.annals.run("account", "disable", account)
    assert opens(portal, credential) == set()
    assert entry_of(portal.annals, credential)["state"] == "account disabled"


@pytest.mark.parametrize("kind", [LMV1, BEARER])
def test_permissions_are_those_of_now(portal, kind):
    """A credential has what its account has: at once, and no longer."""
    credential = credentials.add(portal.annals, kind, NOBODY, f"permissions-{kind}")
    caller = Caller(portal.base, credential.santaba)
    assert caller.refusal() == santaba.FORBIDDEN
    portal.annals.run("permission", "grant", NOBODY, credentials.VIEW_AUDIT_LOG)
    assert caller.page()[0] > 0
    portal.annals.run("permission", "revoke", NOBODY, credentials.VIEW_AUDIT_LOG)
    assert caller.refusal() == santaba.FORBIDDEN


def test_a_changed_password_leaves_credentials_alone(portal):
    account = "changing@example.com"
    portal.annals.add_account(account, CUSTOMER, PASSWORD, credentials.VIEW_AUDIT_LOG)
    credential = credentials.add(portal.annals, BEARER, account, "kept")
    portal.annals.run("account", "password", account, "--password-stdin", stdin="another long password\n")
    assert opens(portal, credential) == OPENED[BEARER]


def test_what_cannot_be_is_refused_in_words(portal):
    known = credentials.add(portal.annals, BEARER, READER, "taken")
    for arguments in (
        ("add", "nobody.at.all@example.com", "name", "--kind", BEARER),
        ("add", READER, "taken", "--kind", LMV1),
        ("add", READER, "TAKEN", "--kind", BEARER),
        ("add", READER, " blank-before", "--kind", BEARER),
        ("add", READER, "blank-after ", "--kind", BEARER),
        ("add", READER, "no\u00a0plain blank", "--kind", BEARER),
        ("add", READER, "two\nlines", "--kind", BEARER),
        ("add", READER, "a\ttab", "--kind", BEARER),
        ("add", READER, "", "--kind", BEARER),
        ("add", READER, "name", "--kind", "password"),
        ("add", READER, "name"),
        ("add", READER, "name", "--kind", BEARER, "--expires", "tomorrow"),
        ("revoke", READER, "never-made"),
        ("revoke", "nobody.at.all@example.com", "taken"),
        ("rotate", READER, "never-made"),
    ):
        refused = portal.annals.run("credential", *arguments, status=None)
        assert refused.returncode != 0 and refused.stderr and not refused.stdout, arguments
    assert opens(portal, known) == OPENED[BEARER]


def test_a_name_may_have_blanks_between_its_words(portal):
    """It is for people; without case it is the same name, and blanks count."""
    first = credentials.add(portal.annals, API_KEY, READER, "Nightly  export of Z\u00fcrich")
    assert opens(portal, first) == OPENED[API_KEY] and entry_of(portal.annals, first)["name"] == first.name
    same = "NIGHTLY  EXPORT OF Z\u00dcRICH"
    refused = portal.annals.run("credential", "add", READER, same, "--kind", API_KEY, status=None)
    assert refused.returncode != 0 and "already" in refused.stderr
    portal.annals.run("credential", "revoke", READER, "nightly export of z\u00fcrich", status=1)
    second = credentials.rotate(portal.annals, first)
    assert opens(portal, first) == set() and opens(portal, second) == OPENED[API_KEY]
    portal.annals.run("credential", "revoke", READER, same)
    assert opens(portal, second) == set()


def test_changes_are_events_that_name_no_secret(portal):
    made = [credentials.add(portal.annals, kind, READER, f"told-{kind}") for kind in KINDS]
    made += [credentials.rotate(portal.annals, credential) for credential in made]
    for credential in made[len(KINDS) :]:
        credentials.revoke(portal.annals, credential)
    papi = Papi(portal.base, READER, PASSWORD)

    def told():
        found = papi.events(action_types="CREDENTIAL_ADDED,CREDENTIAL_ROTATED,CREDENTIAL_REVOKED")
        counts = {
            name: sum(event["event_name"] == name for event in found) for name in {e["event_name"] for e in found}
        }
        return len(counts) == 3 and min(counts.values()) >= 3 and found

    for event in until(told, "the changes are shown"):
        assert event["event_category"] == "annals" and event["customer"] == CUSTOMER
    whole = portal.annals.run("log", "dump").stdout + portal.log() + str(credentials.listed(portal.annals))
    for credential in made:
        assert credential.secret not in whole


@pytest.mark.only("embedded", "a data directory can be searched")
def test_no_secret_stands_in_the_data_directory(portal):
    """The key of a pair is sealed, a token is known by its hash; and the master key is its owner's alone."""
    made = [credentials.add(portal.annals, kind, READER, f"searched-{kind}") for kind in KINDS]
    for credential in made:
        opens(portal, credential)
    for path in Path(portal.annals.data).rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            for credential in made:
                assert credential.secret.encode() not in content, path
    mode = stat.S_IMODE((portal.annals.data / "master.key").stat().st_mode)
    assert mode == 0o600


# Who cannot be told from whom


def same_refusals(answers):
    """Whether status, body and headers are the same, but for what moves by itself: the time, what is left of a budget,
    and how far the view is."""
    left_out = ("date", "x-rate-limit-remaining", "annals-position")
    seen = {
        (answer.status, answer.body, tuple(sorted((n, v) for n, v in answer.headers.items() if n not in left_out)))
        for answer in answers
    }
    return len(seen) == 1


@pytest.mark.parametrize("version", VERSIONS)
def test_a_wrong_signature_an_unknown_a_revoked_and_an_expired_pair_look_the_same(portal, version):
    name = f"same-{version}"
    good = credentials.add(portal.annals, LMV1, READER, name)
    revoked = credentials.add(portal.annals, LMV1, READER, f"{name}-revoked")
    credentials.revoke(portal.annals, revoked)
    past = (datetime.datetime.now(UTC) + datetime.timedelta(seconds=6)).isoformat()
    expired = credentials.add(portal.annals, LMV1, READER, f"{name}-expired", "--expires", past)
    until(lambda: entry_of(portal.annals, expired)["state"] == "expired", "the pair has expired")
    callers = [
        santaba.Lmv1(good.access_id, good.secret + "x"),
        santaba.Lmv1("nobody", good.secret),
        santaba.Lmv1(good.access_id[:-1], good.secret),
        revoked.santaba,
        expired.santaba,
        santaba.Bearer("lmb_unknown"),
        credentials.add(portal.annals, API_KEY, READER, f"{name}-key").santaba,
        None,
    ]
    assert same_refusals(Caller(portal.base, each, version).ask() for each in callers)


def test_a_wrong_token_of_any_kind_looks_the_same_to_the_native_api(portal):
    tokens = [credentials.add(portal.annals, BEARER, READER, f"native-{number}") for number in range(2)]
    key = credentials.add(portal.annals, API_KEY, READER, "native-key")
    pair = credentials.add(portal.annals, LMV1, READER, "native-pair")
    credentials.revoke(portal.annals, tokens[0])
    headers = [
        {"Authorization": f"Bearer {tokens[0].secret}"},
        {"Authorization": f"Bearer {tokens[1].secret[:-1]}"},
        {"Authorization": f"Bearer {pair.secret}"},
        {"Authorization": pair.santaba.header("GET", "/v1/audit-events")},
        {"Authorization": "Bearer ak_unknown"},
        {"X-API-Key": tokens[1].secret},
        {"X-API-Key": key.secret + "x"},
        {"Cookie": "PHPSESSID=0123456789abcdef"},
        {},
    ]
    assert same_refusals(
        raw_http.send(portal.base, "GET", "/v1/audit-events", headers=each.items()) for each in headers
    )


# The master key


def key_file(annals):
    """Where the master key of an installation is."""
    named = annals.addresses.get("ANNALS_MASTER_KEY_FILE")
    return Path(named) if named else annals.data / "master.key"


def write_key(path, text=None):
    """A file with another master key; gives its text."""
    text = text or os.urandom(32).hex()
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w") as output:
        output.write(text + "\n")
    return text


@pytest.fixture
def sealed(new_annals):
    """A small site of its own with a pair and a token, and no server yet."""
    annals = new_annals("sealed")
    annals.add_customer(CUSTOMER)
    annals.add_account(READER, CUSTOMER, PASSWORD, credentials.VIEW_AUDIT_LOG)
    yield annals, credentials.add(annals, LMV1, READER, "pair"), credentials.add(annals, BEARER, READER, "token")
    annals.close()


def assert_pair_cannot_be_checked(server, pair):
    """Nobody is let in by it, the answer is an envelope that tells nothing, and the log says what is missing."""
    headers = Caller(server.base, pair.santaba).headers()
    answer = raw_http.send(server.base, "GET", ROOT + LIST, headers=headers)
    assert answer.status in (401, 500, 503) and answer.json()["errorCode"] in (1401, 1500), answer
    assert b"master" not in answer.body and b"key" not in answer.body.lower()
    assert re.search(r"the master key `[0-9a-f]+`, which seals credentials, is not here", server.log())
    assert "panicked" not in server.log()


def test_without_the_master_key_pairs_are_refused_and_everything_else_works(sealed):
    annals, pair, token = sealed
    path = key_file(annals)
    text = path.read_text().strip()
    write_key(path)
    server = annals.serve()
    assert_pair_cannot_be_checked(server, pair)
    assert opens(server, token) == OPENED[BEARER]
    # New ones are sealed under the new key.
    newer = credentials.add(annals, LMV1, READER, "newer")
    assert opens(server, newer) == OPENED[LMV1]
    # A key that is brought back is found without a restart where the pair is asked for; else with one.
    write_key(path, text)
    server.stop()
    server = annals.serve()
    assert opens(server, pair) == OPENED[LMV1]
    assert_pair_cannot_be_checked(server, newer)


def test_a_lost_master_key_is_not_silently_replaced(sealed):
    """A new one would hide that the old one is missing."""
    annals, _, _ = sealed
    key_file(annals).unlink()
    refused = annals.run("credential", "add", READER, "more", "--kind", LMV1, "--json", status=None)
    assert refused.returncode != 0 and not refused.stdout
    assert "master key" in refused.stderr and not key_file(annals).exists()


def test_an_old_master_key_still_opens_and_resealing_makes_it_needless(sealed):
    annals, pair, _ = sealed
    path = key_file(annals)
    old = path.with_name("old.key")
    path.rename(old)
    write_key(path)
    annals.addresses["ANNALS_OLD_MASTER_KEYS"] = str(old)
    server = annals.serve()
    assert opens(server, pair) == OPENED[LMV1]
    server.stop()
    del annals.addresses["ANNALS_OLD_MASTER_KEYS"]
    refused = annals.run("credential", "reseal", status=None)
    assert refused.returncode != 0 and "master key" in refused.stderr
    annals.run("credential", "reseal", "--old-key-file", old)
    old.unlink()
    server = annals.serve()
    assert opens(server, pair) == OPENED[LMV1]
    assert annals.run("credential", "reseal").stdout.startswith("sealed 0 keys anew")


@pytest.mark.only("embedded", "a data directory makes its own key")
def test_a_master_key_is_replaced_beside_a_running_server(sealed):
    """As it is documented: the old file away, and everything sealed anew; nobody is refused meanwhile."""
    annals, pair, _ = sealed
    server = annals.serve()
    assert opens(server, pair) == OPENED[LMV1]
    path = key_file(annals)
    old = path.with_name("old.key")
    path.rename(old)
    assert opens(server, pair) == OPENED[LMV1]
    said = annals.run("credential", "reseal", "--old-key-file", old).stdout
    assert said.startswith("sealed 1 keys anew, 0 were already")
    assert path.read_text() != old.read_text() and stat.S_IMODE(path.stat().st_mode) == 0o600
    old.unlink()
    assert opens(server, pair) == OPENED[LMV1]
    newer = credentials.add(annals, LMV1, READER, "newer")
    assert opens(server, newer) == OPENED[LMV1]
    server.stop()
    server = annals.serve()
    assert opens(server, pair) == opens(server, newer) == OPENED[LMV1]


@pytest.mark.parametrize("text", ["", "x", "0" * 63, "0" * 65, "g" * 64, "A" * 45])
def test_a_file_that_holds_no_master_key_is_told_at_the_start(sealed, text):
    annals, _, _ = sealed
    write_key(key_file(annals), text or "\n")
    refused = annals.run("serve", "--listen", "127.0.0.1:0", status=None)
    assert refused.returncode != 0
    assert str(key_file(annals).name) in refused.stderr and "is not a master key" in refused.stderr
    assert not text or len(text) < 2 or text not in refused.stderr


def test_a_master_key_that_others_can_read_is_refused(sealed):
    annals, _, _ = sealed
    key_file(annals).chmod(0o644)
    refused = annals.run("check-config", status=None)
    assert refused.returncode != 0 and "0600" in refused.stderr


def test_a_master_key_may_stand_in_the_environment_and_not_in_both(sealed):
    annals, pair, _ = sealed
    text = key_file(annals).read_text().strip()
    named = annals.addresses.pop("ANNALS_MASTER_KEY_FILE", None)
    path = annals.data / "master.key" if annals.data else Path(named)
    path.rename(path.with_suffix(".away"))
    annals.addresses["ANNALS_MASTER_KEY"] = text
    server = annals.serve()
    assert opens(server, pair) == OPENED[LMV1]
    server.stop()
    assert text not in server.log() and text not in annals.run("check-config").stdout
    annals.addresses["ANNALS_MASTER_KEY_FILE"] = str(path.with_suffix(".away"))
    refused = annals.run("check-config", status=None)
    assert refused.returncode != 0 and "both" in refused.stderr


def test_credentials_move_with_the_control_tables(sealed, new_annals):
    """The master key is not among them: it is copied by hand."""
    annals, pair, token = sealed
    target = new_annals("moved")
    target.run("control", "copy", store_of(annals), store_of(target))
    write_key(key_file(target), key_file(annals).read_text().strip())
    server = target.serve()
    assert opens(server, pair) == OPENED[LMV1]
    assert [each["name"] for each in credentials.listed(target)] == [e["name"] for e in credentials.listed(annals)]
    assert opens(server, token) == OPENED[BEARER]
