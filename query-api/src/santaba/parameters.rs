//! The query string of the santaba dialect (docs/dialects.md, "santaba": Parameters). A value that cannot be read is an
//! error that names its parameter; unknown parameters are ignored.

use std::fmt;

use super::errors::{SantabaError, shown};

/// Most parameters of one request.
pub const MAX_PARAMETERS: usize = 1_000;

/// Longest value of one parameter after decoding, in bytes; of all filters together, too.
pub const MAX_VALUE_BYTES: usize = 64 * 1024;

/// The one parameter whose repetitions all count.
const FILTER: &str = "filter";

/// The parameters of one request, in the order in which they came.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Parameters {
    pairs: Vec<(String, String)>,
}

/// Names only: filters hold names of people, and a request ends up in logs.
impl fmt::Debug for Parameters {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.pairs.iter().map(|(name, _)| name)).finish()
    }
}

impl Parameters {
    /// Reads the query string (without `?`).
    ///
    /// `+` is a blank, a broken `%` escape stands for itself, and bytes that are not UTF-8 become U+FFFD. A raw `+` in
    /// front of a sort key is a blank afterwards, which [`Self::list`] takes away: ascending, as without it.
    ///
    /// # Errors
    ///
    /// When [`MAX_PARAMETERS`] or [`MAX_VALUE_BYTES`] is passed.
    pub fn parse(query: Option<&str>) -> Result<Self, SantabaError> {
        let mut pairs = Vec::new();
        let mut filter_bytes = 0_usize;
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            if pairs.len() == MAX_PARAMETERS {
                return Err(SantabaError::invalid(&format!("more than {MAX_PARAMETERS} parameters")));
            }
            if name == FILTER {
                filter_bytes = filter_bytes.saturating_add(value.len());
            }
            if filter_bytes > MAX_VALUE_BYTES {
                let text = format!("invalid filter: longer than {MAX_VALUE_BYTES} bytes");
                return Err(SantabaError::invalid(&text));
            }
            if value.len() > MAX_VALUE_BYTES {
                return Err(invalid(&name, &format!("is longer than {MAX_VALUE_BYTES} bytes")));
            }
            pairs.push((name.into_owned(), value.into_owned()));
        }
        Ok(Self { pairs })
    }

    /// The filters that are not blank. A row must pass all of them.
    pub fn filters(&self) -> impl Iterator<Item = &str> {
        self.all(FILTER).filter_map(not_blank)
    }

    /// A list: every value under this name, each taken apart at its commas, without blanks around the items and without
    /// empty items. None when nothing is left.
    #[must_use]
    pub fn list(&self, name: &str) -> Option<Vec<&str>> {
        let items: Vec<&str> =
            self.all(name).flat_map(|value| value.split(',')).filter_map(not_blank).collect();
        (!items.is_empty()).then_some(items)
    }

    /// A whole number, of the first value under this name. One that is too large for a `u64` is cut to the largest, and
    /// a blank one is none.
    ///
    /// # Errors
    ///
    /// When it is negative or not a number.
    pub fn integer(&self, name: &str) -> Result<Option<u64>, SantabaError> {
        let Some(text) = self.all(name).next().and_then(not_blank) else { return Ok(None) };
        if !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(invalid(name, "must be a whole number"));
        }
        // Only digits, so that overflow is the one failure left.
        Ok(Some(text.parse().unwrap_or(u64::MAX)))
    }

    fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.pairs.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// A parameter that cannot be read. `problem` says why.
pub(super) fn invalid(name: &str, problem: &str) -> SantabaError {
    SantabaError::invalid(&format!("parameter `{}` {problem}", shown(name)))
}

fn not_blank(text: &str) -> Option<&str> {
    Some(text.trim()).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::santaba::errors::Failure;
    use proptest::prelude::*;

    fn query(text: &str) -> Parameters {
        Parameters::parse(Some(text)).unwrap()
    }

    fn refusal(text: &str) -> String {
        let error = Parameters::parse(Some(text)).unwrap_err();
        assert_eq!(error.failure(), Failure::Invalid);
        error.message().to_owned()
    }

    #[test]
    fn the_example_of_the_seed_is_read_as_it_stands() {
        let parameters = query(
            "sort=+happenedOn&filter=_all~sarah,happenedOn<:1436204150,happenedOn>:1436203980\
             &fields=username,happenedOn,description",
        );
        assert_eq!(parameters.list("sort"), Some(vec!["happenedOn"]));
        assert_eq!(parameters.list("fields"), Some(vec!["username", "happenedOn", "description"]));
        let filters: Vec<_> = parameters.filters().collect();
        assert_eq!(filters, ["_all~sarah,happenedOn<:1436204150,happenedOn>:1436203980"]);
    }

    #[test]
    fn each_way_to_write_a_direction_arrives() {
        for (text, item) in [
            ("sort=+id", "id"),
            ("sort=%2Bid", "+id"),
            ("sort=%20id", "id"),
            ("sort=id", "id"),
            ("sort=-id", "-id"),
        ] {
            assert_eq!(query(text).list("sort"), Some(vec![item]), "{text}");
        }
        assert_eq!(query("sort=+id,,-ip&sort=username").list("sort"), Some(vec!["id", "-ip", "username"]));
        assert_eq!(query("sort=&sort=,+,").list("sort"), None);
    }

    #[test]
    fn every_filter_counts_and_a_blank_one_is_none() {
        let parameters = query("filter=a:1&size=2&filter=&filter=+&filter=b:%222%22&Filter=c");
        assert_eq!(parameters.filters().collect::<Vec<_>>(), ["a:1", "b:\"2\""]);
        assert_eq!(query("").filters().count(), 0);
        assert_eq!(Parameters::parse(None), Ok(Parameters::default()));
    }

    #[test]
    fn numbers_are_whole_and_not_negative_and_huge_ones_are_cut() {
        let parameters = query("a=007&b=18446744073709551616&c=+5+&d=&e=1&e=x");
        assert_eq!(parameters.integer("a"), Ok(Some(7)));
        assert_eq!(parameters.integer("b"), Ok(Some(u64::MAX)));
        assert_eq!(parameters.integer("c"), Ok(Some(5)));
        assert_eq!(parameters.integer("d"), Ok(None));
        assert_eq!(parameters.integer("e"), Ok(Some(1)));
        assert_eq!(parameters.integer("f"), Ok(None));
        for bad in ["-1", "%2B1", "1.0", "1e3", "ten", "1%00", "%D9%A1", "1+2"] {
            let error = query(&format!("size={bad}")).integer("size").unwrap_err();
            assert_eq!(error.message(), "parameter `size` must be a whole number", "{bad}");
        }
    }

    #[test]
    fn what_is_too_much_is_refused_by_its_name() {
        assert!(Parameters::parse(Some(&"a&".repeat(MAX_PARAMETERS))).is_ok());
        assert_eq!(refusal(&"a&".repeat(MAX_PARAMETERS + 1)), "more than 1000 parameters");
        let long = "x".repeat(MAX_VALUE_BYTES);
        assert!(Parameters::parse(Some(&format!("a={long}&b={long}&filter={long}"))).is_ok());
        assert_eq!(refusal(&format!("a={long}x")), "parameter `a` is longer than 65536 bytes");
        assert_eq!(refusal(&format!("filter={long}x")), "invalid filter: longer than 65536 bytes");
        assert_eq!(refusal(&format!("filter={long}&filter=x")), "invalid filter: longer than 65536 bytes");
    }

    #[test]
    fn values_do_not_show_in_logs() {
        assert_eq!(format!("{:?}", query("filter=username:ada&size=1")), r#"["filter", "size"]"#);
    }

    proptest! {
        #[test]
        fn any_query_is_read_or_refused(text in "((size|sort|filter|fields)=)?[-+%&=,a-z0-9]{0,20}|.*") {
            if let Ok(parameters) = Parameters::parse(Some(&text)) {
                let _ = (parameters.integer("size"), parameters.list("sort"), parameters.filters().count());
            }
        }
    }
}
