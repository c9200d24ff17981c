"""What every test here is given: the program, servers with accounts, and servers with imported records."""

import datetime
import os
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest

import datasets
import engines
from papi import Papi, shown
from program import Annals, Server
from reading import Event

PASSWORD = "correct horse battery staple"
ADMINISTRATOR = ("can_manage_users", "can_view_appliances")


def pytest_configure(config):
    """Stops at once, with words that help, when there is no program to test, or no server to test it on."""
    config.addinivalue_line("markers", "only(engines, reason): runs on these engines only")
    if config.option.collectonly:
        return
    if trouble := engines.trouble():
        raise pytest.UsageError(trouble)
    binary = os.environ.get("ANNALS_BIN")
    hint = "Build it (cargo build) and set ANNALS_BIN, for example ANNALS_BIN=target/debug/annals"
    if not binary:
        raise pytest.UsageError(f"ANNALS_BIN does not say where the program annals is. {hint}")
    if not os.access(binary, os.X_OK) or not Path(binary).is_file():
        raise pytest.UsageError(f"ANNALS_BIN is {binary}, which is not a program. {hint}")
    config.annals_binary = Path(binary).resolve()
    # Whoever ends the run ends its servers too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def pytest_collection_modifyitems(config, items):
    """Leaves out what says nothing about the engines of this run."""
    left_out = 0
    for item in items:
        for marker in item.iter_markers("only"):
            chosen, reason = marker.args
            assert chosen in engines.KNOWN, marker
            if chosen != engines.CHOSEN:
                left_out += 1
                item.add_marker(pytest.mark.skip(reason=f"{chosen} engines only: {reason}"))
    config.annals_run = f"engines: {engines.CHOSEN}; {left_out} tests are for the other ones only"


def pytest_report_header():
    """Says which engines and data the run uses."""
    return [f"engines: {engines.CHOSEN}", datasets.description()]


def pytest_terminal_summary(terminalreporter, config):
    """Says it again at the end, also in a quiet run."""
    terminalreporter.write_line(getattr(config, "annals_run", ""))
    terminalreporter.write_line(datasets.description())


@pytest.fixture(scope="session")
def new_annals(request, tmp_path_factory):
    """Makes installations, on the run's engines unless others are given: none means an embedded one.

    What still serves at the end is stopped, and must end well.
    """
    made = []

    def make(name="annals", registry=None, **given):
        if engines.SHARED:
            given = {"bus": engines.Kafka, "store": engines.Postgres} | given
        parts = {part: engine() for part, engine in given.items() if engine}
        annals = Annals(request.config.annals_binary, tmp_path_factory.mktemp(name), **parts, registry=registry)
        made.append(annals)
        if annals.bus:
            annals.run("topics", "ensure")
        return annals

    yield make
    for annals in made:
        annals.close()


@dataclass
class Site:
    """A server with one customer: an administrator who sees everything, and somebody who sees only themselves."""

    annals: Annals
    server: Server
    customer: str
    administrator: str
    nobody: str

    @property
    def base(self):
        """Address of the server, without a path."""
        return self.server.base

    def sign_in(self, username=None):
        """A client of a known account; the administrator's without a name."""
        return Papi(self.base, username or self.administrator, PASSWORD)


@pytest.fixture(scope="session")
def new_site(new_annals):
    """Makes sites; `before_serving(annals, customer)` runs between the accounts and the server."""

    def make(name="site", customer="acme@example.com", before_serving=None, annals=None, options=()):
        annals = annals or new_annals(name)
        annals.add_customer(customer)
        annals.add_account("admin@example.com", customer, PASSWORD, *ADMINISTRATOR)
        annals.add_account("nobody@example.com", customer, PASSWORD)
        if before_serving:
            before_serving(annals, customer)
        return Site(annals, annals.serve(*options), customer, "admin@example.com", "nobody@example.com")

    return make


@pytest.fixture(scope="module")
def site(new_site):
    """A site without imported records, one per test file."""
    made = new_site()
    yield made
    made.annals.close()


@pytest.fixture(scope="session", params=datasets.available(), ids=lambda dataset: dataset.name)
def dataset(request):
    """Each set of source records at hand."""
    return request.param


@dataclass
class Imported(Site):
    """A site whose customer's records were imported before the server started."""

    events: list[Event]
    summaries: dict

    @property
    def window(self):
        """A time range that holds what was imported and nothing that happened since."""
        return {
            "start_time": shown(min(e.time for e in self.events)),
            "end_time": shown(max(e.time for e in self.events)),
        }


@pytest.fixture(scope="session")
def import_dataset(new_site):
    """Makes a site whose customer has the records of a dataset, imported before the server starts."""

    def make(dataset):
        summaries = {}

        def fill(annals, customer):
            for importer in datasets.IMPORTERS:
                summaries[importer] = annals.import_files(importer, customer, dataset.file(importer))

        made = new_site(dataset.name, before_serving=fill)
        events = dataset.read()
        yesterday = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=1)
        assert max(event.time for event in events) < yesterday, "the window would hold events of this run"
        return Imported(**vars(made), events=events, summaries=summaries)

    return make


@pytest.fixture(scope="session")
def imported(import_dataset, dataset):
    """A server that shows the imported records of one dataset. Tests only read from it."""
    return import_dataset(dataset)


@pytest.fixture(scope="session")
def admin(imported):
    """A signed-in administrator of the imported records' customer."""
    return imported.sign_in()
