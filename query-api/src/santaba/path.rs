//! Paths of the santaba dialect: `/santaba/rest/setting/accesslogs` and `/santaba/rest/setting/accesslogs/ID`
//! (docs/dialects.md, "santaba": Paths).

use percent_encoding::percent_decode_str;

/// What every path of the dialect begins with.
pub(super) const PREFIX: &str = "/santaba/";

/// What stands before the path that LMv1 signs.
const BASE: &str = "/santaba/rest";

/// The segments of the list.
const ENTRIES: [&str; 4] = ["santaba", "rest", "setting", "accesslogs"];

/// What a path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Resource {
    /// The list of records.
    Entries,
    /// The record of this id, whatever it looks like.
    Entry(String),
}

impl Resource {
    /// What a path names, percent-encoded as it came. Each segment is decoded by itself: one client encodes whatever
    /// stands in an id, slashes too.
    pub(super) fn at(raw_path: &str) -> Option<Self> {
        let mut segments = raw_path.strip_prefix('/')?.split('/').map(decoded);
        if !ENTRIES.iter().all(|expected| segments.next().as_deref() == Some(expected)) {
            return None;
        }
        match (segments.next(), segments.next()) {
            (None, _) => Some(Self::Entries),
            (Some(id), None) if !id.is_empty() => Some(Self::Entry(id)),
            _ => None,
        }
    }
}

/// Whether a path, percent-encoded as it came, is in this dialect.
pub(crate) fn owns(raw_path: &str) -> bool {
    let path = decoded(raw_path);
    path.starts_with(PREFIX) || path == PREFIX.trim_end_matches('/')
}

/// The paths that a client may have signed: LogicMonitor's own client signs the decoded one, others sign what they
/// send.
pub(super) fn signed_paths(raw_path: &str) -> Vec<Vec<u8>> {
    let decoded: Vec<u8> = percent_decode_str(raw_path).collect();
    let mut paths: Vec<Vec<u8>> = [decoded.as_slice(), raw_path.as_bytes()]
        .into_iter()
        .filter_map(|path| path.strip_prefix(BASE.as_bytes()))
        .map(<[u8]>::to_vec)
        .collect();
    paths.dedup();
    paths
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_list_and_each_record_have_a_path() {
        let entry = |id: &str| Some(Resource::Entry(id.to_owned()));
        for (path, resource) in [
            ("/santaba/rest/setting/accesslogs", Some(Resource::Entries)),
            ("/santaba/rest/s%65tting/accesslogs", Some(Resource::Entries)),
            ("/santaba/rest/setting/accesslogs/2415", entry("2415")),
            ("/santaba/rest/setting/accesslogs/a%2Fb%20c%25", entry("a/b c%")),
            ("/santaba/rest/setting/accesslogs/%FF", entry("\u{FFFD}")),
            ("/santaba/rest/setting/accesslogs/", None),
            ("/santaba/rest/setting/accesslogs//", None),
            ("/santaba/rest/setting/accesslogs/1/", None),
            ("/santaba/rest/setting/accesslogs/1/2", None),
            ("/santaba/rest/setting/accesslog", None),
            ("/santaba/rest/setting/AccessLogs", None),
            ("/santaba//rest/setting/accesslogs", None),
            ("/santaba%2Frest/setting/accesslogs", None),
            ("/santaba/rest/device/devices", None),
            ("/santaba", None),
            ("", None),
        ] {
            assert_eq!(Resource::at(path), resource, "{path}");
        }
    }

    #[test]
    fn the_dialect_owns_its_prefix_and_nothing_like_it() {
        for path in ["/santaba", "/santaba/", "/santaba/rest", "/%73antaba/x", "/santaba%2Frest"] {
            assert!(owns(path), "{path}");
        }
        for path in ["", "/", "*", "/santabax", "/Santaba/rest", "/x/santaba/rest", "santaba/rest"] {
            assert!(!owns(path), "{path}");
        }
    }

    #[test]
    fn the_decoded_path_and_the_one_that_was_sent_may_be_signed() {
        let one: &[&[u8]] = &[b"/setting/accesslogs"];
        assert_eq!(signed_paths("/santaba/rest/setting/accesslogs"), one);
        let two: &[&[u8]] = &[b"/setting/accesslogs/a/b c%\xff", b"/setting/accesslogs/a%2Fb%20c%25%FF"];
        assert_eq!(signed_paths("/santaba/rest/setting/accesslogs/a%2Fb%20c%25%FF"), two);
        assert_eq!(signed_paths("/%73antaba/rest/setting/accesslogs"), one);
        assert!(signed_paths("/papi/ping").is_empty());
    }

    proptest! {
        #[test]
        fn any_id_is_found_again(id in ".{1,20}") {
            let encoded = percent_encoding::utf8_percent_encode(&id, percent_encoding::NON_ALPHANUMERIC);
            let path = format!("{BASE}/setting/accesslogs/{encoded}");
            prop_assert_eq!(Resource::at(&path), Some(Resource::Entry(id)));
        }

        #[test]
        fn any_path_is_a_resource_of_the_dialect_or_none(path in "(/santaba/rest/setting/accesslogs)?[/%a-f0-9]{0,12}|.*") {
            if Resource::at(&path).is_some() {
                prop_assert!(owns(&path) && !signed_paths(&path).is_empty());
            }
        }
    }
}
