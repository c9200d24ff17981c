"""Makes source records in which users, addresses and intervals overlap in every way that the description knows.

The few invented records beside the importers show one case each; intervals need a crowd. The choice is random from a
fixed seed, so every run has the same records.
"""

import datetime
import json
import random

DAYS = 4
LOGONS = 400
BEGIN = datetime.datetime(2022, 10, 29)  # Clocks change on the next day in Europe.
DOMAIN_SID = "S-1-5-21-1000-2000-3000"

# (name, domains, SID): one user each, unless the comment says otherwise.
PERSONS = [
    *((f"user{number}", ("PLANT", "PLANT.EXAMPLE"), f"{DOMAIN_SID}-{1100 + number}") for number in range(8)),
    ("user0", ("OFFICE",), "S-1-5-21-7-7-7-1100"),  # the same name as another user's
    ("Ada.Älmhult", ("PLANT",), f"{DOMAIN_SID}-1200"),
    ("visitor", ("AzureAD",), "S-1-12-1-4-3-2-1"),  # not of a domain: another user on every host
    ("bare", ("PLANT",), None),
    ("BARE", ("plant",), "S-1-0-0"),  # the user before, in capitals and with the SID of nobody
]
NOT_PERSONS = [
    ("PRESS1$", ("PLANT",), f"{DOMAIN_SID}-1500"),
    ("SYSTEM", ("NT AUTHORITY",), "S-1-5-18"),
    ("ANONYMOUS LOGON", ("NT AUTHORITY",), "S-1-5-7"),
    ("DWM-3", ("Window Manager",), "S-1-5-90-0-3"),
    ("UMFD-1", ("Font Driver Host",), "S-1-5-96-0-1"),
]
HOSTS = ("PRESS1.plant.example", "press1.plant.example", "PRESS2.plant.example", "GATE")
ADDRESSES = (
    "192.0.2.10",
    "::ffff:192.0.2.10",
    "192.0.2.11",
    "198.51.100.7",
    "2001:DB8::7",
    "2001:db8:0:0::7",
    "fe80::9:1%4",
    "127.0.0.1",
    "::1",
    "-",
    "",
    "0.0.0.0",
)
CALLS = (("ListBuckets", True), ("DeleteBucket", False), ("DescribeHosts", None), ("PutObject", None))


def stamp(choice, moment, record):
    """Writes a time in one of the shapes that collectors use."""
    shape = choice.randrange(3)
    if shape == 0:
        record["TimeCreated"] = moment.isoformat(timespec="milliseconds") + "Z"
    elif shape == 1:
        record["TimeCreated"] = moment.isoformat(sep=" ", timespec="microseconds")
    else:
        local = moment - datetime.timedelta(hours=5, minutes=30)
        received = local + datetime.timedelta(seconds=choice.randint(0, 40))
        behind = received + datetime.timedelta(hours=5, minutes=30, seconds=choice.randint(0, 71))
        record.update(
            {
                "EventTime": local.strftime("%Y-%m-%d %H:%M:%S"),
                "EventReceivedTime": received.strftime("%Y-%m-%d %H:%M:%S"),
                "@timestamp": behind.isoformat(timespec="milliseconds") + "Z",
                "RecordNumber": choice.randrange(10**9),
            }
        )
    return record


def windows_records():
    """Logons of many users on few addresses, with failures, logoffs and accounts that are no persons among them."""
    choice = random.Random(20260101)
    records = []
    for number in range(LOGONS):
        name, domains, sid = choice.choice(NOT_PERSONS if number % 9 == 0 else PERSONS)
        after = choice.randrange(DAYS * 86400), choice.choice((0, 0, 1, 500, 999))
        moment = BEGIN + datetime.timedelta(seconds=after[0], milliseconds=after[1])
        record = {
            "EventID": 4625 if number % 11 == 0 else 4624,
            "Channel": choice.choice(("Security", "security")),
            "Hostname": choice.choice(HOSTS),
            "TargetUserName": name,
            "TargetDomainName": choice.choice(domains),
            "TargetUserSid": sid,
            "TargetLogonId": hex(0x1000 + number),
            "LogonType": choice.choice(("3", "10", 2)),
            "IpAddress": choice.choice(ADDRESSES),
            "Message": "An account was logged on.\r\n\r\nSubject:\r\n",
        }
        if sid is None:
            del record["TargetUserSid"]
        records.append(stamp(choice, moment, record))
        if number % 3 == 0:
            kept = ("Channel", "Hostname", "TargetUserName", "TargetDomainName", "TargetUserSid", "TargetLogonId")
            logoff = {key: record[key] for key in kept if key in record}
            later = moment + datetime.timedelta(seconds=choice.choice((0, 1, 3600)))
            records.append(stamp(choice, later, {"EventID": choice.choice((4634, 4647)), **logoff}))
    # Some stand twice, as when two collections overlap; and no order is promised.
    records += records[:25]
    choice.shuffle(records)
    return records


def cloud_record(series, number, moment, user="ada", **more):
    """One record of a cloud user's call; `series` and `number` are its id."""
    return {
        "eventID": f"{series:08}-0000-4000-8000-{number:012}",
        "eventTime": f"{moment:%Y-%m-%dT%H:%M:%S.%fZ}",
        "eventSource": "s3.amazonaws.com",
        "eventName": "ListBuckets",
        "readOnly": True,
        "sourceIPAddress": "192.0.2.9",
        "userIdentity": {"type": "IAMUser", "userName": user, "arn": f"arn:aws:iam::42:user/{number}"},
        **more,
    }


def cloud_records():
    """Calls of a few cloud users."""
    choice = random.Random(7)
    for number in range(120):
        user = choice.choice(("Ada", "ada", "user0"))
        name, read_only = choice.choice(CALLS)
        moment = BEGIN + datetime.timedelta(minutes=choice.randrange(DAYS * 1440))
        address = choice.choice(("192.0.2.10", "203.0.113.5", "s3.amazonaws.com"))
        yield cloud_record(1, number, moment, user, eventName=name, readOnly=read_only, sourceIPAddress=address)


def write_lines(path, records, ascii_only=False):
    """Writes records as JSON lines."""
    with open(path, "w", encoding="utf-8", newline="\n") as output:
        output.writelines(json.dumps(record, ensure_ascii=ascii_only) + "\n" for record in records)


def write(directory):
    """Writes both files."""
    write_lines(directory / "windows-security.jsonl", windows_records())
    write_lines(directory / "cloudtrail.jsonl", cloud_records())
