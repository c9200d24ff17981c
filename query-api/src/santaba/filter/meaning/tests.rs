//! What filters mean, on rows that need no database.

use std::net::IpAddr;

use annals_views::filter::{FieldValue, Row};
use proptest::prelude::*;

use super::*;
use crate::santaba::filter::tests::expressions;

const ID: &str = "0123456789abcdef0123456789abcdef";
const SECOND: i64 = 1_436_460_382;

struct Record {
    account: &'static str,
    description: &'static str,
    address: Option<IpAddr>,
    sign_in: &'static str,
    micros: i64,
}

/// As in the first sample of the seed.
const SARAH: Record = Record {
    account: "sarah",
    description: "sarah signs in (adminId=4).",
    address: Some(IpAddr::V4(std::net::Ipv4Addr::new(174, 76, 130, 100))),
    sign_in: "17A45B032911D0A8F701906E922A4B50",
    micros: SECOND * 1_000_000,
};

/// Nobody, from nowhere.
const NOBODY: Record = Record { account: "", description: "", address: None, sign_in: "", micros: 0 };

impl Row<AuditField> for Record {
    fn value(&self, field: AuditField) -> FieldValue<'_> {
        let shown = self.address.map(|address| address.to_string()).unwrap_or_default();
        match field {
            AuditField::EventId => FieldValue::Id(Uuid::try_parse(ID).unwrap()),
            AuditField::At => FieldValue::Time(DateTime::from_timestamp_micros(self.micros).unwrap()),
            AuditField::Account => FieldValue::Texts(vec![self.account.into()]),
            AuditField::Description => FieldValue::Texts(vec![self.description.into()]),
            AuditField::SignIn => FieldValue::Texts(vec![self.sign_in.into()]),
            AuditField::Address => FieldValue::Address(self.address),
            AuditField::Anything => {
                FieldValue::Texts(vec![self.account.into(), self.description.into(), shown.into()])
            }
            _ => FieldValue::Texts(Vec::new()),
        }
    }
}

fn filter(text: &str) -> Result<Filter<AuditField>, Invalid> {
    meaning(&[text.parse()?])
}

fn lets_pass(text: &str, record: &Record) -> bool {
    filter(text).unwrap_or_else(|error| panic!("{text}: {error}")).matches(record)
}

fn assert_all(passing: bool, filters: &[&str]) {
    for text in filters {
        assert_eq!(lets_pass(text, &SARAH), passing, "{text}");
    }
}

#[test]
fn the_examples_of_the_documents_mean_what_they_say() {
    let range = format!("_all~sarah,happenedOn<:{SECOND},happenedOn>:{SECOND}");
    assert_all(
        true,
        &[
            &range,
            "_all~*signs*",
            "_all~\"**\"",
            "_all~\"*\"",
            "_all~\"SARAH\"",
            "happenedOn>:\"0\"",
            "username:\"victoria\"|\"sarah\"",
            "username:\"*a*a*\"",
            "username~\"*x*\" || description~\"*sign*\" || ip~\"*x*\"",
            "description~\"%5C%28adminId=4%5C%29\"",
            "_all~\"* AND NOT *health*\"",
        ],
    );
    assert_all(false, &["_all~*health*", "username:\"*@*\"", "_all~victoria,happenedOn>:0"]);
}

#[test]
fn is_minds_case_and_the_whole_text_and_contains_does_not() {
    assert_all(
        true,
        &[
            "username:sarah",
            "username!:Sarah",
            "username~SAR",
            "username!~bob",
            "description:\"sarah signs*\"",
            "description~\"SIGNS*4\"",
            "sessionId:17A45B032911D0A8F701906E922A4B50",
            "sessionId~17a45",
            "_all:sarah",
            "_all:174.76.130.100",
            "_all!:sar",
        ],
    );
    assert_all(
        false,
        &[
            "username:Sarah",
            "username:sar",
            "username!~SAR",
            "description:signs",
            "sessionId:17A45",
            "_all:sar",
            "_all!~sar",
            "username~\"a\\*a\"",
        ],
    );
}

#[test]
fn the_values_of_a_condition_are_alternatives_and_a_negation_is_of_all_of_them() {
    assert_all(true, &["username:a|sarah", "username!:a|b", "_all~x|sarah", "ip:x|174.76.130.100"]);
    assert_all(false, &["username!:a|sarah", "username:a|b", "_all!~x|sarah"]);
}

#[test]
fn a_comma_binds_tighter_than_or() {
    assert_all(true, &["username:sarah||username:x,ip:y", "username:x,ip:y||username:sarah"]);
    assert_all(false, &["username:sarah,ip:y||username:x"]);
}

#[test]
fn an_address_has_many_spellings_and_is_a_text_too() {
    assert_all(
        true,
        &[
            "ip:174.76.130.100",
            "ip:\"::ffff:174.76.130.100\"",
            "ip:174.76.*",
            "ip~.130.",
            "ip!:10.0.0.1",
            "ip!:host",
            "ip!::empty",
        ],
    );
    assert_all(false, &["ip:174.76.130.10", "ip:host", "ip!:174.76.130.100", "ip:::null", "ip:\"\""]);
    let six = Record { address: "2001:db8::1".parse().ok(), ..SARAH };
    assert!(lets_pass("ip:2001:DB8:0::1", &six) && lets_pass("ip:\"2001:DB8::*\"", &six));
    assert!(lets_pass("ip:::1", &Record { address: "::1".parse().ok(), ..SARAH }));
}

#[test]
fn an_id_is_found_whole() {
    let dashed = "01234567-89AB-CDEF-0123-456789ABCDEF";
    for found in [ID, dashed, "*", &format!("x|{ID}")] {
        assert!(lets_pass(&format!("id:{found}"), &SARAH) && lets_pass(&format!("id~{found}"), &SARAH));
        assert!(!lets_pass(&format!("id!:{found}"), &SARAH), "{found}");
    }
    assert_all(true, &[&format!("id~\"*{ID}*\""), "id!:2415", "id!::empty", "id~\"\""]);
    // A part of an id cannot be asked for, also not for its absence.
    assert_all(false, &["id:2415", "id~0123", "id!~0123", "id:0123*", "id!:0123*", "id>1", "id:::empty"]);
}

#[test]
fn a_second_is_as_long_as_it_is_shown() {
    for (fraction, passing) in [(0, true), (999_999, true), (-1, false), (1_000_000, false)] {
        let record = Record { micros: SECOND * 1_000_000 + fraction, ..SARAH };
        assert_eq!(lets_pass(&format!("happenedOn:{SECOND}"), &record), passing, "{fraction}");
        assert_eq!(lets_pass(&format!("happenedOn!:{SECOND}"), &record), !passing, "{fraction}");
        let range = format!("happenedOn>:{SECOND},happenedOn<:{SECOND}");
        assert_eq!(lets_pass(&range, &record), passing, "{fraction}");
        assert_eq!(lets_pass(&format!("happenedOn>{SECOND}"), &record), fraction >= 1_000_000);
        assert_eq!(lets_pass(&format!("happenedOn<{SECOND}"), &record), fraction < 0);
        assert!(lets_pass(&format!("happenedOn>\" {SECOND} \"|7"), &record));
    }
}

#[test]
fn times_beyond_every_calendar_are_before_or_after_everything() {
    let huge = "9".repeat(40);
    for late in ["9223372036854775807", "253402300800", &huge] {
        assert_all(true, &[&format!("happenedOn<{late}"), &format!("happenedOn<:{late}")]);
        assert_all(false, &[&format!("happenedOn>{late}"), &format!("happenedOn:{late}")]);
        assert_all(true, &[&format!("happenedOn>-{late}"), &format!("happenedOn!:-{late}")]);
        assert_all(false, &[&format!("happenedOn<:-{late}")]);
    }
    assert_eq!(filter(&format!("happenedOn<:{huge}")), Ok(Filter::Everything));
    assert_eq!(filter(&format!("happenedOn>{huge}")), Ok(Filter::Nothing));
    assert_eq!(filter("happenedOn>:253402300799").unwrap().size(), 1);
}

#[test]
fn an_empty_text_is_one_that_is_not_there() {
    for field in ["username", "description", "ip", "sessionId"] {
        assert!(lets_pass(&format!("{field}:::\"empty\""), &NOBODY), "{field}");
        assert!(!lets_pass(&format!("{field}!::\"empty\""), &NOBODY), "{field}");
        assert!(lets_pass(&format!("{field}:\"\""), &NOBODY), "{field}");
        assert!(!lets_pass(&format!("{field}:::\"null\""), &SARAH), "{field}");
        assert!(lets_pass(&format!("{field}~\"\""), &SARAH), "{field}");
    }
    assert_all(true, &["happenedOn!::empty"]);
    assert_all(false, &["happenedOn:::empty"]);
}

#[test]
fn what_cannot_be_asked_lets_nothing_pass_also_when_negated() {
    for text in [
        "nothing:x",
        "nothing!:x",
        "nothing!~x",
        "nothing!::empty",
        "Username!:x",
        "apiTokenId:5",
        "happenedOn:\"login\"",
        "happenedOn!:login",
        "happenedOn!~1436460382",
        "happenedOn>1.5",
        "happenedOn>1*",
        "happenedOnLocal>:1700000000",
        "happenedOnLocal!:x",
        "username>:a",
        "_all>5",
        "ip<:10.0.0.1",
    ] {
        assert_eq!(filter(text), Ok(Filter::Nothing), "{text}");
    }
    assert_all(true, &["nothing:x||username:sarah", "happenedOn>:x|0"]);
}

#[test]
fn several_filters_must_all_pass() {
    let both = |one: &str, other: &str| {
        meaning(&[one.parse().unwrap(), other.parse().unwrap()]).unwrap().matches(&SARAH)
    };
    assert!(both("username:x||username:sarah", "ip:x||ip~174"));
    assert!(!both("username:sarah", "ip:x"));
    assert_eq!(meaning(&[]), Ok(Filter::Everything));
}

#[test]
fn there_is_a_limit_to_all_conditions_together() {
    let too_many = "invalid filter: more than 1000 conditions";
    let many = |text: &str, count| vec![text; count].join(",");
    let list = format!("username:{}", vec!["a"; 1_000].join("|"));
    let words = format!("_all~\"{}\"", vec!["a"; 1_000].join(" OR "));
    let wildcards = format!("_all~\"{}\"", vec!["a"; 1_000].join("*"));
    for full in [many("username:a", 1_000), many("x:::null", 1_000), list, words, wildcards] {
        assert!(filter(&full).is_ok(), "{}", &full[..20]);
        assert_eq!(filter(&(full.clone() + ",x:y")).unwrap_err().to_string(), too_many, "{}", &full[..20]);
        let parts = [full.parse().unwrap(), "ip:x".parse().unwrap()];
        assert_eq!(meaning(&parts).unwrap_err().to_string(), too_many);
    }
    assert!(
        filter("_all~\"a AND\"").unwrap_err().to_string().starts_with("invalid filter: a text is missing")
    );
}

proptest! {
    #[test]
    fn every_filter_means_something_or_is_refused(filters in proptest::collection::vec(expressions(), 0..3)) {
        if let Ok(filter) = meaning(&filters) {
            filter.matches(&SARAH);
            prop_assert!(filter.depth() <= 8 + 2 * super::super::words::MAX_DEPTH);
        }
    }

    #[test]
    fn what_cannot_be_asked_is_false_whether_negated_or_not(value in ".{0,5}") {
        let value = Value::of(vec![value]);
        for sign in [":", "!:", "~", "!~", ">", "<", ">:", "<:"] {
            let text = format!("nothing{sign}{value}");
            prop_assert_eq!(filter(&text), Ok(Filter::Nothing), "{}", text);
        }
    }
}
