"""The source records that the data tests run on: invented and generated ones, and real ones where they are at hand."""

import functools
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import generated
import reading

PROJECT = Path(__file__).resolve().parents[2]
FILES = ("windows-security.jsonl", "cloudtrail.jsonl")

IMPORTERS = ("windows-security", "cloudtrail")

# What the importers must print for the real files, whatever the reading says.
REAL_COUNTS = {"windows-security.jsonl": 1581, "cloudtrail.jsonl": 103}


@dataclass(frozen=True)
class Dataset:
    """One pair of files."""

    name: str
    directory: Path

    @property
    def windows(self):
        """Records of the importer windows-security."""
        return self.directory / FILES[0]

    @property
    def cloudtrail(self):
        """Records of the importer cloudtrail."""
        return self.directory / FILES[1]

    def file(self, importer):
        """The file for one importer."""
        return {"windows-security": self.windows, "cloudtrail": self.cloudtrail}[importer]

    def lines(self, importer):
        """The events of the file for one importer, line by line, repeated ones included. None of its lines is bad."""
        read = {"windows-security": reading.windows_file, "cloudtrail": reading.cloudtrail_file}[importer]
        events, failed = read(self.file(importer))
        assert not failed, f"{self.file(importer)} has bad lines: {failed}"
        return events

    def read(self):
        """The distinct events of both files."""
        return [event for importer in IMPORTERS for event in reading.distinct(self.lines(importer))]


def real_directory():
    """Where the real records are: ANNALS_REAL_DATA, else shared/data beside the project; None without either."""
    given = os.environ.get("ANNALS_REAL_DATA")
    directory = Path(given) if given else PROJECT.parent / "shared" / "data"
    if all((directory / name).is_file() for name in FILES):
        return directory
    if given:
        raise FileNotFoundError(f"ANNALS_REAL_DATA is {given}, which does not hold {' and '.join(FILES)}")
    return None


@functools.cache
def generated_directory():
    """Where the generated records are; they are made when they are first asked for and go with this process."""
    directory = tempfile.TemporaryDirectory(prefix="annals-generated-")
    generated.write(Path(directory.name))
    return directory


@functools.cache
def available():
    """The invented and the generated records always, the real ones where they are."""
    datasets = [
        Dataset("invented", PROJECT / "producers" / "fixtures"),
        Dataset("generated", Path(generated_directory().name)),
    ]
    directory = real_directory()
    if directory:
        datasets.append(Dataset("real", directory))
    return datasets


def description():
    """One line that says which data a run uses."""
    used = ", ".join(f"{dataset.name} ({dataset.directory})" for dataset in available() if dataset.name != "generated")
    missing = "" if real_directory() else "; no real records: set ANNALS_REAL_DATA to a directory that holds them"
    return f"source records: generated, {used}{missing}"
