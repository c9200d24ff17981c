//! Parameters of the papi dialect: one pool of query string and form body, whatever the method.
//!
//! Real clients send GET with a form body, POST with everything in the query, and content types that do not fit
//! (docs/dialects.md, "Parameters"). Nothing of that is an error here. The rules of the pool: the query comes before the
//! body, the first of a repeated scalar wins, lists are merged, unknown parameters are ignored. A value that cannot be
//! read is error 3005 and names its parameter.

use std::fmt;

use chrono_tz::Tz;

use super::errors::{PapiError, shown};

/// Longest query string, and longest body, in bytes. A list of WMI sources is far below it.
pub const MAX_BODY_BYTES: usize = 256 * 1024;

/// Most parameters of one request, query and body together.
pub const MAX_PARAMETERS: usize = 1_000;

/// Longest value of one parameter after decoding, in bytes.
pub const MAX_VALUE_BYTES: usize = 64 * 1024;

/// The one content type whose body is read.
const FORM: &str = "application/x-www-form-urlencoded";

/// The name that the session document gives to both ends of its interval.
const LOOKUP_START: &str = "lookup_start";

/// Ours: the name that the second `lookup_start` should have had.
const LOOKUP_END: &str = "lookup_end";

/// The parameters of one request, in the order in which they came.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Parameters {
    pairs: Vec<(String, String)>,
}

/// Names only: values hold passwords, and a request ends up in logs.
impl fmt::Debug for Parameters {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.pairs.iter().map(|(name, _)| name)).finish()
    }
}

impl Parameters {
    /// Reads the query string (without `?`) and the body.
    ///
    /// `+` is a blank, a broken `%` escape stands for itself, bytes that are not UTF-8 become U+FFFD, and U+0000 stays:
    /// it matches nothing that is stored. A body is read when it is a form, or when nothing says what it is. Others,
    /// among them the multipart bodies without a boundary that one client sends, are not looked at.
    ///
    /// # Errors
    ///
    /// 3005 when [`MAX_BODY_BYTES`], [`MAX_PARAMETERS`] or [`MAX_VALUE_BYTES`] is passed.
    pub fn parse(query: Option<&str>, content_type: Option<&str>, body: &[u8]) -> Result<Self, PapiError> {
        let query = query.unwrap_or_default().as_bytes();
        within_size("query string", query)?;
        within_size("body", body)?;
        let body = if is_form(content_type) { body } else { &[] };
        let mut pairs = Vec::new();
        for (name, value) in form_urlencoded::parse(query).chain(form_urlencoded::parse(body)) {
            if pairs.len() == MAX_PARAMETERS {
                let text = format!("more than {MAX_PARAMETERS} parameters");
                return Err(PapiError::invalid_parameter(&text));
            }
            if value.len() > MAX_VALUE_BYTES {
                return Err(invalid(&name, &format!("is longer than {MAX_VALUE_BYTES} bytes")));
            }
            pairs.push((name.into_owned(), value.into_owned()));
        }
        Ok(Self { pairs })
    }

    /// The first value under this name, as it came. It may be empty: `log_password=` is not the same as none.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// Like [`Self::text`] without blanks around it, and none when nothing is left. What forms send for an empty field
    /// means the same as no field.
    #[must_use]
    pub fn trimmed(&self, name: &str) -> Option<&str> {
        self.text(name).and_then(not_blank)
    }

    /// Like [`Self::trimmed`], for a parameter that must be there.
    ///
    /// # Errors
    ///
    /// 3005 when it is missing or blank: no code of its own is public for that (docs/dialects.md, "Codes").
    pub fn required(&self, name: &str) -> Result<&str, PapiError> {
        self.trimmed(name).ok_or_else(|| invalid(name, "is missing"))
    }

    /// A list: every value under this name, each taken apart at its commas, without blanks around the items and without
    /// empty items. None when nothing is left, so that an empty filter filters nothing.
    ///
    /// Clients send both forms: Lastline's own joins by commas and also repeats a parameter.
    #[must_use]
    pub fn list(&self, name: &str) -> Option<Vec<String>> {
        let items: Vec<String> = self
            .all(name)
            .flat_map(|value| value.split(','))
            .filter_map(not_blank)
            .map(str::to_owned)
            .collect();
        (!items.is_empty()).then_some(items)
    }

    /// A whole number. One that is too large for a `u64` is cut to the largest: a huge offset is an empty page.
    ///
    /// # Errors
    ///
    /// 3005 when it is negative or not a number.
    pub fn integer(&self, name: &str) -> Result<Option<u64>, PapiError> {
        let Some(text) = self.trimmed(name) else { return Ok(None) };
        if !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(invalid(name, "must be a whole number, 0 or more"));
        }
        // Only digits, so that overflow is the one failure left.
        Ok(Some(text.parse().unwrap_or(u64::MAX)))
    }

    /// A truth value: `true`, `false`, `1` or `0` in any case. Python clients send `True` and `False`.
    ///
    /// # Errors
    ///
    /// 3005 when it is anything else.
    pub fn boolean(&self, name: &str) -> Result<Option<bool>, PapiError> {
        let Some(text) = self.trimmed(name) else { return Ok(None) };
        if text == "1" || text.eq_ignore_ascii_case("true") {
            Ok(Some(true))
        } else if text == "0" || text.eq_ignore_ascii_case("false") {
            Ok(Some(false))
        } else {
            Err(invalid(name, "must be true, false, 1 or 0"))
        }
    }

    /// `username` and `password`, when both are there. They may accompany every method (docs/dialects.md, "Sign-in").
    #[must_use]
    pub fn credentials(&self) -> Option<(&str, &str)> {
        let username = self.text("username").filter(|username| !username.is_empty())?;
        Some((username, self.text("password")?))
    }

    /// The zone of every time in the request and in the answer: `timezone` or `time_zone`, the first that has a value;
    /// UTC without one.
    ///
    /// # Errors
    ///
    /// 3005 when it is not the name of an IANA zone.
    pub fn time_zone(&self) -> Result<Tz, PapiError> {
        let mut values = self.pairs.iter().filter(|(name, _)| name == "timezone" || name == "time_zone");
        let Some(zone) = values.find_map(|(_, value)| not_blank(value)) else { return Ok(Tz::UTC) };
        // `Etc/GMT+8` typed into a URL arrives with a blank. No zone has one in its name.
        zone.replace(' ', "+")
            .parse()
            .map_err(|_| PapiError::invalid_parameter(&format!("unknown time zone `{}`", shown(zone))))
    }

    /// Start and end of the interval of `get_users_logged_on`. The session document lists `lookup_start` twice, "start
    /// date" and "end date": the second one, or `lookup_end`, is the end. A blank one holds its place but is no bound.
    #[must_use]
    pub fn lookup_interval_texts(&self) -> (Option<&str>, Option<&str>) {
        let (mut start, mut end) = (None, None);
        for (name, value) in &self.pairs {
            if name == LOOKUP_START && start.is_none() {
                start = Some(value.as_str());
            } else if (name == LOOKUP_START || name == LOOKUP_END) && end.is_none() {
                end = Some(value.as_str());
            }
        }
        (start.and_then(not_blank), end.and_then(not_blank))
    }

    fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.pairs.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

fn not_blank(text: &str) -> Option<&str> {
    Some(text.trim()).filter(|text| !text.is_empty())
}

fn invalid(name: &str, problem: &str) -> PapiError {
    PapiError::invalid_parameter(&format!("parameter `{}` {problem}", shown(name)))
}

fn within_size(part: &str, bytes: &[u8]) -> Result<(), PapiError> {
    if bytes.len() > MAX_BODY_BYTES { Err(too_long(part)) } else { Ok(()) }
}

/// A body of more than [`MAX_BODY_BYTES`], of which the rest need not be kept to say so.
#[must_use]
pub fn body_too_long() -> PapiError {
    too_long("body")
}

fn too_long(part: &str) -> PapiError {
    PapiError::invalid_parameter(&format!("the {part} is longer than {MAX_BODY_BYTES} bytes"))
}

fn is_form(content_type: Option<&str>) -> bool {
    let essence = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    essence.is_empty() || essence.eq_ignore_ascii_case(FORM)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::papi::errors::ErrorCode;
    use proptest::prelude::*;

    fn query(text: &str) -> Parameters {
        Parameters::parse(Some(text), None, b"").expect("good parameters")
    }

    fn refusal(query: &str, body: &[u8]) -> String {
        let error = Parameters::parse(Some(query), Some(FORM), body).expect_err("too much");
        assert_eq!((error.code(), error.status()), (ErrorCode::InvalidParameter, 200));
        error.message().to_owned()
    }

    #[test]
    fn query_and_body_are_one_pool_and_the_query_comes_first() {
        let body = b"a=body&b=1&b=2&username=ops@example.com&password=p%26%2B+w";
        let parameters = Parameters::parse(Some("a=query"), Some(FORM), body).expect("good parameters");
        assert_eq!(parameters.text("a"), Some("query"));
        assert_eq!(parameters.text("b"), Some("1"));
        assert_eq!(parameters.text("c"), None);
        assert_eq!(parameters.credentials(), Some(("ops@example.com", "p&+ w")));
    }

    #[test]
    fn what_real_clients_send_is_tolerated() {
        for (content_type, body) in [
            (Some("application/json"), ""),
            (Some("multipart/form-data"), ""),
            (Some("multipart/form-data"), "a=2&b=3"),
            (Some("application/json"), "{\"b\": 3}"),
            (None, ""),
            (Some(FORM), "&&"),
        ] {
            let parameters = Parameters::parse(Some("a=1&format=json&"), content_type, body.as_bytes())
                .expect("tolerated");
            assert_eq!(
                (parameters.text("a"), parameters.text("b")),
                (Some("1"), None),
                "{content_type:?} {body}"
            );
        }
        for content_type in [None, Some(""), Some("Application/X-WWW-Form-Urlencoded ; charset=UTF-8")] {
            let parameters = Parameters::parse(None, content_type, b"a=1").expect("tolerated");
            assert_eq!(parameters.text("a"), Some("1"), "{content_type:?}");
        }
    }

    #[test]
    fn values_are_decoded_once_and_never_refused_for_their_characters() {
        let parameters = query("a=%C3%A9+%2525&b=%ff&c=%zz%&d=x%00y&e&=f&g==");
        assert_eq!(parameters.text("a"), Some("é %25"));
        assert_eq!(parameters.text("b"), Some("\u{FFFD}"));
        assert_eq!(parameters.text("c"), Some("%zz%"));
        assert_eq!(parameters.text("d"), Some("x\0y"));
        assert_eq!(parameters.text("e"), Some(""));
        assert_eq!(parameters.text(""), Some("f"));
        assert_eq!(parameters.text("g"), Some("="));
    }

    #[test]
    fn an_empty_field_is_no_field_but_stays_visible_as_text() {
        let parameters = query("a=&b=+&c=+x+");
        assert_eq!((parameters.text("a"), parameters.trimmed("a")), (Some(""), None));
        assert_eq!((parameters.text("b"), parameters.trimmed("b")), (Some(" "), None));
        assert_eq!(parameters.required("c"), Ok("x"));
        assert_eq!(parameters.integer("a"), Ok(None));
        assert_eq!(parameters.boolean("b"), Ok(None));
        for name in ["a", "b", "missing"] {
            let error = parameters.required(name).expect_err("missing");
            assert_eq!(error.message(), format!("parameter `{name}` is missing"));
        }
    }

    #[test]
    fn comma_lists_and_repeated_parameters_are_merged() {
        let body = b"a=4&b=,+,";
        let parameters = Parameters::parse(Some("a=1,+2,&a=3"), Some(FORM), body).expect("good parameters");
        assert_eq!(parameters.list("a"), Some(["1", "2", "3", "4"].map(str::to_owned).to_vec()));
        assert_eq!(parameters.list("b"), None);
        assert_eq!(parameters.list("c"), None);
    }

    #[test]
    fn numbers_are_whole_and_not_negative_and_huge_ones_are_cut() {
        let parameters = query("a=007&b=18446744073709551616&c=+5+&d=0");
        assert_eq!(parameters.integer("a"), Ok(Some(7)));
        assert_eq!(parameters.integer("b"), Ok(Some(u64::MAX)));
        assert_eq!(parameters.integer("c"), Ok(Some(5)));
        assert_eq!(parameters.integer("d"), Ok(Some(0)));
        assert_eq!(parameters.integer("e"), Ok(None));
        for bad in ["-1", "-0", "%2B1", "1.0", "1e3", "0x1", "1_000", "x", "1%00", "%D9%A1", "1+2"] {
            let error = query(&format!("max_results={bad}")).integer("max_results").expect_err(bad);
            assert_eq!(error.message(), "parameter `max_results` must be a whole number, 0 or more");
        }
    }

    #[test]
    fn truth_values_have_four_spellings_in_any_case() {
        for (text, truth) in [("true", true), ("True", true), ("1", true), ("FALSE", false), ("0", false)] {
            assert_eq!(query(&format!("a={text}")).boolean("a"), Ok(Some(truth)));
        }
        for bad in ["yes", "2", "t", "01"] {
            let error = query(&format!("a={bad}")).boolean("a").expect_err(bad);
            assert_eq!(error.message(), "parameter `a` must be true, false, 1 or 0");
        }
    }

    #[test]
    fn credentials_need_both_parts_and_a_username() {
        assert_eq!(query("username=u&password=").credentials(), Some(("u", "")));
        for bad in ["username=u", "password=p", "username=&password=p", "username=&username=u&password=p"] {
            assert_eq!(query(bad).credentials(), None, "{bad}");
        }
    }

    #[test]
    fn the_zone_has_two_names_and_defaults_to_utc() {
        assert_eq!(query("").time_zone(), Ok(Tz::UTC));
        assert_eq!(query("timezone=").time_zone(), Ok(Tz::UTC));
        assert_eq!(query("timezone=Asia/Taipei").time_zone(), Ok(Tz::Asia__Taipei));
        assert_eq!(query("time_zone=+UTC+").time_zone(), Ok(Tz::UTC));
        assert_eq!(query("time_zone=Europe/Rome&timezone=UTC").time_zone(), Ok(Tz::Europe__Rome));
        assert_eq!(query("timezone=&time_zone=Europe/Rome").time_zone(), Ok(Tz::Europe__Rome));
        assert_eq!(query("timezone=Etc/GMT+8").time_zone(), Ok(Tz::Etc__GMTPlus8));
        let error = query(&format!("timezone=Permission+denied{}", "x".repeat(200)))
            .time_zone()
            .expect_err("unknown");
        assert_eq!(error.message(), format!("unknown time zone `Permission-denied{}`", "x".repeat(83)));
    }

    #[test]
    fn the_second_lookup_start_is_the_end() {
        for (text, start, end) in [
            ("", None, None),
            ("lookup_start=a", Some("a"), None),
            ("lookup_start=a&lookup_start=b", Some("a"), Some("b")),
            ("lookup_start=a&lookup_end=b", Some("a"), Some("b")),
            ("lookup_end=b&lookup_start=a", Some("a"), Some("b")),
            ("lookup_end=b", None, Some("b")),
            ("lookup_start=&lookup_start=b", None, Some("b")),
            ("lookup_start=a&lookup_start=", Some("a"), None),
            ("lookup_start=a&lookup_end=c&lookup_start=b", Some("a"), Some("c")),
            ("lookup_start=a&lookup_start=b&lookup_start=c", Some("a"), Some("b")),
        ] {
            assert_eq!(query(text).lookup_interval_texts(), (start, end), "{text}");
        }
        let both = Parameters::parse(Some("lookup_start=a"), Some(FORM), b"lookup_start=b")
            .expect("good parameters");
        assert_eq!(both.lookup_interval_texts(), (Some("a"), Some("b")));
    }

    #[test]
    fn each_limit_holds_to_the_byte_and_is_named() {
        let value = "v".repeat(MAX_VALUE_BYTES);
        assert_eq!(query(&format!("name={value}")).text("name"), Some(value.as_str()));
        assert_eq!(refusal(&format!("name={value}v"), b""), "parameter `name` is longer than 65536 bytes");

        let many = "a&".repeat(MAX_PARAMETERS);
        assert_eq!(query(&many).pairs.len(), MAX_PARAMETERS);
        assert_eq!(refusal(&many, b"b=1"), "more than 1000 parameters");

        let body = vec![b'&'; MAX_BODY_BYTES];
        assert!(Parameters::parse(None, Some(FORM), &body).is_ok());
        let body = vec![b'&'; MAX_BODY_BYTES + 1];
        assert_eq!(refusal("", &body), "the body is longer than 262144 bytes");
        assert_eq!(
            refusal(&"&".repeat(MAX_BODY_BYTES + 1), b""),
            "the query string is longer than 262144 bytes"
        );
    }

    #[test]
    fn a_dump_shows_no_password() {
        let dump = format!("{:?}", query("username=u&password=secret"));
        assert_eq!(dump, r#"["username", "password"]"#);
    }

    fn form_like() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            "(lookup_start|lookup_end|timezone|time_zone|username|password|n)=".prop_map(String::into_bytes),
            "[&=%+,@0-9a-fA-F -]{0,4}|%[0-9a-f]{2}".prop_map(String::into_bytes),
            proptest::collection::vec(any::<u8>(), 0..6),
        ];
        proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn any_request_is_read_or_refused_with_http_200(
            query in form_like(),
            content_type in proptest::option::of(".{0,12}|application/x-www-form-urlencoded|multipart/form-data;?"),
            body in form_like(),
        ) {
            let query = String::from_utf8_lossy(&query);
            let read = Parameters::parse(Some(&query), content_type.as_deref(), &body);
            let parameters = read.expect("small requests pass every limit");
            for name in ["lookup_start", "timezone", "n", ""] {
                let checks =
                    [parameters.integer(name).err(), parameters.boolean(name).err(), parameters.time_zone().err()];
                for error in checks.into_iter().flatten() {
                    prop_assert_eq!((error.code(), error.status()), (ErrorCode::InvalidParameter, 200));
                }
                prop_assert!(parameters.list(name).is_none_or(|items| !items.is_empty()));
                prop_assert!(parameters.text(name).is_some() || parameters.trimmed(name).is_none());
            }
            let _ = (parameters.credentials(), parameters.lookup_interval_texts());
        }

        #[test]
        fn what_an_ordinary_client_encodes_comes_back(pairs in proptest::collection::vec((".*", ".*"), 0..8)) {
            let encoded = form_urlencoded::Serializer::new(String::new()).extend_pairs(&pairs).finish();
            prop_assert_eq!(&query(&encoded).pairs, &pairs);
            let body = Parameters::parse(None, Some(FORM), encoded.as_bytes()).expect("good parameters");
            prop_assert_eq!(&body.pairs, &pairs);
        }
    }
}
