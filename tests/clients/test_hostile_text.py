"""Text that breaks careless programs goes in by import and must come out as it was, in JSON and in XML.

JSON keeps every character except U+0000, which becomes U+FFFD. XML replaces what XML 1.0 cannot carry by U+FFFD; every
XML answer goes through a real parser, which also normalises line ends unless they were written as references.
"""

import datetime
import json

import pytest

from generated import cloud_record, write_lines
from papi import Papi, as_xml_text, from_xml, same_as_json
from program import until

TEXTS = {
    "quotes": """a "double" and a 'single' quote""",
    "end of a CDATA section": "before ]]> after <![CDATA[ x ]]>",
    "carriage return and line feed": "one\r\ntwo\rthree\nfour",
    "tabs": "one\ttwo\t\tthree",
    "control characters": "bell \u0007 escape \u001b[31m red unit \u001f delete \u007f",
    "C1 controls and line separators": "nel \u0085 csi \u009b31m ls \u2028 ps \u2029 end",
    "NUL": "before\u0000after",
    "right-to-left marks": "invoice\u202egnp.exe \u200f\u200e \u2066isolated\u2069",
    "right-to-left letters": "مستخدم משתמש",
    "emoji": "👩‍👩‍👧‍👦 🇹🇼 🏳️‍🌈",
    "astral letters": "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𠜎",
    "combining marks": "Z͑ͫ̓ͪ̂a̴̡l̵̶g̷͢o",
    "noncharacters": "\ufffe \uffff \ufdd0 \U0001ffff \U0010ffff",
    "byte order mark inside": "a\ufeffb",
    "replacement character": "a\ufffdb",
    "XML injection": "</account></element></data><success>0</success>",
    "entities": "&lt; &amp; &#0; &#x1; &unknown; & &&",
    "doctype": "<!DOCTYPE x [<!ENTITY e SYSTEM 'file:///etc/passwd'>]>&e;",
    "comment and instruction": "<!-- x --> <?xml version='1.0'?> --",
    "HTML injection": "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "template and shell": "${jndi:ldap://x/y} {{7*7}} $(id) `id` %s %n",
    "SQL": "'; DROP TABLE audit_log; -- \" OR 1=1",
    "percent and plus": "100% + a%20b %00 %zz",
    "JSON": '{"success": 0, "error": "x"}',
    "backslashes inside": "a/b ;c|d",
    "commas": "one, two,three",
}


def out(text):
    """What papi's JSON shows of a text."""
    return text.replace("\u0000", "\ufffd")


def cloud_text(number, text):
    """A cloud record that shows `text` as its user and as its object."""
    resource = {"type": f"T{text}", "ARN": f"{number} {text}"}
    return cloud_record(0, number, datetime.datetime(2021, 3, 4, 5, 6, 7), text, resources=[resource])


def windows_record(number, text):
    """A Windows record that shows `text` as its account and its host, and has it in its message."""
    return {
        "EventID": 4624,
        "Channel": "Security",
        "Hostname": f"{number} {text}",
        "TargetUserName": f"u{text}u",
        "TargetDomainName": text,
        "TargetUserSid": f"S-1-5-21-1-2-3-{number}",
        "TargetLogonId": hex(number),
        "LogonType": "3",
        "IpAddress": f"192.0.2.{number + 10}",
        "TimeCreated": f"2021-03-04T06:{number:02}:00Z",
        "Message": f"{number} {text}",
        "SubjectUserName": text,
    }


@pytest.fixture(scope="module")
def hostile(new_site, tmp_path_factory):
    """A site with every text imported in several places."""
    directory = tmp_path_factory.mktemp("hostile")
    cloud, windows = directory / "cloud.jsonl", directory / "windows.jsonl"
    # Escaped in one file and not in the other: both must read the same.
    write_lines(cloud, (cloud_text(number, text) for number, text in enumerate(TEXTS.values())), ascii_only=True)
    write_lines(windows, (windows_record(number, text) for number, text in enumerate(TEXTS.values())))

    def fill(annals, customer):
        for kind, file in (("cloudtrail", cloud), ("windows-security", windows)):
            summary = annals.import_files(kind, customer, file)
            assert (summary["published"], summary["failed"]) == (len(TEXTS), 0)

    made = new_site("hostile", before_serving=fill)
    yield made
    made.annals.close()


CLOUD = {"start_time": "2021-03-04 05:00:00", "end_time": "2021-03-04 05:59:59"}
WINDOWS = {"start_time": "2021-03-04 06:00:00", "end_time": "2021-03-04 06:59:59"}


def xml_data(client, function, **parameters):
    """Data of an answer in XML."""
    answer = client.request(f"{function}.xml", params=parameters)
    assert answer.status_code == 200
    parsed = from_xml(answer.content)
    assert parsed["success"] == "1", parsed
    return parsed["data"]


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_cloud_texts_come_out_as_they_went_in(hostile, text):
    number = list(TEXTS.values()).index(text)
    client = hostile.sign_in()
    shown = [event for event in client.events(**CLOUD) if event["entity_id"].startswith(f"{number} ")]
    assert [(event["account"], event["entity_type"], event["entity_id"]) for event in shown] == [
        (out(text), out(f"T{text}"), out(f"{number} {text}"))
    ]
    in_xml = [
        event
        for event in xml_data(client, "auditlog/get_events", **CLOUD)
        if event["entity_id"].startswith(f"{number} ")
    ]
    assert [(event["account"], event["entity_type"], event["entity_id"]) for event in in_xml] == [
        tuple(as_xml_text(part) for part in (out(text), out(f"T{text}"), out(f"{number} {text}")))
    ]


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_windows_texts_come_out_as_they_went_in(hostile, text):
    number = list(TEXTS.values()).index(text)
    client = hostile.sign_in()
    at = {"source_ips": f"192.0.2.{number + 10}"}
    (event,) = client.events(**WINDOWS, **at)
    # A name without domain and realm; none of the texts has either.
    assert (event["account"], event["entity_id"]) == (out(f"u{text}u"), out(f"{number} {text}"))
    (in_xml,) = xml_data(client, "auditlog/get_events", **WINDOWS, **at)
    assert in_xml == same_as_json(event)
    (user,) = client.users(f"192.0.2.{number + 10}")
    assert user["username"] == out(f"u{text}u")
    (in_xml,) = xml_data(client, "session/get_users_logged_on", ip_address=f"192.0.2.{number + 10}")
    assert in_xml == same_as_json(user)


def test_the_whole_answer_is_the_same_in_both_forms(hostile):
    client = hostile.sign_in()
    for window in (CLOUD, WINDOWS):
        events = client.events(**window)
        assert len(events) == len(TEXTS)
        assert xml_data(client, "auditlog/get_events", **window) == same_as_json(events)


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_hostile_texts_are_found_by_filters(hostile, text):
    """Typed back into a filter, a text finds its event. A comma parts values, so a text with one finds nothing."""
    client = hostile.sign_in()
    number = list(TEXTS.values()).index(text)
    found = client.events(portal_entity_ids=out(f"{number} {text}"), **CLOUD)
    assert [event["account"] for event in found] == ([] if "," in text else [out(text)])


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_hostile_parameters_come_back_in_a_well_formed_refusal(hostile, text):
    client = hostile.sign_in()
    for function, parameters in (
        ("auditlog/get_events", {"timezone": text}),
        ("auditlog/get_events", {"orderby": text}),
        ("auditlog/get_events", {"max_results": text}),
        ("auditlog/get_events", {"start_time": text}),
        ("session/get_users_logged_on", {"ip_address": text}),
    ):
        code, message = client.refusal(function, **parameters)
        assert code == 3005, (parameters, message)
        in_xml = from_xml(client.request(f"{function}.xml", params=parameters).content)
        assert in_xml == {"success": "0", "error_code": "3005", "error": as_xml_text(message)}


def test_hostile_credentials_are_an_ordinary_refusal(hostile):
    for text in TEXTS.values():
        envelope = Papi(hostile.base).envelope("login.json", "POST", data={"username": text, "password": text})
        assert envelope == {"success": 0, "error_code": 3004, "error": "Authentication Error."}


def test_the_log_keeps_the_text_of_messages(hostile):
    """The first line of a message is the event's text; nothing of it is interpreted on the way into the log."""
    dumped = hostile.annals.dump("--topic", "annals.host-logons")
    assert len(dumped) == len(TEXTS)
    hosts = {record["event"]["host"] for record in dumped}
    wanted = {f"{number} {text}" for number, text in enumerate(TEXTS.values())}
    assert {out(host) for host in hosts} == {out(host) for host in wanted}


SURROGATES = (rb"\ud800", rb"\udc00x", rb"x\udbff\ud800", rb"\ude00\ud83d")


@pytest.mark.parametrize("escape", SURROGATES, ids=lambda escape: escape.decode())
def test_a_lone_surrogate_escape_is_shown_replaced_or_refused_by_line(hostile, tmp_path, escape):
    """JSON can escape half a character, which is no text. Either way the neighbours go in and the program says so."""
    file = tmp_path / "half.jsonl"
    number = 40 + SURROGATES.index(escape)
    bad = json.dumps(cloud_text(number, "HALF")).encode().replace(b"HALF", escape)
    good = json.dumps(cloud_text(number + 20, "whole")).encode()
    file.write_bytes(bad + b"\n" + good + b"\n")
    done = hostile.annals.run("import", "cloudtrail", file, "--customer", hostile.customer, "--json", status=None)
    summary = json.loads(done.stdout)
    assert (summary["read"], summary["published"] + summary["failed"]) == (2, 2)
    assert summary["published"] >= 1 and (done.returncode == 0) == (summary["failed"] == 0)
    client = hostile.sign_in()

    def shown(index):
        return [event for event in client.events(**CLOUD) if event["entity_id"].startswith(f"{index} ")]

    until(lambda: shown(number + 20), "the neighbour is shown")
    if summary["failed"]:
        assert [failure["line"] for failure in summary["failures"]] == [1] and not shown(number)
    else:
        (event,) = until(lambda: shown(number), "the event is shown")
        assert "\ufffd" in event["account"]


def test_very_long_texts_are_cut_not_refused(hostile, tmp_path):
    """A name of 50,000 characters is shown cut at a character, with a mark, in both forms."""
    file = tmp_path / "long.jsonl"
    write_lines(file, [cloud_text(99, "é" * 50_000)])
    assert hostile.annals.import_files("cloudtrail", hostile.customer, file)["published"] == 1
    client = hostile.sign_in()
    (event,) = until(
        lambda: [e for e in client.events(**CLOUD) if e["entity_id"].startswith("99 ")], "the event is shown"
    )
    assert event["account"].rstrip("…") == "é" * (len(event["account"]) - 1) and event["account"].endswith("…")
    in_xml = [e for e in xml_data(client, "auditlog/get_events", **CLOUD) if e["entity_id"].startswith("99 ")]
    assert in_xml == [same_as_json(event)]
