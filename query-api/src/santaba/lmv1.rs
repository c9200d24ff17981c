//! LMv1, the signature by which LogicMonitor's clients show that they have an access key (docs/dialects.md, "santaba":
//! Credentials): `Authorization: LMv1 ACCESS-ID:SIGNATURE:EPOCH`. EPOCH is in milliseconds.
//!
//! The signature is the base64 of the **hexadecimal text** of an HMAC-SHA256 over method, epoch, body and path, one
//! after the other. The query is not signed. A signature can be sent again while its time is good: that is the
//! vendor's scheme, and harmless where only GET exists.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, TimeDelta, Utc};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// How far a client's clock may be from this server's, either way.
pub const WINDOW: TimeDelta = TimeDelta::minutes(30);

/// The bytes of a request that are signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedParts {
    /// The method, in capitals.
    pub method: String,
    /// The body as it came.
    pub body: Vec<u8>,
    /// The paths of which the client may have signed any: what follows `/santaba/rest`.
    pub paths: Vec<Vec<u8>>,
}

/// What stands behind `LMv1`.
#[derive(Clone, PartialEq, Eq)]
pub struct Lmv1 {
    /// Whose key signed.
    pub access_id: String,
    signature: Vec<u8>,
    epoch: String,
    at: DateTime<Utc>,
}

impl Lmv1 {
    /// Reads `ACCESS-ID:SIGNATURE:EPOCH`. None when it is anything else, also when the signature is no hexadecimal text
    /// of 32 bytes.
    #[must_use]
    pub fn parse(credentials: &str) -> Option<Self> {
        let mut parts = credentials.trim().rsplitn(3, ':');
        let (epoch, signature, access_id) = (parts.next()?, parts.next()?, parts.next()?);
        if access_id.is_empty() || !epoch.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let hexadecimal = STANDARD.decode(signature).ok()?;
        if hexadecimal.iter().any(u8::is_ascii_uppercase) {
            return None;
        }
        let signature = hex::decode(hexadecimal).ok().filter(|bytes| bytes.len() == 32)?;
        let at = DateTime::from_timestamp_millis(epoch.parse().ok()?)?;
        Some(Self { access_id: access_id.to_owned(), signature, epoch: epoch.to_owned(), at })
    }

    /// Whether `key` signed this request, and not too long ago. Takes as long for every wrong signature.
    #[must_use]
    pub fn is_good(&self, key: &str, request: &SignedParts, now: DateTime<Utc>) -> bool {
        let in_time = (now - self.at).abs() <= WINDOW;
        // Every path is tried, whatever comes of the others.
        let signed = request.paths.iter().fold(false, |signed, path| {
            let mac = mac(key, &request.method, &self.epoch, &request.body, path);
            signed | mac.is_some_and(|mac| mac.verify_slice(&self.signature).is_ok())
        });
        in_time & signed
    }
}

/// HMAC takes a key of any length, so that there always is one.
fn mac(key: &str, method: &str, epoch: &str, body: &[u8], path: &[u8]) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).ok()?;
    for part in [method.as_bytes(), epoch.as_bytes(), body, path] {
        mac.update(part);
    }
    Some(mac)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEY: &str = "bar-key-0123456789";
    const EPOCH: &str = "1436460382000";
    const PATH: &[u8] = b"/setting/accesslogs";

    /// Computed from the vendor's description, and by the vendor's own client (notes on LogicMonitor, section 5).
    const VECTORS: [(&str, &str, &str); 2] = [
        (
            KEY,
            EPOCH,
            "ODU0Y2QwNWExMWI4NmJmZWJlZDllZmUzNDMxNzUzZTlmNTE1MzA5YmQzN2E4NjViMzA5OWRlNDUwNzY0NzA3YQ==",
        ),
        (
            "KEY1",
            "1795310953256",
            "MDc2ZGE1YzYzNzU3YWI5OGU2NGUzNTkwZDRlMmYzYWQ4YTYxZDkyMWJkOGI4NDBlMTNkOTBiZTJlZDI4YTY1ZA==",
        ),
    ];

    fn signature(key: &str, method: &str, epoch: &str, body: &[u8], path: &[u8]) -> String {
        STANDARD.encode(hex::encode(mac(key, method, epoch, body, path).unwrap().finalize().into_bytes()))
    }

    fn request() -> SignedParts {
        SignedParts { method: "GET".to_owned(), body: Vec::new(), paths: vec![PATH.to_vec()] }
    }

    fn at(epoch: &str) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(epoch.parse().unwrap()).unwrap()
    }

    fn header(signature: &str) -> Option<Lmv1> {
        Lmv1::parse(&format!("id:{signature}:{EPOCH}"))
    }

    fn good() -> Lmv1 {
        header(VECTORS[0].2).unwrap()
    }

    #[test]
    fn both_vectors_are_made_and_accepted() {
        for (key, epoch, expected) in VECTORS {
            assert_eq!(signature(key, "GET", epoch, b"", PATH), expected);
            let lmv1 = Lmv1::parse(&format!(" an:id:{expected}:{epoch} ")).unwrap();
            assert_eq!(lmv1.access_id, "an:id");
            assert!(lmv1.is_good(key, &request(), at(epoch)));
            assert!(!lmv1.is_good(&format!("{key}x"), &request(), at(epoch)));
        }
    }

    #[test]
    fn every_signed_part_counts_and_any_of_the_paths_is_enough() {
        let (good, now) = (good(), at(EPOCH));
        for changed in [
            SignedParts { method: "HEAD".to_owned(), ..request() },
            SignedParts { body: b"{}".to_vec(), ..request() },
            SignedParts { paths: vec![b"/setting/accesslogs/".to_vec()], ..request() },
            SignedParts { paths: Vec::new(), ..request() },
        ] {
            assert!(!good.is_good(KEY, &changed, now), "{changed:?}");
        }
        let several = SignedParts { paths: vec![b"/x".to_vec(), PATH.to_vec(), b"/y".to_vec()], ..request() };
        assert!(good.is_good(KEY, &several, now));
        let another_time = Lmv1::parse(&format!("id:{}:1436460382001", VECTORS[0].2)).unwrap();
        assert!(!another_time.is_good(KEY, &request(), now));
    }

    #[test]
    fn clocks_may_be_half_an_hour_apart() {
        let (good, signed_at) = (good(), at(EPOCH));
        let past = TimeDelta::milliseconds(1);
        for (now, accepted) in [
            (signed_at + WINDOW, true),
            (signed_at - WINDOW, true),
            (signed_at + WINDOW + past, false),
            (signed_at - WINDOW - past, false),
            (DateTime::<Utc>::MAX_UTC, false),
            (DateTime::<Utc>::MIN_UTC, false),
        ] {
            assert_eq!(good.is_good(KEY, &request(), now), accepted, "{now}");
        }
    }

    #[test]
    fn the_base64_of_the_bytes_themselves_is_refused() {
        let bytes = hex::decode(STANDARD.decode(VECTORS[0].2).unwrap()).unwrap();
        assert!(header(&STANDARD.encode(&bytes)).is_none());
        assert!(header(&STANDARD.encode(hex::encode_upper(&bytes))).is_none());
        assert!(header(&hex::encode(&bytes)).is_none());
        assert!(header(VECTORS[0].2.trim_end_matches('=')).is_none());
        assert!(header(&STANDARD.encode(&hex::encode(&bytes)[..62])).is_none());
        assert!(header(&STANDARD.encode(hex::encode(&bytes) + "00")).is_none());
    }

    #[test]
    fn what_is_not_three_parts_is_refused() {
        let signature = VECTORS[0].2;
        for bad in [
            String::new(),
            ":".to_owned(),
            "::".to_owned(),
            format!(":{signature}:{EPOCH}"),
            format!("{signature}:{EPOCH}"),
            format!("id:{signature}"),
            format!("id:{signature}:"),
            format!("id:{signature}:-1"),
            format!("id:{signature}:+1"),
            format!("id:{signature}:1e3"),
            format!("id:{signature}:99999999999999999999"),
            format!("id:{signature}:9223372036854775807"),
        ] {
            assert!(Lmv1::parse(&bad).is_none(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[a-z:]{0,4}:?[A-Za-z0-9+/=]{0,90}:[0-9]{0,20}|.*") {
            if let Some(lmv1) = Lmv1::parse(&text) {
                prop_assert!(!lmv1.is_good(KEY, &request(), at(EPOCH)));
            }
        }

        #[test]
        fn whoever_has_the_key_is_accepted(
            key in ".{0,80}", method in "[A-Z]{1,7}", body in any::<Vec<u8>>(), path in any::<Vec<u8>>()
        ) {
            let made = signature(&key, &method, EPOCH, &body, &path);
            let lmv1 = header(&made).unwrap();
            let request = SignedParts { method, body, paths: vec![path] };
            prop_assert!(lmv1.is_good(&key, &request, at(EPOCH)));
        }
    }
}
