"""Times that have two readings or none: clocks that change, events from the future, fractions, edges of a range."""

import datetime
import zoneinfo

import pytest

from generated import cloud_record, write_lines
from papi import shown
from program import until

UTC = datetime.timezone.utc
SECOND = datetime.timedelta(seconds=1)


def quarters(day):
    """Every quarter of an hour of a day and the next."""
    return [
        datetime.datetime.fromisoformat(day).replace(tzinfo=UTC) + datetime.timedelta(minutes=15 * n)
        for n in range(192)
    ]


# Clocks in Berlin skip 2022-03-27 02:00 to 03:00 and repeat 2022-10-30 02:00 to 03:00.
MOMENTS = quarters("2022-03-26") + quarters("2022-10-29")


@pytest.fixture(scope="module")
def site_of_quarters(new_site, tmp_path_factory):
    """A site with an event at every quarter of an hour around two changes of clocks."""
    file = tmp_path_factory.mktemp("quarters") / "quarters.jsonl"
    write_lines(file, (cloud_record(2, number, moment) for number, moment in enumerate(MOMENTS)))
    made = new_site(
        "quarters", before_serving=lambda annals, customer: annals.import_files("cloudtrail", customer, file)
    )
    yield made
    made.annals.close()


def readings(text, zone):
    """The moments that a local time may mean: both of a repeated one, and both neighbours of a skipped one."""
    local = datetime.datetime.fromisoformat(text).replace(tzinfo=zoneinfo.ZoneInfo(zone))
    return sorted(local.replace(fold=fold).astimezone(UTC) for fold in (0, 1))


@pytest.mark.parametrize(
    "text", ["2022-10-30 02:30:00", "2022-03-27 02:30:00", "2022-10-30 01:45:00", "2022-03-27 03:00:00"]
)
def test_a_local_time_takes_the_reading_that_widens_the_range(site_of_quarters, text):
    client = site_of_quarters.sign_in()
    early, late = readings(text, "Europe/Berlin")
    zone, edge = {"timezone": "Europe/Berlin"}, {"start_time": "2022-03-01", "end_time": "2022-11-10"}
    since = client.events(**{**edge, "start_time": text}, **zone)
    assert len(since) == sum(moment >= early for moment in MOMENTS)
    until_then = client.events(**{**edge, "end_time": text}, **zone)
    assert len(until_then) == sum(moment < late + SECOND for moment in MOMENTS)


def test_a_bare_date_is_its_midnight_at_either_end(site_of_quarters):
    client = site_of_quarters.sign_in()
    day = client.events(start_time="2022-10-29", end_time="2022-10-30")
    # From midnight to the second of the next midnight, which is the first quarter of that day.
    assert len(day) == 97
    assert (day[0]["ts"], day[-1]["ts"]) == ("2022-10-30 00:00:00", "2022-10-29 00:00:00")


def test_an_end_before_its_start_is_refused_and_an_equal_one_is_a_moment(site_of_quarters):
    client = site_of_quarters.sign_in()
    code, text = client.refusal("auditlog/get_events", start_time="2022-10-30", end_time="2022-10-29")
    assert code == 3005 and "Permission denied" not in text
    assert len(client.events(start_time="2022-10-30 00:15:00", end_time="2022-10-30 00:15:00")) == 1
    assert client.events(start_time="2022-10-30 00:15:01", end_time="2022-10-30 00:15:01") == []


def test_an_end_with_a_fraction_is_that_moment(site, tmp_path):
    """An end in seconds takes in its second, one with a fraction does not."""
    base = datetime.datetime(2021, 5, 6, 7, 8, 9, tzinfo=UTC)
    file = tmp_path / "fractions.jsonl"
    moments = [base + datetime.timedelta(microseconds=n) for n in (0, 1, 500_000, 999_999, 1_000_000)]
    write_lines(file, (cloud_record(4, number, moment) for number, moment in enumerate(moments)))
    site.annals.import_files("cloudtrail", site.customer, file)
    client = site.sign_in()
    start = {"start_time": "2021-05-06 07:08:09"}
    until(lambda: len(client.events(**start, end_time="2021-05-06 07:08:10")) == 5, "all five are shown")
    for end, count in (
        ("07:08:09", 4),
        ("07:08:09.0", 1),
        ("07:08:09.000001", 2),
        ("07:08:09.5", 3),
        ("07:08:09.999998", 3),
    ):
        assert len(client.events(**start, end_time=f"2021-05-06T{end}")) == count, end
    assert {event["ts"] for event in client.events(**start, end_time="2021-05-06 07:08:09")} == {"2021-05-06 07:08:09"}


def test_an_event_from_the_future_is_shown_where_it_was_recorded(site, tmp_path):
    """More than five minutes ahead: kept, and shown, filtered and sorted by the time it was recorded."""
    now = datetime.datetime.now(UTC).replace(microsecond=0)
    future, soon = now + datetime.timedelta(days=400), now + datetime.timedelta(seconds=200)
    file = tmp_path / "future.jsonl"
    write_lines(
        file, [cloud_record(5, 1, future, eventName="ListFuture"), cloud_record(5, 2, soon, eventName="ListSoon")]
    )
    site.annals.import_files("cloudtrail", site.customer, file)
    client = site.sign_in()
    (event,) = until(lambda: client.events(action_types="S3_LIST_FUTURE"), "the event is shown")
    assert event["ts"] == event["recorded_at"]
    assert abs(datetime.datetime.fromisoformat(event["ts"]).replace(tzinfo=UTC) - now) < datetime.timedelta(minutes=2)
    assert client.events(action_types="S3_LIST_FUTURE", start_time=shown(future - 60 * SECOND)) == []
    # Less than five minutes is within what clocks differ by.
    (near,) = client.events(action_types="S3_LIST_SOON")
    assert near["ts"] == shown(soon)
    names = [e["event_name"] for e in client.events(action_types="S3_LIST_FUTURE,S3_LIST_SOON")]
    assert names == ["S3_LIST_SOON", "S3_LIST_FUTURE"]
