//! Parameters: which there are, and how they are read.
//!
//! The tables are the only list of parameters: a request is checked by them and the OpenAPI document is made from them.
//! Unlike in the vendors' dialects nothing is passed over: a name that is not in the table of its path is refused, so
//! that a misspelt filter does not show more than was asked for.

use std::net::IpAddr;

use annals_schemas::Severity;
use annals_views::address;
use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use uuid::Uuid;

use super::problem::{Problem, shown};

/// Most values of one filter.
pub const MAX_VALUES: usize = 1_000;

/// Longest value, in characters: no name in an event is longer.
pub const MAX_VALUE_CHARACTERS: usize = 1_024;

/// Most parts of texts that one parameter may look for.
pub const MAX_PARTS: usize = 16;

/// Longest part of a text that may be looked for, in characters.
pub const MAX_PART_CHARACTERS: usize = 256;

/// A parameter.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parameter {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// What it means, for the OpenAPI document.
    pub(super) about: &'static str,
}

/// What a parameter's values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// One time.
    Time,
    /// A list of texts.
    Names,
    /// A list of ids.
    Ids,
    /// A list of addresses.
    Addresses,
    /// A list of severities.
    Severities,
    /// Parts of texts, which are not cut at commas.
    Parts,
    /// One text.
    Name,
    /// One address.
    Address,
    /// One of these words; the first is the default.
    Word(&'static [&'static str]),
    /// A whole number with its least, its most and its default.
    Number(u32, u32, u32),
    /// `true` or `false`.
    Flag,
    /// An opaque text.
    Token,
}

impl Kind {
    /// Whether the parameter may come more than once.
    pub(super) fn is_list(self) -> bool {
        matches!(self, Self::Names | Self::Ids | Self::Addresses | Self::Severities | Self::Parts)
    }
}

const fn parameter(name: &'static str, kind: Kind, about: &'static str) -> Parameter {
    Parameter { name, kind, about }
}

/// The orders of a page.
pub(super) const ORDERS: &[&str] = &["-time", "time"];

/// The forms of an answer.
pub(super) const FORMATS: &[&str] = &["json", "csv", "ndjson"];

/// Events of a page when the client does not say.
pub(super) const DEFAULT_LIMIT: u32 = 100;

/// Most events of a page.
pub(super) const MAX_LIMIT: u32 = 1_000;

/// Longest time that a request waits for the view, in seconds.
pub(super) const MAX_WAIT_SECONDS: u32 = 10;

/// What narrows down events.
pub(super) const FILTERS: &[Parameter] = &[
    parameter("start", Kind::Time, "Only events at this time or later (RFC 3339, with an offset)."),
    parameter("end", Kind::Time, "Only events at this time or earlier."),
    parameter(
        "customer",
        Kind::Names,
        "Customers, by name (without case) or id. One that is not there matches nothing.",
    ),
    parameter("account", Kind::Names, "Accounts, in short or in full (`DOMAIN\\name`), without case."),
    parameter("actor", Kind::Ids, "Ids of actors."),
    parameter("address", Kind::Addresses, "Addresses, in any spelling. No networks."),
    parameter("action", Kind::Names, "Actions, exactly as shown."),
    parameter("category", Kind::Names, "Categories, exactly as shown."),
    parameter("severity", Kind::Severities, "Severities: INFO, WARNING, ERROR."),
    parameter("entity-type", Kind::Names, "Types of affected objects, exactly as shown."),
    parameter("entity", Kind::Names, "Ids of affected objects, exactly as shown."),
    parameter("description", Kind::Parts, "Part of the description, without case. Not cut at commas."),
    parameter(
        "text",
        Kind::Parts,
        "Part of the account, the description or the address, without case. Not cut at commas.",
    ),
    parameter("sign-in", Kind::Names, "Ids of sign-ins, exactly as shown."),
];

/// How a page of events is cut and given.
pub(super) const PAGING: &[Parameter] = &[
    parameter("sort", Kind::Word(ORDERS), "Newest first (`-time`) or oldest first (`time`)."),
    parameter(
        "limit",
        Kind::Number(1, MAX_LIMIT, DEFAULT_LIMIT),
        "Most events of the answer. Not for downloads.",
    ),
    parameter(
        "cursor",
        Kind::Token,
        "The `next` of the page before. Filters and order must be repeated with it. Not for downloads.",
    ),
    parameter("count", Kind::Flag, "Also give the exact number of events that match. Not for downloads."),
    parameter(
        "format",
        Kind::Word(FORMATS),
        "A page in JSON, or the whole query as a file. Wins over `Accept`.",
    ),
    parameter(
        "after",
        Kind::Token,
        "The feed: events in the order of the log after this token; empty for the beginning. Not together with \
         `sort`, `cursor`, `count` and `format`.",
    ),
];

/// Read-your-writes.
pub(super) const WAITING: &[Parameter] = &[
    parameter(
        "at-least",
        Kind::Token,
        "Answer only when the view has come as far as this `Annals-Position`.",
    ),
    parameter(
        "wait",
        Kind::Number(0, MAX_WAIT_SECONDS, MAX_WAIT_SECONDS / 2),
        "How many seconds to wait for it; then the answer is 409.",
    ),
];

/// Who logged on where.
pub(super) const LOGONS: &[Parameter] = &[
    parameter("address", Kind::Address, "The address, in any spelling."),
    parameter("customer", Kind::Name, "The customer, by name or id; without it the caller's own."),
    parameter("start", Kind::Time, "Only logons at this time or later (RFC 3339, with an offset)."),
    parameter("end", Kind::Time, "Only logons at this time or earlier; without it until now."),
];

/// First and last moment, where they were given.
pub(super) type Interval = (Option<DateTime<Utc>>, Option<DateTime<Utc>>);

/// The parameters of one request, in the order in which they came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Given {
    pairs: Vec<(String, String)>,
}

impl Given {
    /// Reads a query string (without `?`) by the tables of its path. `+` is a blank, and bytes that are not UTF-8
    /// become U+FFFD.
    pub(super) fn parse(query: Option<&str>, tables: &[&[Parameter]]) -> Result<Self, Problem> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            let known = tables.iter().copied().flatten().find(|known| known.name == name);
            let known = known.ok_or_else(|| Problem::unknown_parameter(&name))?;
            if !known.kind.is_list() && pairs.iter().any(|(other, _)| *other == name) {
                return Err(Problem::bad_parameter(known.name, "is given twice"));
            }
            pairs.push((name.into_owned(), value.into_owned()));
        }
        Ok(Self { pairs })
    }

    /// The value of a parameter that comes once, also when it is empty.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Refuses parameters that do not go together with what was asked for.
    pub(super) fn refuse(&self, names: &[&str], with: &str) -> Result<(), Problem> {
        match names.iter().find(|name| self.text(name).is_some()) {
            Some(name) => Err(Problem::bad_parameter(name, &format!("does not go together with {with}"))),
            None => Ok(()),
        }
    }

    /// A list: repeated, or with commas. A comma that belongs to a value has a backslash before it.
    pub(super) fn list(&self, name: &str) -> Result<Vec<String>, Problem> {
        let mut items = Vec::new();
        for value in self.values(name) {
            let before = items.len();
            items.extend(
                split(value).iter().map(|item| item.trim().to_owned()).filter(|item| !item.is_empty()),
            );
            if items.len() == before {
                return Err(empty(name));
            }
        }
        bounded(name, items, MAX_VALUES, MAX_VALUE_CHARACTERS)
    }

    /// Parts of texts: repeated, as they are.
    pub(super) fn parts(&self, name: &str) -> Result<Vec<String>, Problem> {
        let parts: Vec<String> = self.values(name).map(str::to_owned).collect();
        if parts.iter().any(String::is_empty) {
            return Err(empty(name));
        }
        bounded(name, parts, MAX_PARTS, MAX_PART_CHARACTERS)
    }

    fn values(&self, name: &str) -> impl Iterator<Item = &str> {
        self.pairs.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// A list of what `read` reads.
    pub(super) fn read_list<T>(
        &self,
        name: &str,
        what: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<Vec<T>, Problem> {
        let items = self.list(name)?;
        items.iter().map(|item| read(item).ok_or_else(|| unreadable(name, item, what))).collect()
    }

    /// One value of what `read` reads.
    pub(super) fn read<T>(
        &self,
        name: &str,
        what: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, Problem> {
        let read = |text: &str| read(text.trim()).ok_or_else(|| unreadable(name, text, what));
        self.text(name).map(read).transpose()
    }

    /// Both ends of an interval, which must not be turned round.
    pub(super) fn interval(&self) -> Result<Interval, Problem> {
        const WHAT: &str = "a time such as 2026-01-31T12:00:00Z";
        let start = self.read("start", WHAT, first_moment)?;
        let end = self.read("end", WHAT, last_moment)?;
        match (start, end) {
            (Some(start), Some(end)) if end < start => {
                Err(Problem::bad_parameter("end", "is before `start`"))
            }
            interval => Ok(interval),
        }
    }

    /// A whole number in its range.
    pub(super) fn number(&self, parameter: &Parameter) -> Result<u32, Problem> {
        let Kind::Number(least, most, default) = parameter.kind else { return Err(Problem::internal()) };
        let what = format!("a whole number from {least} to {most}");
        // `parse` alone would take a sign.
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let read =
            |text: &str| text.parse().ok().filter(|number| digits(text) && (least..=most).contains(number));
        Ok(self.read(parameter.name, &what, read)?.unwrap_or(default))
    }

    /// `true` or `false`; without it `false`.
    pub(super) fn flag(&self, name: &str) -> Result<bool, Problem> {
        let read = |text: &str| text.parse::<bool>().ok();
        Ok(self.read(name, "true or false", read)?.unwrap_or_default())
    }

    /// One of some words.
    pub(super) fn word(
        &self,
        name: &str,
        words: &'static [&'static str],
    ) -> Result<Option<&'static str>, Problem> {
        let read = |text: &str| words.iter().copied().find(|word| *word == text);
        self.read(name, &format!("one of {}", words.join(", ")), read)
    }
}

/// The row of a table.
pub(super) fn row(table: &'static [Parameter], name: &str) -> Result<&'static Parameter, Problem> {
    table.iter().find(|parameter| parameter.name == name).ok_or_else(Problem::internal)
}

/// Reads a time with an offset. A `+` that came as a blank, because nobody encoded it, is one.
#[must_use]
pub fn time(text: &str) -> Option<DateTime<Utc>> {
    let read = |text: &str| DateTime::parse_from_rfc3339(text).ok();
    let plus = || text.rsplit_once(' ').map(|(time, offset)| format!("{time}+{offset}"));
    let time = read(text).or_else(|| plus().and_then(|text| read(&text)))?;
    // A leap second is the second after it: nothing that is stored has a sixtieth one.
    let nanoseconds = i64::from(time.timestamp_subsec_nanos());
    DateTime::from_timestamp(time.timestamp(), 0)?.checked_add_signed(TimeDelta::nanoseconds(nanoseconds))
}

/// Times are stored in microseconds; a first moment between two of them is the later one.
#[must_use]
pub fn first_moment(text: &str) -> Option<DateTime<Utc>> {
    let exact = time(text)?;
    let cut = exact.trunc_subsecs(6);
    if cut < exact { cut.checked_add_signed(TimeDelta::microseconds(1)) } else { Some(cut) }
}

/// A last moment between two microseconds is the earlier one.
#[must_use]
pub fn last_moment(text: &str) -> Option<DateTime<Utc>> {
    Some(time(text)?.trunc_subsecs(6))
}

/// Reads an id, with or without dashes.
pub(super) fn id(text: &str) -> Option<Uuid> {
    Uuid::try_parse(text).ok()
}

/// Reads an address.
pub(super) fn ip_address(text: &str) -> Option<IpAddr> {
    address::parse(text)
}

/// Reads a severity, in any case.
#[must_use]
pub fn severity(text: &str) -> Option<Severity> {
    [Severity::Info, Severity::Warning, Severity::Error]
        .into_iter()
        .find(|severity| severity.as_str().eq_ignore_ascii_case(text))
}

fn unreadable(name: &str, text: &str, what: &str) -> Problem {
    Problem::bad_parameter(name, &format!("is `{}`; it must be {what}", shown(text)))
}

/// An empty value is most often a variable that was not set; without its filter everything would be shown.
fn empty(name: &str) -> Problem {
    Problem::bad_parameter(name, "is empty")
}

fn bounded(name: &str, items: Vec<String>, most: usize, longest: usize) -> Result<Vec<String>, Problem> {
    let refused = |what: String| Err(Problem::bad_parameter(name, &what));
    if items.len() > most {
        return refused(format!("lists more than {most} values"));
    }
    if items.iter().any(|item| item.chars().count() > longest) {
        return refused(format!("has a value of more than {longest} characters"));
    }
    Ok(items)
}

fn split(value: &str) -> Vec<String> {
    let mut items = Vec::new();
    let mut item = String::new();
    let mut pieces = value.split(',').peekable();
    while let Some(piece) = pieces.next() {
        match piece.strip_suffix('\\') {
            Some(kept) if pieces.peek().is_some() => {
                item.push_str(kept);
                item.push(',');
            }
            _ => {
                item.push_str(piece);
                items.push(std::mem::take(&mut item));
            }
        }
    }
    items
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::native::problem::Code;
    use proptest::prelude::*;

    const TABLES: &[&[Parameter]] = &[FILTERS, PAGING, WAITING];

    fn given(query: &str) -> Given {
        Given::parse(Some(query), TABLES).unwrap()
    }

    #[test]
    fn a_name_stands_once_in_the_tables_of_a_path() {
        for tables in [TABLES, &[LOGONS, WAITING]] {
            let mut names: Vec<_> = tables.iter().copied().flatten().map(|known| known.name).collect();
            let count = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), count);
        }
    }

    #[test]
    fn an_unknown_name_and_a_repeated_scalar_are_refused_by_name() {
        let refusal = |query: &str| Given::parse(Some(query), TABLES).unwrap_err();
        assert_eq!(refusal("acount=x").code(), Code::UnknownParameter);
        assert_eq!(refusal("acount=x").detail(), "there is no parameter `acount` here");
        assert_eq!(refusal("Account=x").code(), Code::UnknownParameter);
        assert_eq!(refusal("limit=1&limit=1").detail(), "parameter `limit` is given twice");
        assert!(Given::parse(Some("account=a&account=b"), TABLES).is_ok());
        assert_eq!(Given::parse(None, TABLES), Ok(Given::default()));
    }

    #[test]
    fn lists_are_cut_at_commas_unless_a_backslash_keeps_them() {
        for (query, items) in [
            ("entity=a,b&entity=c", &["a", "b", "c"][..]),
            ("entity=+a+,b+c", &["a", "b c"]),
            ("entity=CN%3DBob\\,OU%3DX,d", &["CN=Bob,OU=X", "d"]),
            ("entity=SHIRE\\alice", &["SHIRE\\alice"]),
            ("entity=a\\,", &["a,"]),
            ("entity=a,,b,", &["a", "b"]),
            ("", &[]),
        ] {
            assert_eq!(given(query).list("entity").unwrap(), items, "{query}");
        }
        assert_eq!(given("text=a,+b&text=+").parts("text").unwrap(), ["a, b", " "]);
    }

    #[test]
    fn empty_long_and_many_values_are_refused() {
        for query in ["entity=", "entity=,", "entity=+,+", "entity=a&entity=+"] {
            let problem = given(query).list("entity").unwrap_err();
            assert_eq!(problem.detail(), "parameter `entity` is empty", "{query}");
        }
        assert!(given("text=").parts("text").is_err());
        let most = "a,".repeat(MAX_VALUES - 1) + "a";
        assert_eq!(given(&format!("entity={most}")).list("entity").unwrap().len(), MAX_VALUES);
        assert!(given(&format!("entity={most},a")).list("entity").is_err());
        let longest = "é".repeat(MAX_VALUE_CHARACTERS);
        assert!(given(&format!("entity={longest}")).list("entity").is_ok());
        assert!(given(&format!("entity={longest}a")).list("entity").is_err());
        assert!(given(&format!("text={}", "a".repeat(MAX_PART_CHARACTERS + 1))).parts("text").is_err());
        assert!(given(&"text=a&".repeat(MAX_PARTS + 1)).parts("text").is_err());
    }

    #[test]
    fn times_have_an_offset_and_meet_whole_microseconds() {
        let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        assert_eq!(time("2026-01-31T12:00:00+02:00"), Some(at("2026-01-31T10:00:00Z")));
        assert_eq!(time("2026-01-31T12:00:00 02:00"), Some(at("2026-01-31T10:00:00Z")));
        assert_eq!(time("2016-12-31T23:59:60Z"), Some(at("2017-01-01T00:00:00Z")));
        assert_eq!(first_moment("2026-01-31T12:00:00.0000001Z"), Some(at("2026-01-31T12:00:00.000001Z")));
        assert_eq!(last_moment("2026-01-31T12:00:00.0000019Z"), Some(at("2026-01-31T12:00:00.000001Z")));
        for bad in ["", "2026-01-31", "2026-01-31T12:00:00", "now", "2026-02-30T12:00:00Z", "1769860800"] {
            assert_eq!(time(bad), None, "{bad}");
        }
        let turned = given("start=2026-01-31T12:00:00Z&end=2026-01-31T11:00:00Z").interval().unwrap_err();
        assert_eq!(turned.detail(), "parameter `end` is before `start`");
    }

    #[test]
    fn numbers_flags_and_words_are_exact() {
        let limit = row(PAGING, "limit").unwrap();
        assert_eq!(given("").number(limit), Ok(DEFAULT_LIMIT));
        assert_eq!(given("limit=1000").number(limit), Ok(1_000));
        for bad in ["0", "1001", "-1", "%2B1", "1.0", "x", "", "99999999999"] {
            assert!(given(&format!("limit={bad}")).number(limit).is_err(), "{bad}");
        }
        assert_eq!(given("count=true").flag("count"), Ok(true));
        assert_eq!(given("").flag("count"), Ok(false));
        assert!(given("count=1").flag("count").is_err());
        assert_eq!(given("sort=time").word("sort", ORDERS), Ok(Some("time")));
        assert!(given("sort=account").word("sort", ORDERS).is_err());
        assert!(given("after=x&sort=time").refuse(&["cursor", "sort"], "`after`").is_err());
    }

    proptest! {
        #[test]
        fn any_query_string_is_read_or_refused(query in "((start|limit|entity|text|count|after)=)?.{0,12}(&.{0,8})*") {
            if let Ok(given) = Given::parse(Some(&query), TABLES) {
                let _ = (given.interval(), given.list("entity"), given.parts("text"), given.flag("count"));
            }
        }

        #[test]
        fn a_list_of_anything_without_blanks_at_its_ends_comes_back(
            items in proptest::collection::vec("[a-z,=]{0,4}[a-z]", 1..5)
        ) {
            let text = items.iter().map(|item| item.replace(',', "\\,")).collect::<Vec<_>>().join(",");
            let query = form_urlencoded::Serializer::new(String::new()).append_pair("entity", &text).finish();
            prop_assert_eq!(given(&query).list("entity").unwrap(), items);
        }
    }
}
