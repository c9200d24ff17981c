//! Reading a request's body, bounded.

use axum::body::Body;
use bytes::BytesMut;
use futures_util::StreamExt;

/// Bytes beyond the limit that are still read and dropped. A client that is not listened to any more gets a reset
/// connection in place of the answer that says why.
const MAX_DRAINED_BYTES: usize = 8 * 1024 * 1024;

/// Why a body was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyError {
    /// It is longer than the limit.
    TooLong,
    /// It ended before its end, or its framing is broken.
    Broken,
}

/// The body, of at most `limit` bytes.
pub(crate) async fn read(body: Body, limit: usize) -> Result<BytesMut, BodyError> {
    let mut stream = body.into_data_stream();
    let mut read = BytesMut::new();
    let mut size = 0_usize;
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|_| BodyError::Broken)?;
        size = size.saturating_add(chunk.len());
        if size <= limit {
            read.extend_from_slice(&chunk);
        } else {
            read.clear();
            if size > limit.saturating_add(MAX_DRAINED_BYTES) {
                break;
            }
        }
    }
    if size > limit { Err(BodyError::TooLong) } else { Ok(read) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_is_read_up_to_its_limit() {
        assert_eq!(read(Body::empty(), 0).await, Ok(BytesMut::new()));
        assert_eq!(read(Body::from("abc"), 3).await, Ok(BytesMut::from("abc")));
        assert_eq!(read(Body::from("abcd"), 3).await, Err(BodyError::TooLong));
        let endless = futures_util::stream::repeat_with(|| Ok::<_, std::io::Error>("x".repeat(1 << 20)));
        assert_eq!(read(Body::from_stream(endless), 3).await, Err(BodyError::TooLong));
        let broken = futures_util::stream::iter([Ok("a"), Err(std::io::Error::other("cut"))]);
        assert_eq!(read(Body::from_stream(broken), 3).await, Err(BodyError::Broken));
    }
}
