//! Cursors: where a walk through the pages of a query goes on.
//!
//! A cursor holds the log positions of the walk's first page. Rows beyond them are not part of the walk, and the rest is
//! found by key, not by offset, so that a page once read never changes, whatever arrives meanwhile.

use annals_views::audit_log::{Direction, RowKey};
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::token::{Reader, Token, TokenError, TokenKind, open, seal, write_number};

/// A hash of a query's filters and order.
pub(super) type Fingerprint = [u8; 8];

/// Where a walk goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cursor {
    /// Where the log ended for the first page.
    pub(super) snapshot: Token,
    /// Which way the walk goes.
    pub(super) direction: Direction,
    /// The query.
    pub(super) query: Fingerprint,
    /// The last row that was given.
    pub(super) last: RowKey,
    /// How many rows the walk has, when its first page was asked to say so.
    pub(super) total: Option<u64>,
}

impl Cursor {
    /// The opaque text.
    pub(super) fn text(&self) -> String {
        let mut bytes = vec![u8::from(self.direction == Direction::Descending)];
        bytes.extend_from_slice(&self.query);
        bytes.extend_from_slice(&self.last.at.timestamp_micros().to_be_bytes());
        bytes.extend_from_slice(self.last.event_id.as_bytes());
        // One more than it is, so that none is a number, too.
        write_number(&mut bytes, self.total.map_or(0, |total| total.saturating_add(1)));
        self.snapshot.write(&mut bytes);
        seal(TokenKind::Cursor, &bytes)
    }

    /// Reads a cursor of this query.
    pub(super) fn parse(text: &str, query: Fingerprint, direction: Direction) -> Result<Self, TokenError> {
        let bytes = open(TokenKind::Cursor, text)?;
        let mut reader = Reader(&bytes);
        let found = match reader.array()? {
            [0] => Direction::Ascending,
            [1] => Direction::Descending,
            _ => return Err(TokenError::Damaged),
        };
        let fingerprint: Fingerprint = reader.array()?;
        let at = DateTime::<Utc>::from_timestamp_micros(i64::from_be_bytes(reader.array()?));
        let at = at.ok_or(TokenError::Damaged)?;
        let event_id = Uuid::from_bytes(reader.array()?);
        let total = reader.number()?.checked_sub(1);
        let snapshot = reader.token()?;
        reader.end()?;
        if fingerprint != query || found != direction {
            return Err(TokenError::AnotherQuery);
        }
        Ok(Self { snapshot, direction, query, last: RowKey { at, event_id }, total })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use annals_store::Partition;
    use proptest::prelude::*;

    const QUERY: Fingerprint = [1; 8];

    fn cursor() -> Cursor {
        let incarnations = [("annals.audit".to_owned(), Uuid::from_u128(1))];
        Cursor {
            snapshot: Token::new(&incarnations, vec![(Partition::new("annals.audit", 2), 300)]),
            direction: Direction::Descending,
            query: QUERY,
            last: RowKey {
                at: "2020-05-01T10:00:00.123456Z".parse().unwrap(),
                event_id: Uuid::from_u128(77),
            },
            total: Some(300),
        }
    }

    #[test]
    fn a_cursor_comes_back_for_its_own_query_only() {
        let text = cursor().text();
        assert_eq!(Cursor::parse(&text, QUERY, Direction::Descending), Ok(cursor()));
        let uncounted = Cursor { total: None, ..cursor() };
        assert_eq!(Cursor::parse(&uncounted.text(), QUERY, Direction::Descending), Ok(uncounted));
        assert_eq!(Cursor::parse(&text, [2; 8], Direction::Descending), Err(TokenError::AnotherQuery));
        assert_eq!(Cursor::parse(&text, QUERY, Direction::Ascending), Err(TokenError::AnotherQuery));
    }

    #[test]
    fn a_position_is_no_cursor_and_a_cursor_no_position() {
        let position = cursor().snapshot.text();
        assert_eq!(Cursor::parse(&position, QUERY, Direction::Descending), Err(TokenError::Damaged));
        assert_eq!(Token::parse(&cursor().text()), Err(TokenError::Damaged));
        assert_eq!(Cursor::parse("", QUERY, Direction::Descending), Err(TokenError::Damaged));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            let _ = Cursor::parse(&seal(TokenKind::Cursor, &bytes), QUERY, Direction::Ascending);
        }
    }
}
