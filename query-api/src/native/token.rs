//! Tokens: places in the log, in the only form in which they leave the program.
//!
//! A token names the incarnation of each topic that it knows, so that one of another log is refused rather than read
//! as a place in this one. It holds nothing secret and grants nothing: what a caller sees is decided by its grants, so
//! that a checksum against damage is enough, and nobody gains anything by making one up.

use annals_store::{Partition, StoredPosition};
use annals_views::audit_log::LogPositions;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// Version of the form. Another one is refused as damaged.
const VERSION: u8 = 1;

/// Bytes of the checksum.
const CHECKSUM_BYTES: usize = 4;

/// Longest text that is looked at. Thousands of partitions fit.
const MAX_TEXT_BYTES: usize = 8 * 1024;

/// Most topics and most partitions of a topic that a token may name. Far above what there are.
const MAX_ITEMS: u64 = 65_536;

/// Why a token cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It is none, or not whole.
    #[error("it is damaged, or is none")]
    Damaged,
    /// The log that it was made for is not this one.
    #[error("it belongs to another log")]
    AnotherLog,
    /// The walk that it was made for had other filters or another order.
    #[error("it belongs to another query")]
    AnotherQuery,
}

/// What a token is for: a cursor cannot be taken for a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenKind {
    Position = 1,
    Cursor = 2,
}

/// A place in the log: the next offset of each partition. A partition that is missing is at its beginning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Token {
    /// The incarnation of each topic.
    pub incarnations: Vec<(String, Uuid)>,
    /// The positions.
    pub positions: LogPositions,
}

impl Token {
    /// A place in the log of these incarnations.
    #[must_use]
    pub fn new(incarnations: &[(String, Uuid)], positions: LogPositions) -> Self {
        Self { incarnations: incarnations.to_vec(), positions }
    }

    /// Reads a token; an empty text is the beginning of the log.
    ///
    /// # Errors
    /// [`TokenError::Damaged`].
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let bytes = open(TokenKind::Position, text)?;
        let mut reader = Reader(&bytes);
        let token = reader.token()?;
        reader.end()?;
        Ok(token)
    }

    /// The opaque text.
    #[must_use]
    pub fn text(&self) -> String {
        let mut bytes = Vec::new();
        self.write(&mut bytes);
        seal(TokenKind::Position, &bytes)
    }

    /// Refuses a token of another log than the one of these incarnations. A topic that the log does not know
    /// counts as another log, too, unless the view may simply not have come to it yet.
    ///
    /// # Errors
    /// [`TokenError::AnotherLog`].
    pub fn check_log(&self, known: &[(String, Uuid)], may_be_ahead: bool) -> Result<(), TokenError> {
        let fits = |(topic, incarnation): &(String, Uuid)| {
            known.iter().find(|(name, _)| name == topic).map_or(may_be_ahead, |(_, id)| id == incarnation)
        };
        if self.incarnations.iter().all(fits) { Ok(()) } else { Err(TokenError::AnotherLog) }
    }

    /// The next offset of a partition.
    #[must_use]
    pub fn position(&self, partition: &Partition) -> u64 {
        self.positions.iter().find(|(known, _)| known == partition).map_or(0, |(_, offset)| *offset)
    }

    /// Moves a partition forward. Never back, so that nothing that was given out is given out again.
    pub fn advance(&mut self, partition: &Partition, next: u64) {
        match self.positions.iter_mut().find(|(known, _)| known == partition) {
            Some((_, offset)) => *offset = next.max(*offset),
            None => self.positions.push((partition.clone(), next)),
        }
    }

    pub(super) fn write(&self, bytes: &mut Vec<u8>) {
        let mut topics: Vec<&str> = self.incarnations.iter().map(|(topic, _)| topic.as_str()).collect();
        topics.extend(self.positions.iter().map(|(partition, _)| &*partition.topic));
        topics.sort_unstable();
        topics.dedup();
        write_number(bytes, topics.len() as u64);
        for topic in topics {
            let incarnation = self.incarnations.iter().find(|(name, _)| name == topic);
            let incarnation = incarnation.map_or(Uuid::nil(), |(_, incarnation)| *incarnation);
            let mut partitions: Vec<_> =
                self.positions.iter().filter(|(partition, _)| &*partition.topic == topic).collect();
            partitions.sort_unstable();
            write_number(bytes, topic.len() as u64);
            bytes.extend_from_slice(topic.as_bytes());
            bytes.extend_from_slice(incarnation.as_bytes());
            write_number(bytes, partitions.len() as u64);
            for (partition, offset) in partitions {
                write_number(bytes, u64::from(partition.number));
                write_number(bytes, *offset);
            }
        }
    }
}

/// Positions as a view stores them, as tokens and queries take them.
#[must_use]
pub fn positions_of(stored: &[StoredPosition]) -> LogPositions {
    stored.iter().map(|at| (at.partition.clone(), at.next_offset)).collect()
}

/// Bytes of a kind as text that is whole or refused.
pub(super) fn seal(kind: TokenKind, payload: &[u8]) -> String {
    let mut bytes = vec![VERSION, kind as u8];
    bytes.extend_from_slice(payload);
    let checksum = checksum(&bytes);
    bytes.extend_from_slice(&checksum);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The bytes of a text of this kind.
pub(super) fn open(kind: TokenKind, text: &str) -> Result<Vec<u8>, TokenError> {
    if text.len() > MAX_TEXT_BYTES {
        return Err(TokenError::Damaged);
    }
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| TokenError::Damaged)?;
    let (rest, sum) = bytes.split_last_chunk::<CHECKSUM_BYTES>().ok_or(TokenError::Damaged)?;
    if checksum(rest) != *sum {
        return Err(TokenError::Damaged);
    }
    match rest {
        [VERSION, found, payload @ ..] if *found == kind as u8 => Ok(payload.to_vec()),
        _ => Err(TokenError::Damaged),
    }
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let digest = Sha256::digest(bytes);
    std::array::from_fn(|index| digest[index])
}

/// A number in as few bytes as it needs, seven bits each.
pub(super) fn write_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// Reads what was sealed.
pub(super) struct Reader<'b>(pub(super) &'b [u8]);

impl Reader<'_> {
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], TokenError> {
        let (array, rest) = self.0.split_first_chunk::<N>().ok_or(TokenError::Damaged)?;
        self.0 = rest;
        Ok(*array)
    }

    pub(super) fn number(&mut self) -> Result<u64, TokenError> {
        let mut number = 0_u64;
        for shift in (0..u64::BITS).step_by(7) {
            let [byte] = self.array()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                return Err(TokenError::Damaged);
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(TokenError::Damaged)
    }

    /// Fails unless everything was read.
    pub(super) fn end(&self) -> Result<(), TokenError> {
        if self.0.is_empty() { Ok(()) } else { Err(TokenError::Damaged) }
    }

    pub(super) fn token(&mut self) -> Result<Token, TokenError> {
        let mut token = Token::default();
        for _ in 0..self.count()? {
            let topic = self.text()?;
            token.incarnations.push((topic.clone(), Uuid::from_bytes(self.array()?)));
            for _ in 0..self.count()? {
                let number = u32::try_from(self.number()?).map_err(|_| TokenError::Damaged)?;
                let offset = self.number()?;
                // Databases count in signed numbers.
                if i64::try_from(offset).is_err() {
                    return Err(TokenError::Damaged);
                }
                token.positions.push((Partition::new(&topic, number), offset));
            }
        }
        Ok(token)
    }

    fn count(&mut self) -> Result<u64, TokenError> {
        self.number().and_then(|count| if count <= MAX_ITEMS { Ok(count) } else { Err(TokenError::Damaged) })
    }

    fn text(&mut self) -> Result<String, TokenError> {
        let length = usize::try_from(self.number()?).map_err(|_| TokenError::Damaged)?;
        let (text, rest) = self.0.split_at_checked(length).ok_or(TokenError::Damaged)?;
        self.0 = rest;
        String::from_utf8(text.to_vec()).map_err(|_| TokenError::Damaged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn token(incarnation: u128) -> Token {
        let incarnations = [("annals.audit".to_owned(), Uuid::from_u128(incarnation))];
        let partition = |number| Partition::new("annals.audit", number);
        Token::new(&incarnations, vec![(partition(0), 7), (partition(3), u64::MAX >> 1)])
    }

    #[test]
    fn a_token_comes_back_and_an_empty_one_is_the_beginning() {
        assert_eq!(Token::parse(&token(1).text()), Ok(token(1)));
        assert_eq!(Token::parse(""), Ok(Token::default()));
        assert_eq!(Token::parse(&Token::default().text()), Ok(Token::default()));
        assert_eq!(token(1).position(&Partition::new("annals.audit", 3)), u64::MAX >> 1);
        assert_eq!(token(1).position(&Partition::new("annals.audit", 1)), 0);
    }

    #[test]
    fn whatever_is_changed_in_a_token_is_noticed() {
        let text = token(1).text();
        for index in 0..text.len() {
            let mut other = text.clone().into_bytes();
            other[index] = if other[index] == b'A' { b'B' } else { b'A' };
            let other = String::from_utf8(other).unwrap();
            // The last digit holds unused bits, which the decoder refuses, too.
            assert_eq!(Token::parse(&other), Err(TokenError::Damaged), "{index}");
        }
        for bad in ["x", "AQ", "=", "é", &text[1..], &text[..text.len() - 1]] {
            assert_eq!(Token::parse(bad), Err(TokenError::Damaged), "{bad}");
        }
        assert_eq!(Token::parse(&seal(TokenKind::Cursor, &[0])), Err(TokenError::Damaged));
    }

    #[test]
    fn a_token_of_another_log_is_told_apart() {
        let known = |id| vec![("annals.audit".to_owned(), Uuid::from_u128(id))];
        assert_eq!(token(1).check_log(&known(1), false), Ok(()));
        assert_eq!(token(1).check_log(&known(2), true), Err(TokenError::AnotherLog));
        assert_eq!(token(1).check_log(&[], false), Err(TokenError::AnotherLog));
        assert_eq!(token(1).check_log(&[], true), Ok(()));
        assert_eq!(Token::default().check_log(&known(1), false), Ok(()));
    }

    #[test]
    fn a_place_moves_forward_only() {
        let mut token = token(1);
        let (first, new) = (Partition::new("annals.audit", 0), Partition::new("annals.audit", 9));
        token.advance(&first, 5);
        assert_eq!(token.position(&first), 7);
        token.advance(&first, 8);
        token.advance(&new, 1);
        assert_eq!((token.position(&first), token.position(&new)), (8, 1));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,80}", bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = Token::parse(&text);
            let _ = Token::parse(&seal(TokenKind::Position, &bytes));
        }

        #[test]
        fn any_number_comes_back(number in any::<u64>()) {
            let mut bytes = Vec::new();
            write_number(&mut bytes, number);
            prop_assert_eq!(Reader(&bytes).number(), Ok(number));
        }
    }
}
