"""The OpenAPI document of the native API: a linter reads it, and schemathesis holds the server to it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import requests
from openapi_spec_validator import OpenAPIV31SpecValidator

import credentials
import datasets
import native
from conftest import PASSWORD
from datasets import PROJECT
from program import clean_environment

CUSTOMER, READER = "acme@example.com", "reader@example.com"
# Questions of each operation, in each phase.
EXAMPLES = int(os.environ.get("ANNALS_SCHEMATHESIS_EXAMPLES") or 60)
SEED = "20260101"
# Which checks are left out, and why; every other one counts.
LEFT_OUT = {
    # Any text is a filter, so that what the document's types exclude may still be taken.
    "negative_data_rejection": "",
    # Values within their types can contradict each other: a start after its end, a cursor of another query.
    "positive_data_acceptance": "",
}


@pytest.fixture(scope="module")
def portal(new_annals):
    """A site with records and a token."""
    annals = new_annals("openapi")
    annals.add_customer(CUSTOMER)
    annals.add_account(READER, CUSTOMER, PASSWORD, credentials.VIEW_AUDIT_LOG, "can_view_appliances")
    for importer in datasets.IMPORTERS:
        annals.import_files(importer, CUSTOMER, datasets.available()[0].file(importer))
    yield annals.serve(*credentials.NO_RATE_LIMIT)
    annals.close()


@pytest.fixture(scope="module")
def document(portal):
    """The document, which anybody may read."""
    answer = requests.get(portal.base + native.DESCRIPTION, timeout=30)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    return answer.json()


def test_the_document_is_valid_openapi_3_1(document):
    assert document["openapi"].startswith("3.1.")
    errors = [error.message for error in OpenAPIV31SpecValidator(document).iter_errors()]
    assert not errors, errors[:10]


def test_the_document_describes_what_there_is(document):
    paths = document["paths"]
    assert set(paths) == {native.EVENTS, f"{native.EVENTS}/{{id}}", native.LOGONS, native.DESCRIPTION}
    names = [parameter["name"] for parameter in paths[native.EVENTS]["get"]["parameters"] if parameter["in"] == "query"]
    assert sorted(names) == sorted(native.PARAMETERS)
    operations = [operation for path in paths.values() for operation in path.values()]
    assert len({operation["operationId"] for operation in operations}) == len(operations)
    for operation in operations:
        assert operation["summary"] and "200" in operation["responses"]
    content = paths[native.EVENTS]["get"]["responses"]["200"]["content"]
    assert {kind.split(";")[0] for kind in content} == {
        "application/json",
        "text/csv",
        "application/x-ndjson",
        native.LIVE,
    }
    assert {scheme["type"] for scheme in document["components"]["securitySchemes"].values()} <= {"http", "apiKey"}


def test_the_document_in_the_repository_is_the_one_that_is_served(document):
    assert json.loads((PROJECT / "docs" / "openapi.json").read_text()) == document


def test_the_server_keeps_to_its_document(portal, tmp_path):
    """schemathesis: examples, edges of every type, and random questions, each answer by the document."""
    program = Path(sys.prefix) / "bin" / "schemathesis"
    token = credentials.add(portal.annals, credentials.BEARER, READER, "openapi")
    assert program.is_file() or shutil.which("schemathesis"), "scripts/python-env installs schemathesis"
    done = subprocess.run(
        [
            program,
            *("run", portal.base + native.DESCRIPTION, "--url", portal.base),
            *("--header", f"Authorization: Bearer {token.secret}"),
            *("--checks", "all", "--exclude-checks", ",".join(LEFT_OUT)),
            *("--max-examples", str(EXAMPLES), "--seed", SEED, "--generation-database", "none"),
            *("--workers", "1", "--continue-on-failure", "--request-timeout", "30", "--no-color"),
            *("--suppress-health-check", "all"),
        ],
        cwd=tmp_path,
        env=clean_environment() | {"NO_PROXY": "*"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert "panicked" not in portal.log()
