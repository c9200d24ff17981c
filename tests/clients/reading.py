"""An independent reading of the source records, to compare papi's answers with.

It shares no code with annals and is written from the description of the importers alone. It is plain on purpose: a
record in, what must be seen of it out. `UNSAID` stands where the description leaves the value open.
"""

import datetime
import gzip
import ipaddress
import json
import re
from dataclasses import dataclass, field

UTC = datetime.timezone.utc
UNSAID = object()

SUBJECT, TARGET, SESSION, SERVICE_INSTALLER, LOG_CLEARER = "subject", "target", "session", "installer", "clearer"
KERBEROS = {
    4768: "KERBEROS_TICKET_REQUESTED",
    4769: "KERBEROS_SERVICE_TICKET_REQUESTED",
    4771: "KERBEROS_PREAUTHENTICATION_FAILED",
    4776: "CREDENTIALS_VALIDATED",
}
HOST_EVENTS = {
    4624: ("HOST_LOGON", "INFO"),
    4625: ("FAILED_HOST_LOGON", "WARNING"),
    4634: ("HOST_LOGOFF", "INFO"),
    4647: ("HOST_LOGOFF", "INFO"),
}
SESSIONS = {
    4778: "REMOTE_SESSION_RECONNECTED",
    4779: "REMOTE_SESSION_DISCONNECTED",
    4800: "WORKSTATION_LOCKED",
    4801: "WORKSTATION_UNLOCKED",
}
USER_CHANGES = {
    4720: "USER_CREATED",
    4722: "USER_ENABLED",
    4723: "USER_PASSWORD_CHANGED",
    4724: "USER_PASSWORD_RESET",
    4725: "USER_DISABLED",
    4726: "USER_DELETED",
    4738: "USER_CHANGED",
    4740: "USER_LOCKED_OUT",
    4767: "USER_UNLOCKED",
    4781: "USER_RENAMED",
}
GROUP_CHANGES = {
    **dict.fromkeys((4727, 4731, 4754), "GROUP_CREATED"),
    **dict.fromkeys((4728, 4732, 4756), "GROUP_MEMBER_ADDED"),
    **dict.fromkeys((4729, 4733, 4757), "GROUP_MEMBER_REMOVED"),
    **dict.fromkeys((4730, 4734, 4758), "GROUP_DELETED"),
}
POLICIES = {
    4719: ("AUDIT_POLICY_CHANGED", "policy", "SubcategoryGuid"),
    4739: ("DOMAIN_POLICY_CHANGED", "domain", "DomainName"),
    4907: ("AUDIT_SETTINGS_CHANGED", "object", "ObjectName"),
}
TASKS = {4698: "SCHEDULED_TASK_CREATED", 4699: "SCHEDULED_TASK_DELETED", 4702: "SCHEDULED_TASK_CHANGED"}

SERVICE_NAMES = {"SYSTEM", "ANONYMOUS LOGON", "LOCAL SERVICE", "NETWORK SERVICE"}
SERVICE_SIDS = {"S-1-5-18", "S-1-5-19", "S-1-5-20", "S-1-5-7"}
COLLECTOR_FIELDS = {
    "@timestamp",
    "@version",
    "tags",
    "host",
    "port",
    "EventReceivedTime",
    "SourceModuleName",
    "SourceModuleType",
}


@dataclass(frozen=True)
class Event:
    """What must be seen of one source record."""

    identity: tuple  # two records with the same one are one event
    name: str
    category: str
    severity: str
    account: object  # text, None where nobody is known, UNSAID
    qualified: object  # DOMAIN\\name or ARN, None, UNSAID
    address: object  # canonical text or None
    time: datetime.datetime
    entity_type: object
    entity_id: object
    user: object = None  # whose logon it is, as a key that groups; None when it is no person's logon
    record: dict = field(compare=False, hash=False, default=None)


def read_lines(path):
    """The lines of a file, gzipped or not, with their numbers from 1; empty lines are none."""
    opened = gzip.open(path, "rb") if str(path).endswith(".gz") else open(path, "rb")
    with opened as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield number, line


def read_file(path, one):
    """Events of a file of JSON lines in its order, repeated ones included, and the numbers of lines that are none."""
    events, failed = [], []
    for number, line in read_lines(path):
        try:
            record = json.loads(line)
            events += [one(each) for each in record.get("Records", [record])]
        except (ValueError, KeyError, AttributeError, TypeError):
            failed.append(number)
    return events, failed


def distinct(events):
    """The events without repetitions."""
    return list({event.identity: event for event in reversed(events)}.values())[::-1]


def address_of(text):
    """The canonical form of an address; None for anything that is not one, and for unspecified ones."""
    try:
        # The zone of a link-local address means something on that host only.
        address = ipaddress.ip_address((text or "").strip().partition("%")[0])
    except ValueError:
        return None
    address = getattr(address, "ipv4_mapped", None) or address
    return None if address.is_unspecified else str(address)


def moment(text):
    """A time; without a zone it is UTC."""
    parsed = datetime.datetime.fromisoformat(text)
    return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)


def windows_time(record):
    """`TimeCreated`, else `EventTime` shifted by the collector's distance from UTC in quarters of an hour."""
    if record.get("TimeCreated"):
        return moment(record["TimeCreated"])
    local = moment(record["EventTime"])
    if "@timestamp" not in record or "EventReceivedTime" not in record:
        return local
    apart = (moment(record["@timestamp"]) - moment(record["EventReceivedTime"])).total_seconds()
    return local + datetime.timedelta(minutes=15 * round(apart / 900))


def short_name(name):
    """A Windows name without domain and realm."""
    name = (name or "").rsplit("\\", 1)[-1].split("@", 1)[0]
    return None if name in ("", "-") else name


def windows_actor(record, number, whose):
    """(name, domain, SID) of who did it."""
    if whose == SUBJECT:
        return record.get("SubjectUserName"), record.get("SubjectDomainName"), record.get("SubjectUserSid")
    if whose == TARGET:
        sid = {4768: record.get("TargetSid"), 4769: None, 4776: None}.get(number, record.get("TargetUserSid"))
        domain = None if number == 4776 else record.get("TargetDomainName")
        return record.get("TargetUserName"), domain, sid
    if whose == SESSION:
        return record.get("AccountName"), record.get("AccountDomain"), None
    if whose == SERVICE_INSTALLER:
        sid = record.get("UserID")
        return (record.get("AccountName"), record.get("Domain"), sid) if sid else (None, None, None)
    message = record.get("Message") or ""
    found = [
        re.search(rf"{label}:[ \t]*([^\r\n]+)", message) for label in ("Account Name", "Domain Name", "Security ID")
    ]
    return tuple(match and match.group(1).strip() for match in found)


def user_key(name, domain, sid, host):
    """What makes two logons those of one user: the SID where it says who, with the host where it is a local one."""
    if sid and sid != "S-1-0-0":
        return ("sid", sid) if sid.startswith("S-1-5-21-") else ("local", host.lower(), sid)
    return "name", f"{domain or ''}\\{name.split('@', 1)[0]}".upper()


def is_person(name, sid):
    """Neither a computer's account nor one of the system's own."""
    upper = name.upper()
    return not (
        name.endswith("$")
        or upper in SERVICE_NAMES
        or upper.startswith(("DWM-", "UMFD-"))
        or sid in SERVICE_SIDS
        or (sid or "").startswith(("S-1-5-90-", "S-1-5-96-"))
    )


def windows_row(record, channel, number):
    """(name, category, severity, entity type, entity id, actor) of the importer's table.

    What stands for an entity whose field is absent is not said, as in a rename, which has two names.
    """

    def get(key):
        return record.get(key, UNSAID)

    if channel == "security":
        if number in HOST_EVENTS:
            name, severity = HOST_EVENTS[number]
            return name, "authentication", severity, "host", get("Hostname"), TARGET
        if number == 4648:
            return "EXPLICIT_CREDENTIALS_USED", "authentication", "WARNING", "user", get("TargetUserName"), SUBJECT
        if number == 4672:
            return "SPECIAL_PRIVILEGES_ASSIGNED", "privilege", "INFO", "user", get("SubjectUserName"), SUBJECT
        if number in KERBEROS:
            severity = "INFO" if str(record.get("Status", "0x0")).lower() == "0x0" else "WARNING"
            entity = ("service", get("ServiceName")) if number == 4769 else ("user", get("TargetUserName"))
            return KERBEROS[number], "authentication", severity, *entity, TARGET
        if number == 4697:
            return "SERVICE_INSTALLED", "configuration", "WARNING", "service", get("ServiceName"), SUBJECT
        if number in TASKS:
            return TASKS[number], "configuration", "WARNING", "task", get("TaskName"), UNSAID
        if number in POLICIES:
            name, entity, key = POLICIES[number]
            return name, "policy", "WARNING", entity, get(key), UNSAID if number == 4739 else SUBJECT
        if number in USER_CHANGES:
            severity = "WARNING" if number in (4720, 4724, 4726, 4740) else "INFO"
            return USER_CHANGES[number], "account_management", severity, "user", get("TargetUserName"), SUBJECT
        if number in GROUP_CHANGES:
            return GROUP_CHANGES[number], "account_management", "WARNING", "group", get("TargetUserName"), SUBJECT
        if number == 1102:
            return "AUDIT_LOG_CLEARED", "audit", "ERROR", "host", get("Hostname"), LOG_CLEARER
        if number in SESSIONS:
            return (
                SESSIONS[number],
                "session",
                "INFO",
                "host",
                get("Hostname"),
                SESSION if number in (4778, 4779) else TARGET,
            )
    if (channel, number) == ("system", 7045):
        return "SERVICE_INSTALLED", "configuration", "WARNING", "service", get("ServiceName"), SERVICE_INSTALLER
    return f"WINDOWS_EVENT_{number}", "windows", "INFO", UNSAID, UNSAID, UNSAID


def windows_identity(record, channel, number):
    """The record number within a host's channel, else the whole record less what the collector added."""
    if record.get("RecordNumber") is not None:
        written = record.get("TimeCreated") or record.get("EventTime")
        return "number", str(record.get("Hostname")).lower(), channel, str(record["RecordNumber"]), number, written
    kept = {key: value for key, value in record.items() if key not in COLLECTOR_FIELDS}
    return "content", json.dumps(kept, sort_keys=True)


def windows_event(record):
    """What must be seen of one Windows record."""
    channel, number, host = (record.get("Channel") or "").lower(), int(record["EventID"]), record.get("Hostname") or ""
    name, category, severity, entity_type, entity_id, whose = windows_row(record, channel, number)
    account = qualified = UNSAID
    user = None
    address = address_of(record.get("IpAddress") or record.get("ClientAddress"))
    if whose is not UNSAID:
        long_name, domain, sid = windows_actor(record, number, whose)
        account = short_name(long_name)
        qualified = f"{domain}\\{account}" if account and domain and domain != "-" else None
        logged_on = (channel, number) == ("security", 4624) and account and is_person(account, sid)
        if logged_on and address and not ipaddress.ip_address(address).is_loopback:
            user = user_key(long_name, domain, sid, host)
    return Event(
        windows_identity(record, channel, number),
        name,
        category,
        severity,
        account,
        qualified,
        address,
        windows_time(record),
        entity_type,
        entity_id,
        user,
        record,
    )


def cloud_name(source, name):
    """`ec2.amazonaws.com` and `DescribeInstances` as `EC2_DESCRIBE_INSTANCES`."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name)
    return re.sub(r"[^A-Z0-9_]", "_", f"{source.split('.')[0]}_{words}".upper())


def cloudtrail_event(record):
    """What must be seen of one CloudTrail record."""
    who = record.get("userIdentity") or {}
    arn = who.get("arn")
    account = who.get("userName") or (arn and re.split("[/:]", arn)[-1])
    account = account or who.get("principalId") or who.get("invokedBy") or who.get("type")
    name, source = record["eventName"], record["eventSource"]
    resource = (record.get("resources") or [{}])[0]
    entity = (resource.get("type"), resource.get("ARN") or resource.get("ARNPrefix"))
    if not entity[1]:
        entity = ("service", source)
    read_only = {"true": True, "false": False}.get(str(record.get("readOnly")).lower())
    if name == "ConsoleLogin":
        good = (record.get("responseElements") or {}).get("ConsoleLogin") == "Success"
        shown = (
            ("SUCCESSFUL_LOGIN", "authentication", "INFO") if good else ("FAILED_LOGIN", "authentication", "WARNING")
        )
        entity = (None, None)
    elif read_only is True or (
        read_only is None and name.startswith(("Describe", "Get", "List", "Head", "Lookup", "Search", "AssumeRole"))
    ):
        shown = (cloud_name(source, name), "cloud_read", "INFO")
    else:
        shown = (cloud_name(source, name), "cloud_change", "WARNING" if record.get("errorCode") else "INFO")
    return Event(
        ("cloudtrail", record["eventID"]),
        *shown,
        account,
        arn,
        address_of(record.get("sourceIPAddress")),
        moment(record.get("eventTime") or record["@timestamp"]),
        *entity,
        None,
        record,
    )


def windows_file(path):
    """Events and failed lines of a file for the importer windows-security."""
    return read_file(path, windows_event)


def cloudtrail_file(path):
    """Events and failed lines of a file for the importer cloudtrail."""
    return read_file(path, cloudtrail_event)


@dataclass(frozen=True)
class User:
    """One user's logons on an address within an interval."""

    key: tuple
    names: frozenset  # one SID may have been written in several ways
    first: datetime.datetime
    last: datetime.datetime


def users_logged_on(events, address, start=None, end=None):
    """The users with a logon on `address` from `start` until just before `end`, latest first."""
    logons = {}
    for event in events:
        within = (start is None or event.time >= start) and (end is None or event.time < end)
        if event.user and event.address == address and within:
            logons.setdefault(event.user, []).append(event)
    users = [
        User(
            key,
            frozenset(event.account for event in found),
            min(event.time for event in found),
            max(event.time for event in found),
        )
        for key, found in logons.items()
    ]
    return sorted(users, key=lambda user: user.last, reverse=True)
