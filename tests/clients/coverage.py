"""The table of the specification: every parameter, field and code of the vendors' three documents, and what holds it.

The documents are not part of this project, so the entries are listed by hand, in the documents' order. Each names the
tests that would fail if annals did not do what the document says; test_specification.py checks that they exist.
"""

from dataclasses import dataclass

TAU, CURL, READING = "test_tau_clients.py::test_", "test_quick_starts.py::test_", "test_reading.py::test_"
TIMES, OWN = "test_odd_times.py::test_", "test_own_events.py::test_"
PAGE, SDK = "test_santaba_examples.py::test_", "test_logicmonitor_sdk.py::test_"
FILTERS = "test_random_filters.py::test_"


@dataclass(frozen=True)
class Entry:
    """One thing that a document says."""

    document: str  # auditlog, session or accesslogs
    kind: str  # url, method, parameter, field, code
    name: str
    tests: tuple = ()
    not_built_yet: str = ""  # the reason, in place of tests


def entries(document, kind, **tests):
    """Entries of one kind; a value is the ids of tests, or one id."""
    return [
        Entry(document, kind, name, (held,) if isinstance(held, str) else tuple(held)) for name, held in tests.items()
    ]


AUDITLOG = [
    Entry(
        "auditlog",
        "url",
        "/papi/auditlog/get_events.xml?username=<username>&password=<password>",
        (CURL + "the_quick_start_of_the_audit_log", CURL + "the_session_of_the_first_request_serves_the_second"),
    ),
    Entry(
        "auditlog",
        "url",
        "/papi/auditlog/get_events[.response_format]: xml, json, json without",
        (
            TAU + "xml_says_the_same_as_json",
            TAU + "json_raw_and_without_suffix_are_the_same",
            CURL + "an_unknown_function_is_404_with_an_envelope",
        ),
    ),
    Entry(
        "auditlog",
        "method",
        "GET",
        (CURL + "the_quick_start_of_the_audit_log", CURL + "another_method_is_405_with_an_envelope"),
    ),
    Entry(
        "auditlog",
        "answer",
        "result, success, data, element",
        (
            CURL + "the_quick_start_of_the_audit_log",
            "test_hostile_text.py::test_the_whole_answer_is_the_same_in_both_forms",
        ),
    ),
    *entries(
        "auditlog",
        "parameter",
        username=CURL + "the_quick_start_of_the_audit_log",
        password=[CURL + "missing_or_wrong_credentials", TAU + "a_wrong_password_is_an_authentication_error"],
        start_time=[TAU + "get_events_start_time", READING + "number_of_events_per_hour"],
        end_time=[
            TAU + "get_events_end_time",
            READING + "number_of_events_per_hour",
            TIMES + "an_end_with_a_fraction_is_that_moment",
        ],
        timezone=[
            TAU + "get_events_timezone",
            TAU + "get_events_unknown_timezone",
            TIMES + "a_local_time_takes_the_reading_that_widens_the_range",
        ],
        orderby=[
            TAU + "get_events_orderby",
            TAU + "get_events_orderby_an_unknown_field",
            TAU + "get_events_orderby_address_sorts_by_bytes_of_the_address",
            READING + "newest_first_is_the_default_order",
        ],
        max_results=[
            TAU + "get_events_max_results",
            "test_limits.py::test_max_results_is_1000_by_default_and_10000_at_most",
            READING + "pages_of_any_size_join_to_the_whole",
        ],
        offset_results=[TAU + "get_events_offset_results", READING + "pages_of_any_size_join_to_the_whole"],
        accounts=[
            TAU + "get_events_accounts",
            READING + "number_of_events_per_account",
            TAU + "get_events_accounts_of_somebody_else",
            OWN + "somebody_without_permission_sees_exactly_their_own_events",
        ],
        affected_customers=[TAU + "get_events_affected_customers", OWN + "another_customers_events_are_never_seen"],
        source_ips=[TAU + "get_events_source_ips", READING + "number_of_events_per_source_ip"],
        action_types=[TAU + "get_events_action_types", READING + "number_of_events_per_action_type"],
        entity_types=[TAU + "get_events_entity_types", READING + "number_of_events_per_entity_type"],
        portal_entity_ids=TAU + "get_events_portal_entity_ids",
        audit_event_id=TAU + "get_events_audit_event_id",
    ),
    *entries(
        "auditlog",
        "field",
        audit_event_id=[TAU + "fields_of_an_event", TAU + "get_events_audit_event_id"],
        account=READING + "every_event_is_shown_as_the_reading_has_it",
        customer=READING + "both_generations_of_names_say_the_same",
        entity_type=READING + "every_event_is_shown_as_the_reading_has_it",
        portal_entity_id=READING + "both_generations_of_names_say_the_same",
        audit_action_type=READING + "both_generations_of_names_say_the_same",
        category=READING + "both_generations_of_names_say_the_same",
        ts=[
            READING + "every_event_is_shown_as_the_reading_has_it",
            TAU + "times_of_an_event_are_read_by_the_vendor",
            TIMES + "an_event_from_the_future_is_shown_where_it_was_recorded",
        ],
        source_ip=READING + "both_generations_of_names_say_the_same",
        event_category=READING + "every_event_is_shown_as_the_reading_has_it",
        severity=READING + "both_generations_of_names_say_the_same",
        # Names that only the sample of the quick start has.
        entity_id=READING + "every_event_is_shown_as_the_reading_has_it",
        event_name=READING + "every_event_is_shown_as_the_reading_has_it",
        src_ip=READING + "every_event_is_shown_as_the_reading_has_it",
        event_severity=READING + "every_event_is_shown_as_the_reading_has_it",
    ),
    Entry(
        "auditlog",
        "value",
        "SUCCESSFUL_LOGIN, INFO, authentication, empty entity",
        (CURL + "the_quick_start_of_the_audit_log", CURL + "logins_good_and_bad_and_logouts_are_events"),
    ),
]

SESSION = [
    Entry(
        "session",
        "url",
        "/papi/session/get_users_logged_on[.response_format]: xml, json, json without",
        (CURL + "users_logged_on_by_hand", TAU + "users_logged_on"),
    ),
    Entry(
        "session", "method", "GET", (CURL + "users_logged_on_by_hand", CURL + "another_method_is_405_with_an_envelope")
    ),
    *entries(
        "session",
        "parameter",
        timezone=[TAU + "users_logged_on_timezone", READING + "users_logged_on_to_every_address_in_twenty_intervals"],
        ip_address=[
            TAU + "users_logged_on_to_an_unknown_address",
            TAU + "users_logged_on_bad_parameters",
            READING + "users_logged_on_to_every_address_in_twenty_intervals",
        ],
        lookup_start=[
            TAU + "users_logged_on_lookup_start_twice_or_lookup_end",
            READING + "users_without_bounds_are_those_of_all_time",
        ],
    ),
    Entry(
        "session",
        "parameter",
        "lookup_start (the second one: end date)",
        (
            TAU + "users_logged_on_lookup_start_twice_or_lookup_end",
            READING + "users_logged_on_to_every_address_in_twenty_intervals",
        ),
    ),
    *entries(
        "session",
        "field",
        username=READING + "users_logged_on_to_every_address_in_twenty_intervals",
        user_uuid=[TAU + "users_logged_on", READING + "users_logged_on_to_every_address_in_twenty_intervals"],
        session_log_type=TAU + "users_logged_on",
        first_seen=READING + "users_logged_on_to_every_address_in_twenty_intervals",
        last_seen=READING + "users_logged_on_to_every_address_in_twenty_intervals",
    ),
]

SOURCES = "log sources need appliances, which no event describes yet"
ABSENT_FUNCTIONS = {
    "get_log_sources": ("appliance_uuid",),
    "edit_wmi_source": (
        "appliance_uuid",
        "source_name",
        "hostname",
        "log_username",
        "log_password",
        "wmi_source_type",
        "polling",
    ),
    "add_wmi_source": (
        "appliance_uuid",
        "source_name",
        "hostname",
        "log_username",
        "log_password",
        "wmi_source_type",
        "polling",
    ),
    "delete_wmi_source": ("appliance_uuid", "source_name"),
    "set_wmi_sources": (
        "appliance_uuid",
        "wmi_sources",
        "wmi_sources[].source_name",
        "wmi_sources[].hostname",
        "wmi_sources[].log_username",
        "wmi_sources[].log_password",
        "wmi_sources[].wmi_source_type",
        "wmi_sources[].polling",
    ),
}
NOT_BUILT_YET = [
    *(Entry("session", "url", f"/papi/session/{function}", not_built_yet=SOURCES) for function in ABSENT_FUNCTIONS),
    *(
        Entry("session", "parameter", f"{function}: {parameter}", not_built_yet=SOURCES)
        for function, parameters in ABSENT_FUNCTIONS.items()
        for parameter in parameters
    ),
    *(
        Entry("session", "field", f"get_log_sources: {field}", not_built_yet=SOURCES)
        for field in ("wmi_sources", "username", "hostname", "source_type", "polling")
    ),
    *(Entry("session", "code", code, not_built_yet=SOURCES) for code in ("9001", "9006", "3007", "4")),
]

# Codes of sibling documents and of real clients, which the two documents take for granted.
CODES = [
    *entries(
        "session",
        "code",
        **{
            "3001": TAU + "users_logged_on_needs_a_permission",
            "3004": [
                TAU + "a_wrong_password_is_an_authentication_error",
                TAU + "a_garbage_cookie_is_refused_and_a_new_login_helps",
            ],
            "3005": TAU + "users_logged_on_bad_parameters",
        },
    ),
    *entries(
        "auditlog",
        "code",
        **{
            "3004": CURL + "missing_or_wrong_credentials",
            "3005": [
                TAU + "get_events_unknown_timezone",
                TAU + "get_events_orderby_an_unknown_field",
                "test_hostile_text.py::test_hostile_parameters_come_back_in_a_well_formed_refusal",
            ],
        },
    ),
]

ACCESSLOGS = [
    Entry(
        "accesslogs",
        "url",
        "/setting/accesslogs",
        (PAGE + "the_first_example_lists_the_entries_of_the_past_day", PAGE + "everything_that_is_signed_counts"),
    ),
    Entry("accesslogs", "method", "GET", (PAGE + "a_wrong_method_is_405",)),
    *entries(
        "accesslogs",
        "example",
        **{
            "1": [
                PAGE + "the_first_example_lists_the_entries_of_the_past_day",
                PAGE + "the_answer_has_the_names_and_types_that_the_page_shows",
            ],
            "2": PAGE + "the_second_example_gives_three_fields_of_three_entries",
            "sort=+happenedOn": PAGE + "sort_by_increasing_time",
            "filter=_all~sarah": PAGE + "filter_by_a_keyword",
            "fields=description,username": PAGE + "fields_of_the_page",
            "size=5": PAGE + "size_of_the_page",
            "offset=2": PAGE + "offset_of_the_page",
        },
    ),
    *entries(
        "accesslogs",
        "parameter",
        sort=[
            PAGE + "sort_by_increasing_time",
            PAGE + "sort_by_each_property_of_the_page",
            FILTERS + "any_order_ends_with_the_id",
        ],
        filter=[
            PAGE + "filter_by_a_keyword",
            PAGE + "filter_by_a_keyword_and_a_time_as_the_syntax_has_it",
            PAGE + "repeated_filters_must_all_hold",
            SDK + "filters_narrow_the_list",
            SDK + "a_filter_that_cannot_be_read_is_refused",
            FILTERS + "totals_and_pages_are_what_the_filters_mean",
            FILTERS + "totals_are_those_of_sql",
        ],
        fields=[PAGE + "fields_of_the_page", SDK + "fields_are_those_asked_for"],
        size=[PAGE + "size_of_the_page", SDK + "a_page_is_50_unless_more_is_asked_for_and_1000_at_most"],
        offset=[PAGE + "offset_of_the_page", SDK + "more_than_three_thousand_entries_come_page_by_page"],
    ),
    *entries(
        "accesslogs",
        "field",
        id=[SDK + "an_entry_is_found_by_its_id", PAGE + "an_entry_by_its_id"],
        username=FILTERS + "every_row_is_shown_as_the_database_has_it",
        happenedOn=[
            SDK + "an_entry_has_every_field_that_the_client_knows",
            FILTERS + "every_row_is_shown_as_the_database_has_it",
        ],
        happenedOnLocal=[
            SDK + "an_entry_has_every_field_that_the_client_knows",
            PAGE + "the_answer_has_the_names_and_types_that_the_page_shows",
        ],
        ip=FILTERS + "every_row_is_shown_as_the_database_has_it",
        sessionId=FILTERS + "every_row_is_shown_as_the_database_has_it",
        description=FILTERS + "every_row_is_shown_as_the_database_has_it",
    ),
    *entries(
        "accesslogs",
        "answer",
        **{
            "status, errmsg, data": PAGE + "the_answer_has_the_names_and_types_that_the_page_shows",
            "total, items, searchId": [
                PAGE + "the_answer_has_the_names_and_types_that_the_page_shows",
                PAGE + "the_total_is_of_the_whole_range_though_fewer_are_shown",
            ],
        },
    ),
]

TABLE = [*AUDITLOG, *SESSION, *NOT_BUILT_YET, *CODES, *ACCESSLOGS]
