//! The envelope around every answer of the papi dialect, as JSON and as XML (docs/dialects.md, "Answers").
//!
//! `success` is the integer 1 or 0 (clients compare with 1, and a Go client decodes into an int). `data` is present on
//! every success, also where a method returns nothing: three clients raise without it. `error_code` is an integer.

use serde::Serialize;
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use super::errors::PapiError;
use super::xml;

/// What the suffix of the path asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Format {
    /// `.json`, or no suffix.
    #[default]
    Json,
    /// `.xml`.
    Xml,
}

impl Format {
    /// The `Content-Type` of an answer. The documents name none and clients ignore it. JSON is UTF-8 by definition; XML
    /// says so here, because a reader of `application/xml` may otherwise have to guess.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Xml => "application/xml; charset=utf-8",
        }
    }
}

/// What a function answers with: JSON text already, because that is what nearly every client asks for, and a tree of
/// values would cost several times as much as the text.
#[derive(Clone, Debug)]
pub struct Data(Box<RawValue>);

impl Data {
    /// The data of an answer.
    ///
    /// # Errors
    /// [`PapiError::internal`] for what JSON cannot say; nothing here is such.
    pub fn of(data: &impl Serialize) -> Result<Self, PapiError> {
        to_raw_value(data).map(Self).map_err(|_| PapiError::internal())
    }

    /// The same as a tree.
    fn tree(&self) -> Value {
        serde_json::from_str(self.0.get()).unwrap_or_default()
    }
}

/// The content type and the body of a success.
#[must_use]
pub fn render_success(format: Format, data: &Data) -> (&'static str, Vec<u8>) {
    let body = match format {
        // Written by hand, blanks included: Lastline's page on login says that the body is exactly
        // `{"success": 1, "data": "true"}`, in this order. A map of serde_json would sort `data` first.
        Format::Json => format!(r#"{{"success": 1, "data": {}}}"#, data.0.get()),
        Format::Xml => document(&[("success", &Value::from(1)), ("data", &data.tree())]),
    };
    (format.content_type(), body.into_bytes())
}

/// The content type and the body of a failure. The HTTP status is [`PapiError::status`].
#[must_use]
pub fn render_error(format: Format, error: &PapiError) -> (&'static str, Vec<u8>) {
    let code = Value::from(error.code().number());
    let text = Value::from(error.message());
    let body = match format {
        Format::Json => format!(r#"{{"success": 0, "error_code": {code}, "error": {text}}}"#),
        Format::Xml => document(&[("success", &Value::from(0)), ("error_code", &code), ("error", &text)]),
    };
    (format.content_type(), body.into_bytes())
}

/// A document without an XML declaration: both samples of the vendor have none, and none is required, since a document
/// without one is XML 1.0 in UTF-8 (XML 1.0, sections 2.8 and 4.3.3).
fn document(members: &[(&str, &Value)]) -> String {
    let mut out = String::from("<result>");
    for (key, value) in members {
        xml::write_member(&mut out, key, value);
    }
    out.push_str("</result>");
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn text(rendered: (&'static str, Vec<u8>)) -> String {
        String::from_utf8(rendered.1).expect("UTF-8")
    }

    #[test]
    fn a_login_answers_exactly_what_the_vendor_documents() {
        let rendered = render_success(Format::Json, &Data::of(&json!("true")).expect("JSON"));
        assert_eq!(rendered.0, "application/json");
        assert_eq!(text(rendered), r#"{"success": 1, "data": "true"}"#);
    }

    #[test]
    fn data_is_there_even_when_there_is_nothing_to_say() {
        assert_eq!(
            text(render_success(Format::Json, &Data::of(&Value::Null).expect("JSON"))),
            r#"{"success": 1, "data": null}"#
        );
        assert_eq!(
            text(render_success(Format::Xml, &Data::of(&Value::Null).expect("JSON"))),
            "<result><success>1</success><data></data></result>"
        );
    }

    #[test]
    fn the_sample_of_the_auditlog_document_looks_the_same_without_its_indentation() {
        let event =
            json!([{"entity_id": null, "event_name": "SUCCESSFUL_LOGIN", "ts": "2014-01-17 09:58:15"}]);
        let rendered = render_success(Format::Xml, &Data::of(&event).expect("JSON"));
        assert_eq!(rendered.0, "application/xml; charset=utf-8");
        assert_eq!(
            text(rendered),
            "<result><success>1</success><data><element><entity_id></entity_id>\
             <event_name>SUCCESSFUL_LOGIN</event_name><ts>2014-01-17 09:58:15</ts></element></data></result>"
        );
    }

    #[test]
    fn a_failure_has_a_number_and_a_text_in_both_formats() {
        let error = PapiError::authentication();
        assert_eq!(
            text(render_error(Format::Json, &error)),
            r#"{"success": 0, "error_code": 3004, "error": "Authentication Error."}"#
        );
        assert_eq!(
            text(render_error(Format::Xml, &error)),
            "<result><success>0</success><error_code>3004</error_code>\
             <error>Authentication Error.</error></result>"
        );
    }

    #[test]
    fn every_json_answer_reads_back_as_json() {
        let data =
            json!({"a \"quoted\" key\u{0}": ["\u{1}\r\n</script>", 1.5, u64::MAX, i64::MIN, true, null]});
        let answer: Value =
            serde_json::from_str(&text(render_success(Format::Json, &Data::of(&data).expect("JSON"))))
                .expect("JSON");
        assert_eq!(answer, json!({"success": 1, "data": data}));
        let error = PapiError::invalid_parameter("bad \"value\"\u{0}\n\\");
        let answer: Value = serde_json::from_str(&text(render_error(Format::Json, &error))).expect("JSON");
        assert_eq!(answer, json!({"success": 0, "error_code": 3005, "error": "bad \"value\"\u{0}\n\\"}));
    }
}
