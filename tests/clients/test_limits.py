"""Limits of a page, with more events than a page may hold."""

import datetime

from conftest import ADMINISTRATOR, PASSWORD
from generated import cloud_record, write_lines
from papi import shown
from program import until


def test_max_results_is_1000_by_default_and_10000_at_most(site, tmp_path):
    """A page has a cap, and what is beyond it is reached by offsets."""
    customer, reader, count = "many@example.com", "many-reader@example.com", 10_050
    site.annals.add_customer(customer)
    site.annals.add_account(reader, customer, PASSWORD, *ADMINISTRATOR)
    base = datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)
    file = tmp_path / "many.jsonl"
    write_lines(file, (cloud_record(6, n, base + datetime.timedelta(seconds=n)) for n in range(count)))
    assert site.annals.import_files("cloudtrail", customer, file)["published"] == count
    client = site.sign_in(reader)
    window = {"end_time": "2020-12-31"}
    until(lambda: client.events(offset_results=count - 1, **window), "the last event is shown")
    assert len(client.events(**window)) == 1_000
    for asked in (10_000, 10_001, 10**20):
        assert len(client.events(max_results=asked, **window)) == 10_000
    rest = client.events(max_results=10_000, offset_results=10_000, **window)
    assert len(rest) == count - 10_000 and rest[-1]["ts"] == shown(base)
