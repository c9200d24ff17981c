//! The named limits of everything that enters the log. One place, so that documentation and messages agree.

/// Longest value of one record in the log, framing included. A record above it is refused before it is appended.
pub const MAX_EVENT_BYTES: usize = 512 * 1024;

/// Longest single text in an event, in bytes. Longer texts are cut at a character and end with [`CUT_MARK`].
pub const MAX_TEXT_BYTES: usize = 64 * 1024;

/// Longest name in an event (account, host, entity, action), in bytes. Longer names are cut like texts.
pub const MAX_NAME_BYTES: usize = 1024;

/// What a text that was cut ends with.
pub const CUT_MARK: &str = "…";

/// Cuts `text` to at most `limit` bytes at a character boundary, marking the cut.
#[must_use]
pub fn cut(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    let mut end = limit.saturating_sub(CUT_MARK.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{CUT_MARK}", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_text_ends_at_a_character_and_says_so() {
        assert_eq!(cut("short", 5), "short");
        assert_eq!(cut("äöüäöü", 8), "äö…");
        assert!(cut(&"é".repeat(100), 33).len() <= 33);
    }
}
