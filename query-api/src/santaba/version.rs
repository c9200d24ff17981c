//! Which version of the API a request speaks (docs/dialects.md, "santaba": Versions).

use axum::http::HeaderMap;

use super::errors::{SantabaError, shown};

/// The header that names a version. It goes before [`PARAMETER`].
const HEADER: &str = "x-version";

/// The query parameter that does the same.
const PARAMETER: &str = "v";

/// A version of the API. They differ in their envelopes, limits and kinds of credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// What a request without a version speaks: the seed's edition.
    V1,
    /// The envelope of today.
    V2,
    /// The same.
    V3,
}

impl Version {
    /// Every version.
    pub const ALL: [Self; 3] = [Self::V1, Self::V2, Self::V3];

    /// The number that requests name it by.
    #[must_use]
    pub const fn number(self) -> &'static str {
        match self {
            Self::V1 => "1",
            Self::V2 => "2",
            Self::V3 => "3",
        }
    }

    /// The version that the header names, else the parameter, else 1. A blank one names none.
    ///
    /// # Errors
    /// When there is no such version; whoever asks gets it in the envelope of version 3.
    pub fn of(headers: &HeaderMap, query: Option<&str>) -> Result<Self, SantabaError> {
        let header = headers.get(HEADER).map(|value| String::from_utf8_lossy(value.as_bytes()));
        if let Some(header) = header.as_deref().and_then(not_blank) {
            return Self::named(header);
        }
        let mut pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        let parameter = pairs.find(|(name, _)| name == PARAMETER).map(|(_, value)| value);
        parameter.as_deref().and_then(not_blank).map_or(Ok(Self::V1), Self::named)
    }

    fn named(number: &str) -> Result<Self, SantabaError> {
        Self::ALL
            .into_iter()
            .find(|version| version.number() == number)
            .ok_or_else(|| SantabaError::invalid(&format!("there is no version `{}`", shown(number))))
    }
}

fn not_blank(text: &str) -> Option<&str> {
    Some(text.trim()).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn version(header: Option<&[u8]>, query: &str) -> Result<Version, SantabaError> {
        let mut headers = HeaderMap::new();
        headers.extend(header.map(|value| {
            (axum::http::HeaderName::from_static("x-version"), HeaderValue::from_bytes(value).unwrap())
        }));
        Version::of(&headers, Some(query))
    }

    #[test]
    fn the_header_goes_before_the_parameter_and_nothing_is_version_1() {
        assert_eq!(Version::of(&HeaderMap::new(), None), Ok(Version::V1));
        assert_eq!(version(Some(b"3"), "v=2"), Ok(Version::V3));
        assert_eq!(version(Some(b" 2 "), ""), Ok(Version::V2));
        assert_eq!(version(None, "size=5&v=3&v=1"), Ok(Version::V3));
        assert_eq!(version(None, "%76=+2"), Ok(Version::V2));
        assert_eq!(version(Some(b""), "v=2"), Ok(Version::V2));
        assert_eq!(version(Some(b" "), "v="), Ok(Version::V1));
        assert_eq!(version(None, "V=3&vv=2"), Ok(Version::V1));
    }

    #[test]
    fn there_are_three_versions() {
        for bad in ["0", "4", "03", "3.0", "v3", "-1", "3,2", "\u{663}"] {
            assert!(version(Some(bad.as_bytes()), "v=3").is_err(), "{bad}");
            assert!(version(None, &format!("v={bad}")).is_err(), "{bad}");
        }
        let error = version(Some(b"\xff"), "").unwrap_err();
        assert_eq!(error.message(), "there is no version `\u{FFFD}`");
    }
}
