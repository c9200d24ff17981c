"""Reads the feed into a file, page by page, as a program that may be killed at any moment: BASE FILE LIMIT HEADERS.

Each line of the file is a page: the ids of its events and the token after it. It goes on after the last whole line.
"""

import json
import os
import sys
import time
from pathlib import Path

import requests

base, file, limit, headers = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), json.loads(sys.argv[4])


def whole_lines():
    """The pages that were written before, without one that was being written when the program was killed."""
    if not file.exists():
        return []
    text = file.read_bytes()
    end = text.rfind(b"\n") + 1
    with file.open("r+b") as output:
        output.truncate(end)
    return [json.loads(line) for line in text[:end].splitlines()]


pages = whole_lines()
token = pages[-1]["next"] if pages else ""
with requests.Session() as http, file.open("ab") as output:
    http.trust_env = False
    http.headers.update(headers)
    while True:
        answer = http.get(f"{base}/v1/audit-events", params={"after": token, "limit": limit}, timeout=30)
        answer.raise_for_status()
        page = answer.json()
        token = page["next"]
        if page["events"]:
            line = json.dumps({"ids": [event["id"] for event in page["events"]], "next": token})
            output.write(line.encode() + b"\n")
            output.flush()
            os.fsync(output.fileno())
        if page["complete"]:
            # Its own pace of asking again; nobody waits for it.
            time.sleep(0.02)
