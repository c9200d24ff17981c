"""What papi answers about imported records, compared with an independent reading of the same records.

The server was started after the import; /readyz said 200, so everything must be there at the first question.
"""

import collections
import datetime
import random
import zoneinfo

import pytest

import reading
from papi import shown

UTC_ZONE = zoneinfo.ZoneInfo("UTC")
SECOND = datetime.timedelta(seconds=1)
INTERVALS = 20


def seen(event):
    """What a client sees of one answered event, ids and both generations of names reduced to one tuple."""
    return (
        event["event_name"],
        event["event_category"],
        event["event_severity"],
        event["account"] or "",
        event["src_ip"] or "",
        event["ts"],
        event["entity_type"] or "",
        event["entity_id"] or "",
    )


def expected(event):
    """The same tuple from the reading; None stands for what the description leaves open."""
    open_or = lambda value: None if value is reading.UNSAID else value or ""
    return (
        event.name,
        event.category,
        event.severity,
        open_or(event.account),
        event.address or "",
        shown(event.time),
        open_or(event.entity_type),
        open_or(event.entity_id),
    )


def assert_same_events(answered, events):
    """The answered events are those of the reading, one for one; order does not matter."""
    assert len(answered) == len(events)
    blank = [expected(event) for event in events if None in expected(event)]
    left = collections.Counter(map(seen, answered))
    left.subtract(expected(event) for event in events if None not in expected(event))
    # What the description leaves open is compared in the fields that it settles.
    for wanted in blank:
        match = next(
            (
                row
                for row, count in left.items()
                if count > 0 and all(want is None or want == have for want, have in zip(wanted, row, strict=True))
            ),
            None,
        )
        assert match, f"no answered event for {wanted}"
        left[match] -= 1
    assert not +left and not -left, f"only papi has {list(+left)[:5]}, only the reading has {list(-left)[:5]}"


def counted(events, key):
    """How many events have each value of `key`; without the values that the description leaves open."""
    counts = collections.Counter(key(event) for event in events)
    return {value: count for value, count in counts.items() if value is not reading.UNSAID}


def test_every_event_is_shown_as_the_reading_has_it(imported, admin):
    assert_same_events(admin.all_events(**imported.window), imported.events)


def test_both_generations_of_names_say_the_same(imported, admin):
    for event in admin.events(**imported.window):
        assert event["audit_action_type"] == event["event_name"]
        assert event["category"] == event["event_category"]
        assert event["severity"] == event["event_severity"]
        assert event["source_ip"] == event["src_ip"]
        assert event["portal_entity_id"] == event["entity_id"]
        assert event["customer"] == imported.customer


def test_number_of_events_per_account(imported, admin):
    unsaid = sum(event.account is reading.UNSAID for event in imported.events)
    counts = counted(imported.events, lambda e: e.account)
    for account, count in counts.items():
        if account is None:
            continue
        # Names compare without case, so one filter may take in two spellings.
        same = sum(n for name, n in counts.items() if name and name.lower() == account.lower())
        answered = admin.all_events(accounts=account, **imported.window)
        assert count <= same <= len(answered) <= same + unsaid, account
        assert {event["account"].lower() for event in answered} == {account.lower()}


def test_an_account_is_also_found_by_its_full_name(imported, admin):
    """`DOMAIN\\name` or the whole ARN, in any case."""
    known = [e for e in imported.events if e.qualified and e.qualified is not reading.UNSAID]
    assert known
    for qualified in sorted({event.qualified for event in known}):
        same = [event for event in known if event.qualified.lower() == qualified.lower()]
        answered = admin.all_events(accounts=qualified.swapcase(), **imported.window)
        assert len(answered) >= len(same), qualified
        wanted = {expected(event) for event in same if None not in expected(event)}
        assert wanted <= set(map(seen, answered)), qualified


def test_number_of_events_per_source_ip(imported, admin):
    counts = counted(imported.events, lambda e: e.address)
    assert len(counts) > 3
    for address, count in counts.items():
        if address is not None:
            answered = admin.all_events(source_ips=address, **imported.window)
            assert (len(answered), {e["source_ip"] for e in answered}) == (count, {address})


def test_an_address_is_found_in_any_spelling(imported, admin):
    """Addresses are compared in canonical form: `::ffff:172.18.39.5` is `172.18.39.5`."""
    for address, count in counted(imported.events, lambda e: e.address).items():
        if address is not None:
            spelling = address.upper() if ":" in address else f"::ffff:{address}"
            assert len(admin.all_events(source_ips=spelling, **imported.window)) == count, spelling


def test_number_of_events_per_action_type(imported, admin):
    for name, count in counted(imported.events, lambda e: e.name).items():
        answered = admin.all_events(action_types=name, **imported.window)
        assert (len(answered), {e["audit_action_type"] for e in answered}) == (count, {name})


def test_number_of_events_per_entity_type(imported, admin):
    unsaid = [event for event in imported.events if event.entity_type is reading.UNSAID]
    for entity_type, count in counted(imported.events, lambda e: e.entity_type).items():
        if entity_type:
            answered = admin.all_events(entity_types=entity_type, **imported.window)
            assert count <= len(answered) <= count + len(unsaid), entity_type
            assert {event["entity_type"] for event in answered} == {entity_type}


def test_number_of_events_per_hour(imported, admin):
    """Every hour with events and the one after it, in pages small enough that most hours need several."""
    hours = counted(imported.events, lambda e: e.time.replace(minute=0, second=0, microsecond=0))
    for hour in sorted(set(hours) | {hour + datetime.timedelta(hours=1) for hour in hours}):
        last_second = hour + datetime.timedelta(hours=1) - SECOND
        answered = admin.all_events(page=40, start_time=shown(hour), end_time=shown(last_second))
        assert len(answered) == hours.get(hour, 0), hour


def test_pages_of_any_size_join_to_the_whole(imported, admin):
    whole = [event["audit_event_id"] for event in admin.events(max_results=10000, **imported.window)]
    assert len(whole) == len(set(whole)) == len(imported.events)
    for page in (7, 100, 999):
        assert [event["audit_event_id"] for event in admin.all_events(page=page, **imported.window)] == whole


def test_newest_first_is_the_default_order(imported, admin):
    times = [event["ts"] for event in admin.all_events(**imported.window)]
    assert times == sorted(times, reverse=True)


def addresses(events):
    """Every address in the records, those without a person's logon too, and one that nobody has."""
    return sorted({event.address for event in events if event.address}) + ["203.0.113.99"]


def intervals(events, address):
    """Twenty intervals in whole seconds: the edges of what is there, then a fixed choice of others."""
    own = [event for event in events if event.user and event.address == address]
    seconds = sorted({event.time.replace(microsecond=0) for event in own or events})
    first, last = seconds[0], seconds[-1]
    chosen = [
        (first, last),
        (first, first),
        (last, last),
        (first + SECOND, last + SECOND),
        (first - SECOND, last),
        (first - 2 * SECOND, first - SECOND),
        (last + SECOND, last + 2 * SECOND),
    ]
    choice = random.Random(address)
    while len(chosen) < INTERVALS:
        start, end = sorted(choice.choice(seconds) + choice.randint(-1, 1) * SECOND for _ in range(2))
        chosen.append((start, end))
    return chosen


def written_once(moment, zone):
    """Whether the clock of `zone` shows this moment only once: not in the hour that a change of clocks repeats."""
    local = moment.astimezone(zone)
    return local.replace(fold=0).utcoffset() == local.replace(fold=1).utcoffset()


def assert_same_users(client, events, identities):
    """Users logged on to every address in twenty intervals. `identities` collects the ids given to each user."""
    for address in addresses(events):
        for number, (start, end) in enumerate(intervals(events, address)):
            zone = zoneinfo.ZoneInfo(("UTC", "Asia/Taipei", "America/New_York", "UTC")[number % 4])
            if not written_once(start, zone) or not written_once(end, zone):
                zone = UTC_ZONE
            named = {} if zone == UTC_ZONE else {"timezone": zone.key}
            bounds = shown(start, zone), shown(end, zone)
            # An end in seconds takes in the whole second.
            wanted = reading.users_logged_on(events, address, start, end + SECOND)
            match_users(client.users(address, *bounds, **named), wanted, zone, (address, *bounds, zone.key), identities)


def match_users(rows, wanted, zone, where, identities):
    """Each row is one user of the reading, in the order of the last logon."""
    assert len(rows) == len(wanted), (where, rows)
    latest = [shown(user.last, zone) for user in wanted]
    assert [row["last_seen"] for row in rows] == latest, where
    left = list(wanted)
    for row in rows:
        assert row["session_log_type"] == "ActiveDirectory"
        # Two users may have been seen at the same times under the same name; either may come first.
        found = [
            user
            for user in left
            if row["username"] in user.names
            and (row["first_seen"], row["last_seen"]) == (shown(user.first, zone), shown(user.last, zone))
        ]
        assert found, (where, row, left)
        left.remove(found[0])
        if len(found) == 1:
            identities[found[0].key].add(row["user_uuid"])


def test_users_logged_on_to_every_address_in_twenty_intervals(imported, admin):
    identities = collections.defaultdict(set)
    assert_same_users(admin, imported.events, identities)
    assert identities, "no logon of a person was compared"
    for user, ids in identities.items():
        assert len(ids) == 1, f"{user} was given {ids}"
    given = [next(iter(ids)) for ids in identities.values()]
    assert len(set(given)) == len(given), "two users share an id"


def test_users_without_bounds_are_those_of_all_time(imported, admin):
    """No lookup_start is no lower bound, no end is now."""
    for address in addresses(imported.events):
        rows = admin.users(address)
        match_users(
            rows, reading.users_logged_on(imported.events, address), UTC_ZONE, address, collections.defaultdict(set)
        )


def snapshot(client, imported):
    """Everything that papi shows of the imported records, in its order."""
    users = {address: client.users(address) for address in addresses(imported.events)}
    return client.all_events(**imported.window), users


def test_a_rebuilt_view_gives_the_same_answers(import_dataset, dataset):
    """Before, right after (the server runs through it), and from a server that starts on the rebuilt views."""
    own = import_dataset(dataset)
    client = own.sign_in()
    before = snapshot(client, own)
    for view in ("audit_log", "logged_on_users"):
        own.annals.rebuild(view)
        assert snapshot(client, own) == before, view
    assert_same_events(client.all_events(**own.window), own.events)
    assert_same_users(client, own.events, collections.defaultdict(set))
    own.server.stop()
    own.server = own.annals.serve()
    assert snapshot(own.sign_in(), own) == before
    own.annals.close()
