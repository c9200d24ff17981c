"""Drives logicmonitor-sdk in a virtual environment of its own: questions and answers are lines of JSON.

A question is {"call": "get_audit_log_list", "config": {…}, "arguments": […], "parameters": {…}, "clock": seconds}; the
answer holds what the client gave back, or the exception that it raised. Nothing in the package is changed. The clock is
that of this process.
"""

import importlib.metadata
import json
import sys
import time

import logicmonitor_sdk
from logicmonitor_sdk.rest import ApiException

real_time = time.time
shift_seconds = 0


def shifted():
    """The time on a clock that is wrong."""
    return real_time() + shift_seconds


time.time = shifted
clients = {}


def client(config):
    """A client as its users configure one; `host` can only be set under its inner name."""
    known = json.dumps(config, sort_keys=True)
    if known not in clients:
        configuration = logicmonitor_sdk.Configuration()
        for name, value in config.items():
            assert hasattr(configuration, name), "the client has no setting " + name
            setattr(configuration, name, value)
        clients[known] = logicmonitor_sdk.LMApi(logicmonitor_sdk.ApiClient(configuration))
    return clients[known]


def plain(value):
    """What the client gave back, as JSON has it."""
    return value.to_dict() if hasattr(value, "to_dict") else value


def answer(question):
    """One call, with its status and headers."""
    call = getattr(client(question["config"]), question["call"] + "_with_http_info")
    try:
        data, status, headers = call(*question.get("arguments", []), **question.get("parameters", {}))
    except ApiException as error:
        headers = dict(error.headers.items()) if error.headers else {}
        return {"status": error.status, "headers": headers, "body": error.body, "raised": "ApiException"}
    except (TypeError, ValueError) as error:
        return {"raised": type(error).__name__, "body": str(error)}
    return {"status": status, "headers": dict(headers.items()), "data": plain(data), "raised": None}


print(json.dumps({"version": importlib.metadata.version("logicmonitor-sdk")}), flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    shift_seconds = asked.get("clock", 0)
    print(json.dumps(answer(asked)), flush=True)
