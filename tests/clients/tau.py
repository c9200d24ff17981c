"""VMware's own client for papi, unmodified.

tau-clients was written for the successor of Lastline's portal. Its login, cookie, URLs and envelope checks are used as
they are; the subclass only names our modules and formats, which the client keeps in two class attributes.
"""

import configparser

from tau_clients.nsx_defender import PortalClient

from conftest import PASSWORD


class Papi(PortalClient):
    """The vendor's client, allowed to call our modules."""

    MODULES = PortalClient.MODULES + ("auditlog", "monitoring", "session")
    FORMATS = ("json", "xml")


def client_of(site, username, password=PASSWORD):
    """A client configured the way its users configure it; it signs in with its first call."""
    conf = configparser.ConfigParser(interpolation=None)
    conf["portal"] = {
        "url": f"{site.base}/papi",
        "username": username,
        "password": password,
        "verify_ssl": "false",
        "timeout": "30",
    }
    return Papi.from_conf(conf, "portal")
