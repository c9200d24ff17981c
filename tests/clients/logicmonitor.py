"""LogicMonitor's own clients, unmodified, each in a virtual environment of its own: they share a package name.

scripts/python-env makes the environments beside the tests' own packages.
"""

import json
import subprocess
import sys
from pathlib import Path

from program import clean_environment
from santaba import ROOT

DRIVER = Path(__file__).resolve().parent / "logicmonitor_driver.py"
# The version of each client, and what it sends as the version of the API.
CLIENTS = {"3.0.256": 3, "2.0.163": 2, "1.0.129": 2}


class Sdk:
    """One client in a process of its own."""

    def __init__(self, version):
        self.version = version
        python = Path(sys.prefix) / f"logicmonitor-sdk-{version}" / "bin" / "python"
        assert python.is_file(), f"{python} is not there; scripts/python-env makes it"
        self.process = subprocess.Popen(
            [python, "-W", "ignore", DRIVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=clean_environment() | {"NO_PROXY": "*"},
            text=True,
        )
        assert self.read()["version"] == version

    def read(self):
        """The next line of the driver."""
        line = self.process.stdout.readline()
        assert line, f"the driver of {self.version} ended with {self.process.wait()}"
        return json.loads(line)

    def call(self, name, config, *arguments, clock=0, **parameters):
        """One call of the client's API."""
        question = {"call": name, "config": config, "arguments": arguments, "parameters": parameters, "clock": clock}
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        return self.read()

    def close(self):
        """Ends the process."""
        self.process.stdin.close()
        self.process.wait(30)
        self.process.stdout.close()


class User:
    """Somebody who uses a client at one server."""

    def __init__(self, sdk, base, **config):
        self.sdk = sdk
        self.config = {"_host": base + ROOT, **config}

    def list(self, **parameters):
        """Total and items of a page, in the client's own names."""
        answer = self.sdk.call("get_audit_log_list", self.config, **parameters)
        assert answer["raised"] is None and answer["status"] == 200, answer
        return answer["data"]["total"], answer["data"]["items"]

    def one(self, event_id):
        """One entry."""
        answer = self.sdk.call("get_audit_log_by_id", self.config, event_id)
        assert answer["raised"] is None and answer["status"] == 200, answer
        return answer["data"]

    def refusal(self, name="get_audit_log_list", *arguments, **parameters):
        """Status, envelope and headers of a refusal, which the client raises."""
        answer = self.sdk.call(name, self.config, *arguments, **parameters)
        assert answer["raised"] == "ApiException", answer
        headers = {name.lower(): value for name, value in answer["headers"].items()}
        return answer["status"], json.loads(answer["body"]), headers
