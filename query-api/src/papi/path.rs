//! Paths of the papi dialect: `/papi/<module>/<function…>[.<format>]`.
//!
//! Whether a function exists is not decided here: the routing table knows. This file only takes a path apart.

use percent_encoding::percent_decode_str;

use super::envelope::Format;
use super::errors::PapiError;

/// Where the dialect lives. Every client has it in its base URL (docs/dialects.md, "Paths and methods").
pub const PREFIX: &str = "/papi/";

/// A path, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PapiPath {
    /// `auditlog`, `session`, …; none for `login`, `logout` and the server's own `ping`.
    pub module: Option<String>,
    /// What follows the module, without the suffix. It may hold slashes: `metric/list`.
    pub function: String,
    /// From the suffix; JSON when there is none (Lastline's AuditLog API document: "defaults to json").
    pub format: Format,
}

impl PapiPath {
    /// Takes the whole path of a request, still percent-encoded as it came, and decodes it once.
    ///
    /// # Errors
    ///
    /// A 404 for a path outside `/papi/`, an empty segment, or a suffix that is not a format. The format asked for is
    /// unknown then, so that this error is rendered as JSON, the default.
    pub fn parse(raw: &str) -> Result<Self, PapiError> {
        let decoded = percent_decode_str(raw).decode_utf8_lossy();
        let unknown = || PapiError::unknown_function(decoded.strip_prefix(PREFIX).unwrap_or(&decoded));
        let path = decoded.strip_prefix(PREFIX).ok_or_else(unknown)?;
        let (name, format) = split_suffix(path).ok_or_else(unknown)?;
        if name.split('/').any(str::is_empty) {
            return Err(unknown());
        }
        Ok(match name.split_once('/') {
            Some((module, function)) => {
                Self { module: Some(module.to_owned()), function: function.to_owned(), format }
            }
            None => Self { module: None, function: name.to_owned(), format },
        })
    }

    /// `module/function`, or the function alone: how logs, metrics and errors name it.
    #[must_use]
    pub fn full_name(&self) -> String {
        match &self.module {
            Some(module) => format!("{module}/{}", self.function),
            None => self.function.clone(),
        }
    }
}

/// The suffix is what follows the last dot of the last segment. `html` and `pdf` exist in Lastline's client, but for
/// modules that are not served here.
fn split_suffix(path: &str) -> Option<(&str, Format)> {
    let last_segment = path.rfind('/').map_or(0, |slash| slash + 1);
    let Some(dot) = path[last_segment..].rfind('.') else {
        return Some((path, Format::Json));
    };
    let (name, suffix) = path.split_at(last_segment + dot);
    let suffix = &suffix[1..];
    if suffix.eq_ignore_ascii_case("json") {
        Some((name, Format::Json))
    } else if suffix.eq_ignore_ascii_case("xml") {
        Some((name, Format::Xml))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(raw: &str) -> (Option<String>, String, Format) {
        let path = PapiPath::parse(raw).expect("a good path");
        (path.module, path.function, path.format)
    }

    #[test]
    fn the_suffix_chooses_the_format_and_json_is_the_default() {
        let module = || Some("auditlog".to_owned());
        let function = || "get_events".to_owned();
        assert_eq!(parsed("/papi/auditlog/get_events"), (module(), function(), Format::Json));
        assert_eq!(parsed("/papi/auditlog/get_events.json"), (module(), function(), Format::Json));
        assert_eq!(parsed("/papi/auditlog/get_events.xml"), (module(), function(), Format::Xml));
        assert_eq!(parsed("/papi/auditlog/get_events.XmL"), (module(), function(), Format::Xml));
    }

    #[test]
    fn functions_without_a_module_and_functions_with_slashes_exist() {
        assert_eq!(parsed("/papi/login"), (None, "login".to_owned(), Format::Json));
        assert_eq!(parsed("/papi/login.xml"), (None, "login".to_owned(), Format::Xml));
        let (module, function, _) = parsed("/papi/monitoring/metric/list.json");
        assert_eq!((module.as_deref(), function.as_str()), (Some("monitoring"), "metric/list"));
        let path = PapiPath::parse("/papi/intel/ip/ping.json").expect("a good path");
        assert_eq!(path.full_name(), "intel/ip/ping");
    }

    #[test]
    fn a_path_is_decoded_once() {
        let (module, function, format) = parsed("/papi/monitoring%2Fmetric%2flist%2Ejson");
        assert_eq!((module.as_deref(), function.as_str()), (Some("monitoring"), "metric/list"));
        assert_eq!(format, Format::Json);
        assert_eq!(parsed("/papi/log%2569n").1, "log%69n");
    }

    #[test]
    fn a_path_that_names_nothing_is_a_404() {
        for raw in [
            "",
            "/",
            "/papi",
            "/papi/",
            "/papix/login",
            "/PAPI/login",
            "/papi/login/",
            "/papi//login",
            "/papi/auditlog/",
            "/papi/auditlog/.xml",
            "/papi/.json",
            "/papi/auditlog/get_events.",
            "/papi/auditlog/get_events.html",
            "/papi/auditlog/get_events.json.pdf",
            "/papi/auditlog/get_events.json%00",
        ] {
            assert_eq!(PapiPath::parse(raw).expect_err(raw).status(), 404, "{raw}");
        }
    }

    #[test]
    fn a_dot_in_a_module_is_not_a_suffix() {
        assert_eq!(parsed("/papi/a.b/c").0.as_deref(), Some("a.b"));
    }

    proptest! {
        #[test]
        fn any_path_is_taken_apart_or_a_404(raw in "(/papi/)?[a-z./%2EF\u{0}é]{0,24}|.*") {
            match PapiPath::parse(&raw) {
                Ok(path) => prop_assert!(!path.function.is_empty() && path.module.as_deref() != Some("")),
                Err(error) => prop_assert_eq!(error.status(), 404),
            }
        }

        #[test]
        fn a_path_that_was_put_together_comes_apart(
            (module, function) in prop_oneof![
                "[a-z_]{1,8}".prop_map(|function| (None, function)),
                ("[a-z_]{1,8}", "[a-z_]{1,8}(/[a-z_]{1,8}){0,2}").prop_map(|(module, function)| (Some(module), function)),
            ],
            xml: bool,
        ) {
            let format = if xml { Format::Xml } else { Format::Json };
            let path = PapiPath { module, function, format };
            let raw = format!("{PREFIX}{}{}", path.full_name(), if xml { ".xml" } else { "" });
            prop_assert_eq!(PapiPath::parse(&raw), Ok(path));
        }
    }
}
