"""The rate limit of the dialect santaba: one budget of a customer, however many processes answer."""

import collections
import time

import pytest

import credentials
import santaba
from conftest import PASSWORD
from santaba import LIST, Caller

CUSTOMER, OTHER = "acme@example.com", "other@example.com"
BUDGET = 60


@pytest.fixture(scope="module")
def annals(new_annals):
    """Two customers with a reader each."""
    made = new_annals("rate")
    for number, customer in enumerate((CUSTOMER, OTHER)):
        made.add_customer(customer)
        made.add_account(f"reader-{number}@example.com", customer, PASSWORD, credentials.VIEW_AUDIT_LOG)
    yield made
    made.close()


def pairs(annals, name):
    """A pair of each customer's reader."""
    accounts = [f"reader-{number}@example.com" for number in range(2)]
    return [credentials.add(annals, credentials.LMV1, account, name).santaba for account in accounts]


class Minutes:
    """How many requests were answered in each minute of the clock."""

    def __init__(self):
        self.answered = collections.Counter()
        self.refused = collections.Counter()

    def ask(self, caller):
        """One request; what begins in one minute and ends in another is of neither."""
        began = int(time.time() // 60)
        answer = caller.ask("size=1")
        santaba.assert_rate(answer)
        if answer.status == 429:
            assert answer.headers["x-rate-limit-remaining"] == "0"
            self.refused[began] += 1
        elif int(time.time() // 60) == began:
            self.answered[began] += 1
        return answer.status


def spend(callers):
    """Asks in turn until everybody was refused in one minute; gives the counts."""
    minutes, asked = Minutes(), 0
    while not any(minutes.refused[minute] >= 3 * len(callers) for minute in minutes.refused):
        minutes.ask(callers[asked % len(callers)])
        asked += 1
        assert asked < 20 * BUDGET, "nobody is refused"
    return minutes


def assert_kept(minutes):
    """No minute had more than the budget, and the last one had most of it."""
    assert max(minutes.answered.values()) <= BUDGET, minutes.answered
    assert all(minutes.answered[minute] > BUDGET // 2 for minute in minutes.refused), minutes.answered


def test_a_customer_has_one_budget_for_each_resource(annals):
    """In every version; another customer's is untouched, and so is that of single entries."""
    server = annals.serve(*credentials.rate_limit(BUDGET))
    own, other = pairs(annals, "one-process")
    callers = [Caller(server.base, own, version) for version in santaba.VERSIONS]
    assert_kept(spend(callers))
    assert Caller(server.base, other).page(size=1)
    single = callers[2].ask(path=f"{LIST}/{'0' * 32}")
    assert single.status == 404 and int(single.headers["x-rate-limit-remaining"]) < BUDGET
    # Who is not known takes nothing from anybody.
    for _ in range(5):
        answer = Caller(server.base, santaba.Lmv1(other.access_id, "wrong")).ask()
        santaba.assert_rate(answer)
        assert answer.status == 401
    assert Caller(server.base, other).page(size=1)
    server.stop()


@pytest.mark.only("shared", "a data directory has one server")
def test_several_processes_share_one_budget(annals):
    """Fewer may get through than were allowed, never more."""
    options = credentials.rate_limit(BUDGET)
    servers = [annals.start("--roles", "query", *options), annals.start("--roles", "projector,query,relay", *options)]
    for server in servers:
        server.wait_until_ready()
    # The first one has spent the budget of this minute, maybe.
    _, own = pairs(annals, "two-processes")
    assert_kept(spend([Caller(server.base, own) for server in servers]))
    for server in servers:
        server.stop()
