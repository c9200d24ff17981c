"""VMware's own client for this dialect, unmodified, as the judge of it."""

import datetime
import ipaddress
import zoneinfo

import pytest
import tau_clients
from tau_clients import exceptions

import reading
from papi import EVENT_FIELDS, from_xml, same_as_json, shown
from tau import client_of

SECOND = datetime.timedelta(seconds=1)


@pytest.fixture
def tau(imported):
    """A client of the administrator; it signs in with its first call."""
    return client_of(imported, imported.administrator)


def events(client, imported, **parameters):
    """All imported events that `parameters` select, in one page."""
    return client.get("auditlog", "get_events", params={"max_results": 10000, **imported.window, **parameters})


def split(imported, key):
    """A value that some but not all events have under `key`, and how many have it."""
    counts = {}
    for event in imported.events:
        value = key(event)
        if value and value is not reading.UNSAID:
            counts[value] = counts.get(value, 0) + 1
    value = max(counts, key=lambda v: (counts[v] < len(imported.events), counts[v], v))
    assert 0 < counts[value] < len(imported.events)
    return value, counts


# Signing in


def test_login_by_the_first_call(imported, tau):
    assert len(events(tau, imported)) == len(imported.events)


def test_a_wrong_password_is_an_authentication_error(imported):
    with pytest.raises(exceptions.ApiError, match="Authentication Error") as raised:
        events(client_of(imported, imported.administrator, "wrong"), imported)
    assert raised.value.error_code == 3004
    assert raised.value.error_msg == "Authentication Error."


def test_an_unknown_account_looks_the_same(imported):
    with pytest.raises(exceptions.ApiError, match="Authentication Error") as raised:
        events(client_of(imported, "stranger@example.com"), imported)
    assert (raised.value.error_code, raised.value.error_msg) == (3004, "Authentication Error.")


def test_a_garbage_cookie_is_refused_and_a_new_login_helps(imported, tau):
    """What an expired session looks like: 3004 with HTTP 200, then the client signs in again and goes on."""
    whole = len(events(tau, imported))
    tau._session.cookies.clear()
    tau._session.cookies.set("PHPSESSID", "0123456789abcdef0123456789abcdef")
    with pytest.raises(exceptions.ApiError, match="Authentication Error") as raised:
        events(tau, imported)
    assert raised.value.error_code == 3004
    # The client keeps the session object, which is how it knows that it is signed in; its users drop it.
    tau._session = None
    assert len(events(tau, imported)) == whole


def test_a_client_without_cookie_is_refused(imported, tau):
    events(tau, imported)
    tau._session.cookies.clear()
    with pytest.raises(exceptions.ApiError, match="Authentication Error") as raised:
        events(tau, imported)
    assert raised.value.error_code == 3004


# The thirteen parameters of get_events


def middle(imported):
    """A time in the middle of the records: some are before it, some after."""
    times = sorted(event.time for event in imported.events)
    return times[len(times) // 2].replace(microsecond=0)


def test_get_events_start_time(imported, tau):
    start = middle(imported)
    wanted = sum(event.time >= start for event in imported.events)
    assert len(events(tau, imported, start_time=shown(start))) == wanted
    assert len(events(tau, imported, start_time=shown(start).replace(" ", "T"))) == wanted
    midnight = start.replace(hour=0, minute=0, second=0)
    assert len(events(tau, imported, start_time=str(midnight.date()))) == sum(
        e.time >= midnight for e in imported.events
    )


def test_get_events_end_time(imported, tau):
    """On or before; an end in seconds takes in the whole second, an end with a fraction is that moment."""
    end = middle(imported)
    assert len(events(tau, imported, end_time=shown(end))) == sum(e.time < end + SECOND for e in imported.events)
    exact = sorted(event.time for event in imported.events)[len(imported.events) // 2]
    written = exact.strftime("%Y-%m-%d %H:%M:%S.%f")
    assert len(events(tau, imported, end_time=written)) == sum(e.time <= exact for e in imported.events)
    assert len(events(tau, imported, start_time=written)) == sum(e.time >= exact for e in imported.events)


@pytest.mark.parametrize("name", ["timezone", "time_zone"])
def test_get_events_timezone(imported, tau, name):
    """The zone applies to the range and to every returned time."""
    zone = zoneinfo.ZoneInfo("Asia/Taipei")
    start, end = middle(imported), max(event.time for event in imported.events)
    answered = events(tau, imported, start_time=shown(start, zone), end_time=shown(end, zone), **{name: zone.key})
    in_utc = events(tau, imported, start_time=shown(start), end_time=shown(end))
    assert [e["audit_event_id"] for e in answered] == [e["audit_event_id"] for e in in_utc]
    apart = {
        tau_clients.parse_datetime(a["ts"]) - tau_clients.parse_datetime(b["ts"])
        for a, b in zip(answered, in_utc, strict=True)
    }
    assert apart == {datetime.timedelta(hours=8)}


def test_get_events_unknown_timezone(imported, tau):
    with pytest.raises(exceptions.ApiError, match="Moon/Tranquility") as raised:
        events(tau, imported, timezone="Moon/Tranquility")
    assert raised.value.error_code == 3005
    assert "Permission denied" not in raised.value.error_msg


def test_get_events_orderby(imported, tau):
    """Both generations of names, any case, either direction; ascending without one; several by comma."""
    for written, field, reverse in (
        ("ts", "ts", False),
        ("ts ASC", "ts", False),
        ("ts DESC", "ts", True),
        ("TS desc", "ts", True),
        ("account", "account", False),
        ("audit_action_type DESC", "event_name", True),
        ("event_name", "event_name", False),
        ("event_category desc", "event_category", True),
        ("entity_type", "entity_type", False),
        ("portal_entity_id", "entity_id", False),
        ("audit_event_id", "audit_event_id", False),
        ("customer", "customer", False),
    ):
        values = [event[field] or "" for event in events(tau, imported, orderby=written)]
        assert len(values) == len(imported.events)
        assert values == sorted(values, key=lambda text: text.encode(), reverse=reverse), written
    both = [(event["account"] or "", event["ts"]) for event in events(tau, imported, orderby="account, ts DESC")]
    by_time = sorted(both, key=lambda pair: pair[1], reverse=True)
    assert both == sorted(by_time, key=lambda pair: pair[0].encode())


def test_get_events_orderby_address_sorts_by_bytes_of_the_address(imported, tau):
    def sixteen(text):
        address = ipaddress.ip_address(text)
        return (b"\0" * 10 + b"\xff\xff" if address.version == 4 else b"") + address.packed

    values = [event["src_ip"] for event in events(tau, imported, orderby="source_ip")]
    known = [value for value in values if value]
    assert known == sorted(known, key=sixteen)
    # Events without an address stand together, at one end.
    blanks = [not value for value in values]
    assert blanks in (sorted(blanks), sorted(blanks, reverse=True))


def test_get_events_orderby_severity_sorts_as_the_text_it_is(imported, tau):
    """Text sorts by bytes, and a severity is a text to every client: ERROR, INFO, WARNING."""
    for written in ("severity", "event_severity"):
        values = [event["severity"] for event in events(tau, imported, orderby=written)]
        assert values == sorted(values), written


def test_get_events_orderby_an_unknown_field(imported, tau):
    for written in ("shoe_size", "ts SIDEWAYS", "ts; DROP TABLE events"):
        with pytest.raises(exceptions.ApiError) as raised:
            events(tau, imported, orderby=written)
        assert raised.value.error_code == 3005


def test_get_events_max_results(imported, tau):
    assert len(events(tau, imported, max_results=3)) == 3
    assert events(tau, imported, max_results=0) == []
    for bad in ("-1", "many", "1.5"):
        with pytest.raises(exceptions.ApiError) as raised:
            events(tau, imported, max_results=bad)
        assert raised.value.error_code == 3005
    default = tau.get("auditlog", "get_events", params=imported.window)
    assert len(default) == min(1000, len(imported.events))


def test_get_events_offset_results(imported, tau):
    whole = events(tau, imported)
    assert events(tau, imported, offset_results=5, max_results=4) == whole[5:9]
    assert events(tau, imported, offset_results=len(whole) - 1) == whole[-1:]
    assert events(tau, imported, offset_results=10**18) == []
    with pytest.raises(exceptions.ApiError) as raised:
        events(tau, imported, offset_results=-1)
    assert raised.value.error_code == 3005


def test_get_events_accounts(imported, tau):
    """A comma list, a repeated parameter, and a name without case; a name that nobody has matches nothing."""
    name, counts = split(imported, lambda e: e.account)
    other = next(account for account in sorted(counts) if account.lower() != name.lower())
    one, two = (len(events(tau, imported, accounts=each)) for each in (name, other))
    assert one >= counts[name] and two >= counts[other]
    assert len(events(tau, imported, accounts=name.upper())) == one
    assert len(events(tau, imported, accounts=f"{name},{other}")) == one + two
    assert len(events(tau, imported, accounts=[name, other])) == one + two
    assert events(tau, imported, accounts="nobody.at.all") == []


def test_get_events_accounts_of_somebody_else(imported):
    """Without can_manage_users only one's own events are seen, whatever the filter says."""
    own = client_of(imported, imported.nobody)
    name, _ = split(imported, lambda e: e.account)
    for parameters in ({}, {"accounts": name}, {"accounts": imported.administrator}):
        answered = own.get("auditlog", "get_events", params={"max_results": 10000, **parameters})
        assert {event["account"] for event in answered} <= {imported.nobody}


def test_get_events_affected_customers(imported, tau):
    assert len(events(tau, imported, affected_customers=imported.customer)) == len(imported.events)
    assert len(events(tau, imported, affected_customers=imported.customer.upper())) == len(imported.events)
    assert events(tau, imported, affected_customers="stranger@example.com") == []
    both = ["stranger@example.com", imported.customer]
    assert len(events(tau, imported, affected_customers=both)) == len(imported.events)


def test_get_events_source_ips(imported, tau):
    address, counts = split(imported, lambda e: e.address)
    other = next(each for each in sorted(counts) if each != address)
    assert len(events(tau, imported, source_ips=address)) == counts[address]
    assert len(events(tau, imported, source_ips=f"{address},{other}")) == counts[address] + counts[other]
    assert len(events(tau, imported, source_ips=[address, other])) == counts[address] + counts[other]
    assert events(tau, imported, source_ips="not an address") == []


def test_get_events_action_types(imported, tau):
    name, counts = split(imported, lambda e: e.name)
    other = next(each for each in sorted(counts) if each != name)
    assert len(events(tau, imported, action_types=name)) == counts[name]
    assert len(events(tau, imported, action_types=f"{name},{other}")) == counts[name] + counts[other]
    assert events(tau, imported, action_types="NO_SUCH_ACTION") == []


def test_get_events_entity_types(imported, tau):
    entity, counts = split(imported, lambda e: e.entity_type)
    other = next(each for each in sorted(counts) if each != entity)
    one, two = (len(events(tau, imported, entity_types=each)) for each in (entity, other))
    assert one >= counts[entity] and two >= counts[other]
    assert len(events(tau, imported, entity_types=[entity, other])) == one + two
    assert events(tau, imported, entity_types="no_such_type") == []


def test_get_events_portal_entity_ids(imported, tau):
    entity, counts = split(imported, lambda e: e.entity_id)
    other = next(each for each in sorted(counts) if each.lower() != entity.lower() and "," not in each)
    one, two = (events(tau, imported, portal_entity_ids=each) for each in (entity, other))
    assert len(one) >= counts[entity] and len(two) >= counts[other]
    assert {event["portal_entity_id"].lower() for event in one} == {entity.lower()}
    assert len(events(tau, imported, portal_entity_ids=[entity, other])) == len(one) + len(two)
    assert events(tau, imported, portal_entity_ids="no such object") == []


def test_get_events_audit_event_id(imported, tau):
    """32 hex digits; dashes are accepted, and so is a list."""
    first, second = events(tau, imported, max_results=2)
    one, two = first["audit_event_id"], second["audit_event_id"]
    assert events(tau, imported, audit_event_id=one) == [first]
    dashed = "-".join((one[:8], one[8:12], one[12:16], one[16:20], one[20:]))
    assert events(tau, imported, audit_event_id=dashed) == [first]
    assert events(tau, imported, audit_event_id=one.upper()) == [first]
    assert events(tau, imported, audit_event_id=f"{two},{one}") == [first, second]
    for nothing in ("0" * 32, "not an id"):
        assert events(tau, imported, audit_event_id=nothing) == []


def test_get_events_filters_combine(imported, tau):
    """Filters of different kinds are ANDed."""
    address, _ = split(imported, lambda e: e.address)
    name, _ = split(imported, lambda e: e.name if e.address == address else None)
    wanted = sum(event.address == address and event.name == name for event in imported.events)
    assert len(events(tau, imported, source_ips=address, action_types=name)) == wanted > 0


# What comes back


def test_fields_of_an_event(imported, tau):
    for event in events(tau, imported):
        assert EVENT_FIELDS <= set(event)
        assert event["event_severity"] in ("INFO", "WARNING", "ERROR")
        assert tau_clients.get_hash_type(event["audit_event_id"]) == "md5"


def test_times_of_an_event_are_read_by_the_vendor(imported, tau):
    for event in events(tau, imported):
        moment = tau_clients.parse_datetime(event["ts"])
        assert moment.strftime("%Y-%m-%d %H:%M:%S") == event["ts"]
        assert tau_clients.parse_datetime(event["recorded_at"]) > moment


@pytest.mark.parametrize("method", ["get", "post"])
def test_xml_says_the_same_as_json(imported, tau, method):
    """Raw, as every public client fetches it, and through a real parser."""
    options = {"max_results": 200, **imported.window}
    sent = {"params": options} if method == "get" else {"data": options}
    raw = getattr(tau, method)("auditlog", "get_events", fmt="xml", raw=True, **sent)
    assert isinstance(raw, bytes)
    parsed = from_xml(raw)
    assert parsed == {"success": "1", "data": same_as_json(events(tau, imported, max_results=200))}


def test_json_raw_and_without_suffix_are_the_same(imported, tau):
    options = {"max_results": 20, **imported.window}
    raw = tau.get("auditlog", "get_events", params=options, raw=True)
    bare = tau.get("auditlog", "get_events", params=options, fmt=None, raw=True)
    assert raw == bare
    assert tau.get("auditlog", "get_events", params=options, fmt=None) == events(tau, imported, max_results=20)


def test_ping_of_a_module(imported, tau):
    for module in ("auditlog", "session"):
        assert tau.get(module, "ping") == "pong"


def test_an_unknown_function_is_a_404_with_an_envelope(imported, tau):
    with pytest.raises(exceptions.ApiError, match="404") as raised:
        tau.get("auditlog", "get_shoes")
    # The client shows the envelope's text only where there was one.
    assert "Response not json" not in str(raised.value)


# Users logged on


def busiest(imported):
    """The address with the most logons of persons."""
    logons = [event for event in imported.events if event.user]
    return max({e.address for e in logons}, key=lambda a: (sum(e.address == a for e in logons), a))


def users(client, address, **parameters):
    """Users logged on, through the vendor's client."""
    return client.get("session", "get_users_logged_on", params={"ip_address": address, **parameters})


def test_users_logged_on(imported, tau):
    address = busiest(imported)
    wanted = reading.users_logged_on(imported.events, address)
    first, last = min(user.first for user in wanted), max(user.last for user in wanted)
    rows = users(tau, address, lookup_start=[shown(first), shown(last)])
    assert [(row["first_seen"], row["last_seen"]) for row in rows] == [(shown(u.first), shown(u.last)) for u in wanted]
    for row in rows:
        assert {"username", "user_uuid", "session_log_type", "first_seen", "last_seen"} <= set(row)
        assert tau_clients.get_hash_type(row["user_uuid"]) == "md5"
        assert row["session_log_type"] == "ActiveDirectory"
        assert tau_clients.parse_datetime(row["first_seen"]) <= tau_clients.parse_datetime(row["last_seen"])
    raw = tau.get("session", "get_users_logged_on", params={"ip_address": address}, fmt="xml", raw=True)
    assert from_xml(raw) == {"success": "1", "data": same_as_json(users(tau, address))}


def test_users_logged_on_lookup_start_twice_or_lookup_end(imported, tau):
    """The documentation lists lookup_start twice; the second one is the end, and lookup_end says the same."""
    address = busiest(imported)
    times = sorted(e.time for e in imported.events if e.user and e.address == address)
    start, end = times[0], times[len(times) // 2]
    twice = users(tau, address, lookup_start=[shown(start), shown(end)])
    assert twice == users(tau, address, lookup_start=shown(start), lookup_end=shown(end))
    until_end = reading.users_logged_on(imported.events, address, None, end.replace(microsecond=0) + SECOND)
    assert len(users(tau, address, lookup_end=shown(end))) == len(until_end)
    since = reading.users_logged_on(imported.events, address, end.replace(microsecond=0))
    assert len(users(tau, address, lookup_start=shown(end))) == len(since)


def test_users_logged_on_timezone(imported, tau):
    address = busiest(imported)
    zone = zoneinfo.ZoneInfo("Asia/Taipei")
    wanted = reading.users_logged_on(imported.events, address)
    rows = users(tau, address, timezone=zone.key)
    assert [row["last_seen"] for row in rows] == [shown(user.last, zone) for user in wanted]


def test_users_logged_on_bad_parameters(imported, tau):
    """A missing or malformed address, a malformed time, an end before its start: 3005, with no word of permissions."""
    for parameters in (
        {},
        {"ip_address": "300.1.2.3"},
        {"ip_address": "::1", "lookup_start": "yesterday"},
        {"ip_address": "::1", "lookup_start": ["2020-01-02", "2020-01-01"]},
        {"ip_address": "::1", "timezone": "Nowhere"},
    ):
        with pytest.raises(exceptions.ApiError) as raised:
            tau.get("session", "get_users_logged_on", params=parameters)
        assert raised.value.error_code == 3005, parameters
        assert "Permission denied" not in raised.value.error_msg


def test_users_logged_on_needs_a_permission(imported):
    with pytest.raises(exceptions.ApiError, match="Permission denied") as raised:
        users(client_of(imported, imported.nobody), "::1")
    assert raised.value.error_code == 3001


def test_users_logged_on_to_an_unknown_address(imported, tau):
    assert users(tau, "203.0.113.99") == []
