//! The envelope around every answer of the santaba dialect (docs/dialects.md, "santaba": Answers).
//!
//! Version 1 wraps data and failures alike. Versions 2 and 3 give the data as they are, so that nothing of ours may be
//! called `status`, `errmsg` and `data` there: one client takes these names for version 1.

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use super::errors::SantabaError;
use super::version::Version;

/// The `Content-Type` of every answer.
pub(super) const CONTENT_TYPE: &str = "application/json";

/// What a function answers with, as JSON already.
#[derive(Clone, Debug)]
pub struct Data(Box<RawValue>);

impl Data {
    /// The data of an answer.
    ///
    /// # Errors
    /// [`SantabaError::internal`] for what JSON cannot say; nothing here is such.
    pub fn of(data: &impl Serialize) -> Result<Self, SantabaError> {
        to_raw_value(data).map(Self).map_err(|_| SantabaError::internal())
    }
}

/// The body of a success.
#[must_use]
pub fn success(version: Version, data: &Data) -> Vec<u8> {
    let data = data.0.get();
    match version {
        // In the order of the seed's samples.
        Version::V1 => format!(r#"{{"status":200,"errmsg":"OK","data":{data}}}"#).into_bytes(),
        Version::V2 | Version::V3 => data.as_bytes().to_vec(),
    }
}

/// The body of a failure.
#[must_use]
pub fn failure(version: Version, error: &SantabaError) -> Vec<u8> {
    let code = error.failure().told(version).code;
    let text = serde_json::Value::from(error.message());
    let body = match version {
        Version::V1 => format!(r#"{{"status":{code},"errmsg":{text},"data":null}}"#),
        Version::V2 | Version::V3 => {
            format!(r#"{{"errorMessage":{text},"errorCode":{code},"errorDetail":null}}"#)
        }
    };
    body.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn text(body: Vec<u8>) -> String {
        String::from_utf8(body).unwrap()
    }

    #[test]
    fn data_are_wrapped_in_version_1_only() {
        let data = Data::of(&json!({"total": 0})).unwrap();
        assert_eq!(text(success(Version::V1, &data)), r#"{"status":200,"errmsg":"OK","data":{"total":0}}"#);
        assert_eq!(text(success(Version::V2, &data)), r#"{"total":0}"#);
        assert_eq!(text(success(Version::V3, &data)), r#"{"total":0}"#);
    }

    #[test]
    fn a_failure_has_the_three_members_of_its_version() {
        let error = SantabaError::authentication();
        assert_eq!(
            text(failure(Version::V1, &error)),
            r#"{"status":403,"errmsg":"Authentication failed","data":null}"#
        );
        for version in [Version::V2, Version::V3] {
            assert_eq!(
                text(failure(version, &error)),
                r#"{"errorMessage":"Authentication failed","errorCode":1401,"errorDetail":null}"#
            );
        }
    }

    #[test]
    fn any_text_of_the_caller_stays_one_text() {
        let error = SantabaError::invalid("bad \"value\"\u{0}\n\\\u{2028}");
        for version in Version::ALL {
            let body: Value = serde_json::from_slice(&failure(version, &error)).unwrap();
            let member = if version == Version::V1 { "errmsg" } else { "errorMessage" };
            assert_eq!(body[member], error.message());
            assert_eq!(body.as_object().unwrap().len(), 3);
        }
    }
}
