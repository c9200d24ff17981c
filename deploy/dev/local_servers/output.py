"""What is said on the way. Standard output carries address lines only, so everything else goes to standard error."""

import sys
import threading

_lock = threading.Lock()


class Failure(Exception):
    """Something that the person at the keyboard can act on; its text is shown as it is."""


class Cancelled(Exception):
    """Another server failed, so this one need not be waited for."""


def say(text):
    with _lock:
        print(f"servers: {text}", file=sys.stderr, flush=True)
