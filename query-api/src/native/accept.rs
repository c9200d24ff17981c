//! In which form an answer is wanted: `format=`, else `Accept`.

use axum::http::HeaderMap;
use axum::http::header::ACCEPT;

use super::parameters::{FORMATS, Given};
use super::problem::Problem;

/// A form of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// One JSON document.
    Json,
    /// A file.
    File(FileFormat),
    /// Server-sent events.
    Live,
}

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileFormat {
    Csv,
    Ndjson,
}

impl Form {
    /// The form that a request wants. What nobody can give is answered in JSON.
    pub(super) fn of(given: &Given, headers: &HeaderMap) -> Result<Self, Problem> {
        match given.word("format", FORMATS)? {
            Some("csv") => Ok(Self::File(FileFormat::Csv)),
            Some("ndjson") => Ok(Self::File(FileFormat::Ndjson)),
            Some(_) => Ok(Self::Json),
            None => Ok(accepted(headers)),
        }
    }
}

/// The form that is liked best; of several the first.
fn accepted(headers: &HeaderMap) -> Form {
    let values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut best = (Form::Json, 0.0);
    for range in values.flat_map(|value| value.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let media_type = parts.next().unwrap_or_default().to_ascii_lowercase();
        let weight = parts.find_map(|part| part.strip_prefix("q=").map(str::parse::<f32>));
        let weight = weight.map_or(1.0, |weight| weight.unwrap_or_default());
        let form = match media_type.as_str() {
            "application/json" | "application/*" | "*/*" => Form::Json,
            "text/csv" => Form::File(FileFormat::Csv),
            "application/x-ndjson" | "application/ndjson" => Form::File(FileFormat::Ndjson),
            "text/event-stream" => Form::Live,
            _ => continue,
        };
        if weight > best.1 {
            best = (form, weight);
        }
    }
    best.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::native::parameters::PAGING;
    use axum::http::HeaderValue;

    fn form(query: &str, accept: &str) -> Form {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_str(accept).unwrap());
        Form::of(&Given::parse(Some(query), &[PAGING]).unwrap(), &headers).unwrap()
    }

    #[test]
    fn the_parameter_wins_over_the_header() {
        assert_eq!(form("format=csv", "application/json"), Form::File(FileFormat::Csv));
        assert_eq!(form("format=json", "text/csv"), Form::Json);
        assert!(Given::parse(Some("format=xml"), &[PAGING]).unwrap().word("format", FORMATS).is_err());
    }

    #[test]
    fn the_best_of_what_is_accepted_is_given() {
        for (accept, expected) in [
            ("", Form::Json),
            ("*/*", Form::Json),
            ("text/html,application/xhtml+xml,*/*;q=0.8", Form::Json),
            ("image/png", Form::Json),
            ("text/event-stream", Form::Live),
            ("Text/CSV; header=present", Form::File(FileFormat::Csv)),
            ("application/x-ndjson, application/json", Form::File(FileFormat::Ndjson)),
            ("text/csv;q=0.5, application/json", Form::Json),
            ("text/csv;q=0", Form::Json),
            ("text/csv;q=x, text/event-stream;q=0.1", Form::Live),
        ] {
            assert_eq!(form("", accept), expected, "{accept}");
        }
    }
}
