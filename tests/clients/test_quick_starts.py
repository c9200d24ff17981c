"""The documented quick starts through real curl, and what the known clients of papi rely on.

The commands are typed as the vendor's pages have them, with host and credentials replaced. Each quirk below is one that
a public client really has; its docstring says which. VC is Lastline's own Python client, TAU VMware's, GOOG Google
SecOps, XSOAR Palo Alto's; MISP, SHUF (Shuffle) and DXL (OpenDXL) are integrations, GO an independent client, STAT and
TC scripts.
"""

import json
import re
import subprocess

import pytest

from conftest import PASSWORD
from papi import EVENT_FIELDS, Papi, from_xml
from program import clean_environment, until


def curl(*arguments):
    """Runs curl and returns (status, headers, body)."""
    done = subprocess.run(
        [
            "curl",
            "--silent",
            "--show-error",
            "--noproxy",
            "*",
            "--max-time",
            "30",
            "--dump-header",
            "/dev/stderr",
            *arguments,
        ],
        capture_output=True,
        env=clean_environment(),
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, (arguments, done.stderr.decode(errors="replace"))
    headers = done.stderr.decode("latin-1")
    # Some answers come after a "100 Continue"; the last head is the one that counts.
    statuses = re.findall(r"^HTTP/1\.1 (\d+)", headers, re.MULTILINE)
    return int(statuses[-1]), headers, done.stdout.decode()


def cookie_of(headers):
    """The value of PHPSESSID that an answer sets, with the whole line."""
    found = re.search(r"^set-cookie: PHPSESSID=([^;\r\n]+)([^\r\n]*)", headers, re.IGNORECASE | re.MULTILINE)
    return found and (found.group(1), found.group(2))


def good(answer):
    """Data of an answer in JSON, which must be a success."""
    status, _, body = answer
    envelope = json.loads(body)
    assert (status, envelope["success"]) == (200, 1), (status, body)
    return envelope["data"]


def refused(answer):
    """Code and text of a refusal in JSON, which travels with HTTP 200."""
    status, _, body = answer
    envelope = json.loads(body)
    assert (status, envelope["success"]) == (200, 0), (status, body)
    assert isinstance(envelope["error_code"], int) and isinstance(envelope["error"], str)
    return envelope["error_code"], envelope["error"]


@pytest.fixture
def papi(site):
    """Address of papi."""
    return f"{site.base}/papi"


@pytest.fixture
def form(site):
    """The administrator's credentials as a form body. The `@` stands as it is, as people type it."""
    return f"username={site.administrator}&password={PASSWORD.replace(' ', '+')}"


# The auditlog page's quick start


def test_the_quick_start_of_the_audit_log(site, papi, form):
    """`…/papi/auditlog/get_events.xml?username=<username>&password=<password>` in a browser."""

    def answer():
        status, headers, body = curl(f"{papi}/auditlog/get_events.xml?{form}")
        assert status == 200 and "xml" in re.search("(?im)^content-type: (.*)", headers).group(1)
        parsed = from_xml(body)
        assert parsed["success"] == "1" and isinstance(parsed["data"], list)
        logins = [event for event in parsed["data"] if event["event_name"] == "SUCCESSFUL_LOGIN"]
        return logins and (body, logins)

    # The sign-in by the first request is itself an event; it is in the log before long.
    body, logins = until(answer, "the sign-in is shown as an event")
    for event in logins:
        assert EVENT_FIELDS <= set(event)
        assert (event["event_severity"], event["event_category"]) == ("INFO", "authentication")
        assert (event["entity_id"], event["entity_type"], event["src_ip"]) == ("", "", "127.0.0.1")
        assert event["account"] == site.administrator
        assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", event["ts"])
    # As the page shows it: an empty value has an open and a close tag, and nothing has attributes.
    assert "<entity_id></entity_id>" in body and "<entity_type></entity_type>" in body
    assert not re.search(r"<[a-z_]+\s*/>|<(?!\?xml)[a-z_]+\s[^>]*>", body)
    assert re.search(r"<result>\s*<success>1</success>\s*<data>\s*<element>", body)


def test_the_session_of_the_first_request_serves_the_second(papi, form, tmp_path):
    jar = tmp_path / "cookies"
    status, headers, _ = curl("--cookie-jar", str(jar), f"{papi}/auditlog/get_events.xml?{form}")
    assert status == 200 and cookie_of(headers)
    assert "PHPSESSID" in jar.read_text()
    good(curl("--cookie", str(jar), f"{papi}/auditlog/get_events"))
    good(curl("--cookie", str(jar), f"{papi}/session/get_users_logged_on.json?ip_address=192.0.2.1"))


def test_users_logged_on_by_hand(papi, form):
    """The session page has no quick start of its own; this is its function the same way, in both forms and bare."""
    for suffix in ("", ".json"):
        assert good(curl(f"{papi}/session/get_users_logged_on{suffix}?{form}&ip_address=192.0.2.1")) == []
    status, _, body = curl(f"{papi}/session/get_users_logged_on.xml?{form}&ip_address=192.0.2.1")
    assert status == 200 and from_xml(body) == {"success": "1", "data": ""}


# The authentication page


def test_login_answers_the_string_true_and_sets_a_cookie(papi, form):
    status, headers, body = curl("-X", "POST", "-d", form, f"{papi}/login")
    assert status == 200 and json.loads(body) == {"success": 1, "data": "true"}
    value, attributes = cookie_of(headers)
    assert len(value) >= 16
    for attribute in ("Path=/", "HttpOnly", "SameSite=Lax"):
        assert attribute in attributes
    # This server speaks plain HTTP; with Secure no client would send the cookie back.
    assert "Secure" not in attributes


def test_every_login_sets_a_new_value(papi, form):
    requests = (
        ["-d", form, f"{papi}/login"],
        ["-d", form, f"{papi}/login.json"],
        [f"{papi}/ping?{form}"],
        [f"{papi}/auditlog/get_events?{form}"],
        [f"{papi}/login?{form}"],
    )
    values = [cookie_of(curl(*request)[1])[0] for request in requests]
    assert len(set(values)) == len(values)


@pytest.mark.parametrize("suffix", ["", ".json", ".xml"])
@pytest.mark.parametrize("place", ["body", "query"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_login_by_any_method_place_and_suffix(papi, form, method, place, suffix):
    """VC logs in without a suffix, TAU with .json, STAT with .xml; GO by GET with a query, GOOG by GET with a body."""
    url = f"{papi}/login{suffix}"
    request = ["-d", form, url] if place == "body" else [f"{url}?{form}"]
    status, headers, body = curl("-X", method, *request)
    assert status == 200 and cookie_of(headers)
    if suffix == ".xml":
        assert from_xml(body) == {"success": "1", "data": "true"}
    else:
        assert json.loads(body) == {"success": 1, "data": "true"}


def test_missing_or_wrong_credentials(site, papi, form):
    """3004 with HTTP 200 and never a cookie that works; also for an empty login, and in XML."""
    wrong = form.replace("battery", "torture")
    for request in (
        [f"{papi}/auditlog/get_events"],
        [f"{papi}/auditlog/get_events?{wrong}"],
        ["-d", wrong, f"{papi}/login"],
        ["-X", "POST", f"{papi}/login.json"],
        ["-d", f"username={site.administrator}", f"{papi}/login"],
        [f"{papi}/ping"],
        [f"{papi}/session/get_users_logged_on"],
    ):
        assert refused(curl(*request)) == (3004, "Authentication Error.")
    status, _, body = curl(f"{papi}/auditlog/get_events.xml?{wrong}")
    assert status == 200
    assert from_xml(body) == {"success": "0", "error_code": "3004", "error": "Authentication Error."}


def test_credentials_beside_a_cookie_decide(site, papi, form, tmp_path):
    jar = tmp_path / "cookies"
    curl("--cookie-jar", str(jar), "-d", form, f"{papi}/login")
    assert good(curl("--cookie", str(jar), f"{papi}/ping")) == "pong"
    wrong = form.replace("battery", "torture")
    assert refused(curl("--cookie", str(jar), f"{papi}/ping?{wrong}")) == (3004, "Authentication Error.")
    other = form.replace(site.administrator, site.nobody)
    answer = curl("--cookie", str(jar), f"{papi}/session/get_users_logged_on?ip_address=::1&{other}")
    assert refused(answer)[0] == 3001


# Quirks that known clients have


def test_login_by_a_cookie_and_an_unreadable_body(papi, form, tmp_path):
    """GOOG's connectivity test: a good login, then the same with a content type under which no body can be read."""
    jar = tmp_path / "cookies"
    assert good(curl("-X", "GET", "--cookie-jar", str(jar), "-d", form, f"{papi}/login")) == "true"
    multipart = ["-X", "GET", "-H", "Content-Type: multipart/form-data", "--cookie", str(jar)]
    assert good(curl(*multipart, "-d", form, f"{papi}/login")) == "true"
    assert isinstance(good(curl(*multipart, f"{papi}/auditlog/get_events?max_results=1")), list)
    assert isinstance(good(curl(*multipart, "-d", "max_results=1", f"{papi}/auditlog/get_events")), list)


def test_get_with_credentials_in_a_form_body(papi, form):
    """XSOAR: GET, credentials in the form body of every call, arguments in the query, the cookie never kept."""
    events = good(curl("-X", "GET", "-d", form, f"{papi}/auditlog/get_events?max_results=1"))
    assert len(events) <= 1
    assert good(curl("-X", "GET", "-d", form, f"{papi}/session/get_users_logged_on?ip_address=192.0.2.1")) == []


def test_get_with_a_json_content_type_and_no_body(papi, form):
    """GO sends Content-Type: application/json with every GET and everything in the query."""
    json_type = ["-H", "Content-Type: application/json"]
    assert good(curl(*json_type, f"{papi}/login.json?{form}")) == "true"
    assert isinstance(good(curl(*json_type, f"{papi}/auditlog/get_events.json?{form}")), list)


def test_post_with_an_empty_body_and_a_query(papi, form):
    """MISP: POST with Content-Length 0 and all arguments in the query."""
    assert (
        good(curl("-X", "POST", "-H", "Content-Length: 0", f"{papi}/auditlog/get_events.json?{form}&max_results=0"))
        == []
    )
    assert good(curl("-X", "POST", "-d", f"{form}&max_results=0", f"{papi}/auditlog/get_events.json")) == []


def test_a_trailing_ampersand_and_unknown_parameters(papi, form):
    """TC ends its query with `&` and sends `format=json`."""
    assert good(curl(f"{papi}/auditlog/get_events.json?format=json&max_results=0&shoe_size=44&{form}&")) == []


def test_the_first_of_a_repeated_scalar_wins_and_the_query_before_the_body(papi, form):
    assert good(curl(f"{papi}/auditlog/get_events?max_results=0&max_results=nonsense&{form}")) == []
    assert good(curl("-d", f"max_results=nonsense&{form}", f"{papi}/auditlog/get_events?max_results=0")) == []
    assert refused(curl("-d", f"max_results=0&{form}", f"{papi}/auditlog/get_events?max_results=nonsense"))[0] == 3005


def test_account_names_compare_without_case(site, papi, form):
    assert good(curl("-d", form.replace(site.administrator, site.administrator.upper()), f"{papi}/login")) == "true"


def test_an_invalid_session_asks_for_a_new_login(papi, form):
    """VC empties its cookie jar and signs in again on 3001 to 3004, which it only looks for under HTTP 200."""
    for cookie in ("PHPSESSID=0123456789abcdef0123456789abcdef", "PHPSESSID=", "PHPSESSID=%00%ff", "other=1"):
        assert refused(curl("--cookie", cookie, f"{papi}/auditlog/get_events.json"))[0] == 3004
    assert good(curl("--cookie", "PHPSESSID=garbage", "-d", form, f"{papi}/login")) == "true"
    assert good(curl("--cookie", "PHPSESSID=garbage", f"{papi}/ping?{form}")) == "pong"


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_logout(papi, form, tmp_path, method):
    """VC sends it as POST, SHUF and DXL as GET; the answer needs its data."""
    jar = tmp_path / "cookies"
    curl("--cookie-jar", str(jar), "-d", form, f"{papi}/login")
    good(curl("-X", method, "--cookie", str(jar), f"{papi}/logout.json"))
    assert refused(curl("--cookie", str(jar), f"{papi}/ping")) == (3004, "Authentication Error.")


@pytest.mark.parametrize("module", ["", "auditlog/", "session/"])
def test_ping(papi, form, module):
    for suffix in ("", ".json"):
        assert good(curl(f"{papi}/{module}ping{suffix}?{form}")) == "pong"
    assert from_xml(curl(f"{papi}/{module}ping.xml?{form}")[2]) == {"success": "1", "data": "pong"}
    assert refused(curl(f"{papi}/{module}ping"))[0] == 3004


# Statuses


@pytest.mark.parametrize(
    "path",
    [
        "auditlog/get_shoes",
        "auditlog/get_shoes.json",
        "shoes/get_events",
        "shoes",
        "",
        "auditlog",
        "auditlog/",
        "auditlog/get_events/more",
        "session/get_events",
        "auditlog/get_events.html",
        "auditlog/get_events.pdf",
        "login.exe",
    ],
)
def test_an_unknown_function_is_404_with_an_envelope(papi, form, path):
    status, _, body = curl(f"{papi}/{path}?{form}")
    envelope = json.loads(body)
    assert (status, envelope["success"]) == (404, 0)
    assert isinstance(envelope["error"], str) and "Permission denied" not in envelope["error"]


def test_an_unknown_function_in_xml(papi, form):
    status, _, body = curl(f"{papi}/auditlog/get_shoes.xml?{form}")
    assert status == 404 and from_xml(body)["success"] == "0"


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "BREW"])
@pytest.mark.parametrize("path", ["login", "logout", "ping", "auditlog/get_events.json", "session/get_users_logged_on"])
def test_another_method_is_405_with_an_envelope(papi, form, method, path):
    status, _, body = curl("-X", method, f"{papi}/{path}?{form}")
    envelope = json.loads(body)
    assert (status, envelope["success"]) == (405, 0)
    assert isinstance(envelope["error"], str)


# A login is an event


def test_logins_good_and_bad_and_logouts_are_events(site):
    """Each sign-in, refused sign-in and sign-out of an account is in its customer's audit log."""
    someone = "someone@example.com"
    site.annals.add_account(someone, site.customer, PASSWORD)
    client = Papi(site.base, someone, PASSWORD)
    client.call("logout")
    envelope = client.envelope("login.json", "POST", data={"username": someone, "password": "wrong"})
    assert envelope["error_code"] == 3004
    admin = site.sign_in()

    def own():
        shown = admin.events(accounts=someone, action_types="SUCCESSFUL_LOGIN,FAILED_LOGIN,LOGOUT", orderby="ts")
        return len(shown) >= 3 and shown

    shown = until(own, "the three events are shown")
    assert sorted((event["event_name"], event["severity"]) for event in shown) == [
        ("FAILED_LOGIN", "WARNING"),
        ("LOGOUT", "INFO"),
        ("SUCCESSFUL_LOGIN", "INFO"),
    ]
    for event in shown:
        assert (event["category"], event["customer"], event["source_ip"]) == (
            "authentication",
            site.customer,
            "127.0.0.1",
        )
        assert not event["entity_type"] and not event["entity_id"]


def test_a_password_never_appears_in_the_log(site, papi):
    """Neither a good one nor a wrong one, of which the right one may be a slip of a key away."""
    someone, slip = "slip@example.com", "correct horse battery stapel"
    site.annals.add_account(someone, site.customer, PASSWORD)
    for password in (PASSWORD, slip):
        curl("--data-urlencode", f"username={someone}", "--data-urlencode", f"password={password}", f"{papi}/login")

    def logged():
        records = site.annals.dump()
        types = {record["event_type"] for record in records if someone in json.dumps(record)}
        return {"LoginSucceeded", "LoginFailed"} <= types and records

    text = json.dumps(until(logged, "both sign-ins are in the log")) + site.server.log()
    for secret in (PASSWORD, slip, site.annals.operator_password()):
        assert secret not in text


@pytest.mark.only("embedded", "elsewhere there is no file for a password")
def test_the_first_command_wrote_the_operators_password(site):
    assert (site.annals.data / "operator-password").stat().st_mode & 0o777 == 0o600


def test_the_operator_signs_in(site, papi):
    """With the password of the first command, or with the one that was set."""
    operator = ["--data-urlencode", "username=operator"]
    wrong = ["--data-urlencode", "password=operator"]
    assert refused(curl(*operator, *wrong, f"{papi}/login")) == (3004, "Authentication Error.")
    assert refused(curl(*operator, "-d", "password=", f"{papi}/login")) == (3004, "Authentication Error.")
    password = site.annals.operator_password()
    assert good(curl(*operator, "--data-urlencode", f"password={password}", f"{papi}/login")) == "true"
