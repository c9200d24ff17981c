"""Credentials of programs, made the way their users make them: `annals credential …`.

Everything about the words of that command, and of the server's settings for programs, stands here.
"""

import json
from dataclasses import dataclass

import santaba

LMV1, BEARER, API_KEY = "lmv1", "bearer", "api-key"
KINDS = (LMV1, BEARER, API_KEY)
VIEW_AUDIT_LOG = "can_view_audit_log"


def rate_limit(requests_a_minute):
    """The option of a server that gives each customer so many requests to the dialect santaba."""
    return "--rate-limit", str(requests_a_minute)


# More than any test asks in a minute.
NO_RATE_LIMIT = rate_limit(1_000_000)


@dataclass(frozen=True)
class Credential:
    """A credential as it was shown once."""

    kind: str
    account: str
    name: str
    id: str
    secret: str  # the access key of a pair, else the token
    access_id: str = None

    @property
    def santaba(self):
        """How it signs in there."""
        return santaba.Lmv1(self.access_id, self.secret) if self.kind == LMV1 else santaba.Bearer(self.secret)

    @property
    def headers(self):
        """How it signs in at the native API."""
        return {"X-API-Key": self.secret} if self.kind == API_KEY else {"Authorization": f"Bearer {self.secret}"}


def shown_once(kind, account, name, said):
    """The credential that a command showed."""
    shown = json.loads(said)
    wanted = {"id", "access_id", "access_key"} if kind == LMV1 else {"id", "token"}
    assert set(shown) == wanted, sorted(shown)
    secret = shown["access_key"] if kind == LMV1 else shown["token"]
    return Credential(kind, account, name, shown["id"], secret, shown.get("access_id"))


def add(annals, kind, account, name, *options):
    """Adds a credential to an account."""
    done = annals.run("credential", "add", account, name, "--kind", kind, "--json", *options)
    return shown_once(kind, account, name, done.stdout)


def listed(annals, account=None):
    """Every credential, as `list` shows it."""
    of_account = ["--account", account] if account else []
    return json.loads(annals.run("credential", "list", "--json", *of_account).stdout)


def revoke(annals, credential, **options):
    """Revokes a credential."""
    return annals.run("credential", "revoke", credential.account, credential.name, **options)


def rotate(annals, credential):
    """Gives a credential another secret."""
    done = annals.run("credential", "rotate", credential.account, credential.name, "--json")
    return shown_once(credential.kind, credential.account, credential.name, done.stdout)
