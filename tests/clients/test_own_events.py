"""Whose events a caller sees: their own without permission, the customer's with can_manage_users, never another's."""

import datetime

import pytest

from conftest import ADMINISTRATOR, PASSWORD
from generated import cloud_record, write_lines
from papi import Papi
from program import until

OTHER = "other@example.com"
OLD = datetime.datetime(2021, 3, 4, 5, 6, 7)


@pytest.fixture(scope="module")
def two(new_site, tmp_path_factory):
    """Two customers, each with an administrator and with a cloud user named like the first one's plain account."""
    directory = tmp_path_factory.mktemp("records")

    def fill(annals, customer):
        annals.add_customer(OTHER)
        annals.add_account("boss@example.com", OTHER, PASSWORD, *ADMINISTRATOR)
        for number, owner in enumerate((customer, OTHER)):
            file = directory / f"{number}.jsonl"
            write_lines(file, [cloud_record(3, number, OLD, "nobody@example.com")])
            annals.import_files("cloudtrail", owner, file)

    made = new_site("two", before_serving=fill)
    yield made
    made.annals.close()


def test_somebody_without_permission_sees_exactly_their_own_events(two):
    """An identity is typed: a cloud user of the same name is somebody else."""
    client = two.sign_in(two.nobody)
    own = until(client.events, "the sign-in is shown")
    assert {event["account"] for event in own} == {two.nobody}
    assert {event["event_category"] for event in own} <= {"authentication", "annals", "audit"}
    assert not [event for event in own if event["ts"].startswith("2021")]
    for account in ("nobody@example.com", "admin@example.com", "arn:aws:iam::42:user/0"):
        shown = client.events(accounts=account)
        assert not [event for event in shown if event["ts"].startswith("2021") or event["account"] != two.nobody]
    admin = two.sign_in()
    imported = [event for event in admin.events(accounts=two.nobody) if event["ts"].startswith("2021")]
    assert len(imported) == 1


def test_another_customers_events_are_never_seen(two):
    """Not without a filter, not by the other's name, not by an event's id."""
    boss = Papi(two.base, "boss@example.com", PASSWORD)
    (foreign,) = boss.events(end_time="2021-12-31")
    assert foreign["customer"] == OTHER
    admin = two.sign_in()
    assert {event["customer"] for event in admin.all_events()} == {two.customer}
    assert admin.events(affected_customers=OTHER) == []
    assert admin.events(audit_event_id=foreign["audit_event_id"]) == []
    assert admin.events(affected_customers=[OTHER, two.customer], end_time="2021-12-31") != [foreign]
    assert boss.events(audit_event_id=foreign["audit_event_id"]) == [foreign]


def test_another_customers_users_are_never_seen(two):
    """customer= names another granted one; one that is not granted is refused like a missing permission."""
    admin = two.sign_in()
    code, text = admin.refusal("session/get_users_logged_on", ip_address="192.0.2.9", customer=OTHER)
    assert (code, text) == (3001, "Permission denied")
    # Nobody learns whether a customer exists.
    assert admin.refusal("session/get_users_logged_on", ip_address="192.0.2.9", customer="no@example.com") == (
        code,
        text,
    )
    assert admin.users("192.0.2.9", customer=two.customer) == []


def test_reading_the_log_is_recorded_once_a_minute(two):
    """The log of log access must not drown the log: many reads, one event or, over the turn of a minute, two."""
    reader = "reader@example.com"
    two.annals.add_account(reader, two.customer, PASSWORD, *ADMINISTRATOR)
    client = Papi(two.base, reader, PASSWORD)
    for _ in range(30):
        client.events(max_results=1)
    reads = until(
        lambda: two.sign_in().events(accounts=reader, action_types="AUDIT_LOG_READ"), "the reading is recorded"
    )
    assert 1 <= len(reads) <= 2
    assert {event["customer"] for event in reads} == {two.customer}


def test_a_grant_at_another_customer_opens_it_and_a_revocation_closes_it(two):
    """Changed from the command line while the server runs; a sign-in that is open follows."""
    guest = "guest@example.com"
    two.annals.add_account(guest, two.customer, PASSWORD, *ADMINISTRATOR)
    client = Papi(two.base, guest, PASSWORD)

    def customers(**parameters):
        return {event["customer"] for event in client.events(end_time="2021-12-31", **parameters)}

    assert customers() == {two.customer}
    two.annals.run("permission", "grant", guest, *ADMINISTRATOR, "--customer", OTHER)
    until(lambda: customers() == {two.customer, OTHER}, "the other customer's events are shown")
    assert customers(affected_customers=OTHER) == {OTHER}
    assert client.users("192.0.2.9", customer=OTHER) == []
    two.annals.run("permission", "revoke", guest, *ADMINISTRATOR, "--customer", OTHER)
    until(lambda: customers() == {two.customer}, "the other customer's events are gone")
    assert client.refusal("session/get_users_logged_on", ip_address="192.0.2.9", customer=OTHER)[0] == 3001


def test_a_new_password_ends_the_old_one_and_its_sessions(two):
    """Also a password that was checked a moment ago, which is remembered to save the work of checking it."""
    someone, new = "changing@example.com", "another long password"
    two.annals.add_account(someone, two.customer, PASSWORD)
    client = Papi(two.base, someone, PASSWORD)
    assert client.call("ping") == "pong"
    two.annals.run("account", "password", someone, "--password-stdin", stdin=new + "\n")
    assert until(lambda: client.envelope("ping")["success"] == 0, "the session has ended")
    old = {"username": someone, "password": PASSWORD}
    assert Papi(two.base).envelope("login", "POST", data=old) == {
        "success": 0,
        "error_code": 3004,
        "error": "Authentication Error.",
    }
    assert Papi(two.base, someone, new).call("ping") == "pong"


def test_a_disabled_account_is_out_at_once(two):
    someone = "leaving@example.com"
    two.annals.add_account(someone, two.customer, PASSWORD)
    client = Papi(two.base, someone, PASSWORD)
    two.annals.run("account", "disable", someone)
    assert until(lambda: client.envelope("ping")["success"] == 0, "the session has ended")
    refused = Papi(two.base).envelope("login", "POST", data={"username": someone, "password": PASSWORD})
    assert (refused["error_code"], refused["error"]) == (3004, "Authentication Error.")
