//! The filter language of the santaba dialect (docs/dialects.md, "santaba": Filters).
//!
//! ```text
//! filter    = all *( "||" all )
//! all       = condition *( "," condition )
//! condition = field operator value *( "|" value )
//!           / field ( ":::" / "!::" ) ( "empty" / "null" )
//! operator  = ":" / "!:" / "~" / "!~" / ">" / "<" / ">:" / "<:"
//! value     = quoted / bare
//! ```
//!
//! Reading order: this file (what a filter is, and how it is written), [`value`], `parser` (how it is read), [`words`]
//! (the texts of `_all~`), [`meaning`] (which records it lets pass).

pub mod meaning;
pub mod value;
pub mod words;

mod parser;

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use super::errors::SantabaError;
use super::field::Field;
use value::Value;

/// A filter. It is written so that reading it gives the same filter again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expression {
    /// One of these must hold; each of them holds when all of its conditions do. Neither list is empty.
    pub alternatives: Vec<Vec<Condition>>,
}

/// A condition on one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// The name of the field, which need not exist. Not empty, no blanks around it, nothing of an operator in it.
    pub field: String,
    /// How the field is compared.
    pub operator: Operator,
    /// With what; one of these is enough. Not empty, but for the operators that say all by themselves.
    pub values: Vec<Value>,
}

/// How a field is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operator {
    /// `:::"empty"`
    IsEmpty,
    /// `!::"empty"`
    IsNotEmpty,
    /// `!:`
    IsNot,
    /// `!~`
    ContainsNot,
    /// `>:`
    AtLeast,
    /// `<:`
    AtMost,
    /// `:`
    Is,
    /// `~`
    Contains,
    /// `>`
    Above,
    /// `<`
    Below,
}

/// Why a filter cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("invalid filter: {0}")]
pub struct Invalid(String);

impl Invalid {
    /// `problem` says what is wrong.
    pub(super) fn new(problem: impl Into<String>) -> Self {
        Self(problem.into())
    }
}

impl From<Invalid> for SantabaError {
    fn from(error: Invalid) -> Self {
        Self::invalid(&error.to_string())
    }
}

impl Operator {
    /// Every operator, so that none is the beginning of a later one.
    pub const ALL: [Self; 10] = [
        Self::IsEmpty,
        Self::IsNotEmpty,
        Self::IsNot,
        Self::ContainsNot,
        Self::AtLeast,
        Self::AtMost,
        Self::Is,
        Self::Contains,
        Self::Above,
        Self::Below,
    ];

    /// How it is written.
    #[must_use]
    pub const fn sign(self) -> &'static str {
        match self {
            Self::IsEmpty => ":::",
            Self::IsNotEmpty => "!::",
            Self::IsNot => "!:",
            Self::ContainsNot => "!~",
            Self::AtLeast => ">:",
            Self::AtMost => "<:",
            Self::Is => ":",
            Self::Contains => "~",
            Self::Above => ">",
            Self::Below => "<",
        }
    }

    /// Whether it says all by itself. The word behind it is always the same.
    #[must_use]
    pub const fn stands_alone(self) -> bool {
        matches!(self, Self::IsEmpty | Self::IsNotEmpty)
    }
}

impl Expression {
    /// Whether any condition is about this field.
    #[must_use]
    pub fn mentions(&self, field: Field) -> bool {
        self.alternatives.iter().flatten().any(|condition| condition.field == field.name())
    }
}

impl FromStr for Expression {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        parser::parse(text)
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        separated(formatter, "||", &self.alternatives, |formatter, conditions| {
            separated(formatter, ",", conditions, |formatter, condition| write!(formatter, "{condition}"))
        })
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}{}", self.field, self.operator.sign())?;
        if self.operator.stands_alone() {
            return formatter.write_str("\"empty\"");
        }
        separated(formatter, "|", &self.values, |formatter, value| write!(formatter, "{value}"))
    }
}

fn separated<T>(
    formatter: &mut fmt::Formatter<'_>,
    separator: &str,
    items: &[T],
    write_item: impl Fn(&mut fmt::Formatter<'_>, &T) -> fmt::Result,
) -> fmt::Result {
    for (number, item) in items.iter().enumerate() {
        if number > 0 {
            formatter.write_str(separator)?;
        }
        write_item(formatter, item)?;
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;
    use proptest::sample::select;

    #[test]
    fn no_operator_is_the_beginning_of_a_later_one() {
        for (number, first) in Operator::ALL.iter().enumerate() {
            for later in &Operator::ALL[number + 1..] {
                assert!(!later.sign().starts_with(first.sign()), "{first:?} {later:?}");
            }
        }
    }

    #[test]
    fn a_filter_knows_its_fields() {
        let filter: Expression = "username:a||ip:b,happenedOn!:c".parse().unwrap();
        assert!(filter.mentions(Field::HappenedOn) && filter.mentions(Field::Ip));
        assert!(!filter.mentions(Field::HappenedOnLocal));
    }

    #[test]
    fn a_filter_is_written_with_quotes_and_without_blanks() {
        for (text, written) in [
            ("_all~sarah, happenedOn>:1436", r#"_all~"sarah",happenedOn>:"1436""#),
            ("name:\"aaa\" | bbb || status!:x*", r#"name:"aaa"|"bbb"||status!:"x*""#),
            ("ip::: null , sessionId!::\"EMPTY\"", r#"ip:::"empty",sessionId!::"empty""#),
            (r#"a~"\"\\ \* %2525""#, r#"a~"\"\\ \* %2525""#),
        ] {
            assert_eq!(text.parse::<Expression>().unwrap().to_string(), written, "{text}");
        }
    }

    pub(crate) fn values() -> impl Strategy<Value = Value> {
        let piece = prop_oneof![
            3 => "[a-zA-Z0-9@. ]{0,6}",
            2 => r#"[%\\*"|,:~!<>()&#$\[\] a2F]{0,8}"#,
            1 => ".{0,4}",
        ];
        proptest::collection::vec(piece, 1..4).prop_map(Value::of)
    }

    pub(crate) fn conditions() -> impl Strategy<Value = Condition> {
        let field = prop_oneof![
            6 => select(&Field::ALL[..]).prop_map(|field| field.name().to_owned()),
            2 => Just("_all".to_owned()),
            1 => "[a-zA-Z_.]([a-zA-Z0-9_. ]{0,6}[a-z])?",
        ];
        let values = || proptest::collection::vec(values(), 1..3);
        (field, select(&Operator::ALL[..]), values()).prop_map(|(field, operator, values)| Condition {
            field,
            operator,
            values: if operator.stands_alone() { Vec::new() } else { values },
        })
    }

    pub(crate) fn expressions() -> impl Strategy<Value = Expression> {
        proptest::collection::vec(proptest::collection::vec(conditions(), 1..4), 1..4)
            .prop_map(|alternatives| Expression { alternatives })
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_again(filter in expressions()) {
            let written = filter.to_string();
            prop_assert_eq!(written.parse::<Expression>(), Ok(filter), "{}", written);
        }
    }
}
