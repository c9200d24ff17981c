//! The fingerprint of a schema: CRC-64-AVRO of its parsing canonical form, as Avro's specification has it.
//!
//! apache-avro 0.22 takes another one: it strips the logical type of `{"type": "long", "logicalType": …}` and leaves
//! `{"type":"long"}`, which the specification writes `"long"` (AVRO-4004). Java and Python would not know a schema of
//! ours by that, nor we one of theirs.

use apache_avro::Schema;
use apache_avro::rabin::Rabin;

/// What the CRC begins with, and its polynomial.
const EMPTY: u64 = 0xc15d_213a_a4d7_a795;

const PRIMITIVES: [&str; 8] = ["null", "boolean", "int", "long", "float", "double", "bytes", "string"];

/// CRC-64-AVRO fingerprint of a writer's schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub u64);

impl std::fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl Fingerprint {
    /// The fingerprint of a schema.
    #[must_use]
    pub fn of(schema: &Schema) -> Self {
        let mut canonical = schema.canonical_form();
        // Names have neither quotes nor braces, so that this text is nothing but a type.
        for name in PRIMITIVES {
            canonical = canonical.replace(&format!(r#"{{"type":"{name}"}}"#), &format!(r#""{name}""#));
        }
        Self(crc64(canonical.as_bytes()))
    }

    /// The one that apache-avro takes. annals wrote it before it took the standard's; such records are read for ever.
    pub(crate) fn of_the_library(schema: &Schema) -> Option<Self> {
        let digest = schema.fingerprint::<Rabin>().bytes;
        Some(Self(u64::from_le_bytes(digest.as_slice().try_into().ok()?)))
    }
}

fn crc64(bytes: &[u8]) -> u64 {
    bytes.iter().fold(EMPTY, |crc, byte| {
        (0..8).fold(crc ^ u64::from(*byte), |crc, _| (crc >> 1) ^ (EMPTY & (crc & 1).wrapping_neg()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{by_fingerprint, schemas};

    /// As `SchemaNormalization.parsingFingerprint64` of Avro 1.12.0 for Java gives them, and fastavro 1.13.1 (with its
    /// bytes in the order in which they stand in a record).
    const IN_JAVA: [(&str, u64); 8] = [
        ("LoginSucceeded", 0xfe4f_2d46_5645_d8ee),
        ("LoginFailed", 0x1b44_e0c5_ab82_dad6),
        ("LoggedOut", 0xd41b_4cd6_e91a_d1f8),
        ("ConfigurationChanged", 0xcf40_b061_fd41_c00d),
        ("ActionRecorded", 0xcf10_a5c1_5112_fa06),
        ("HostLoggedOn", 0x1528_a04c_4479_7af3),
        ("HostLoggedOff", 0x9880_9753_88c3_3cff),
        ("HostLogonFailed", 0xa3e9_fbd6_b90d_9b34),
    ];

    #[test]
    fn fingerprints_are_those_of_other_languages() {
        for (name, fingerprint) in IN_JAVA {
            let ours = schemas().iter().find(|ours| ours.version == 1 && ours.event_type.name() == name);
            assert_eq!(ours.unwrap().fingerprint, Fingerprint(fingerprint), "{name}");
        }
    }

    #[test]
    fn the_crc_is_the_specifications() {
        // Of the canonical forms `"null"` and `"int"`; from the test cases of Avro for Java.
        assert_eq!(crc64(b"\"null\""), 7_195_948_357_588_979_594);
        assert_eq!(crc64(b"\"int\""), 8_247_732_601_305_521_295);
    }

    #[test]
    fn records_with_the_librarys_fingerprint_are_still_known() {
        for schema in schemas() {
            let old = Fingerprint::of_the_library(schema.schema).unwrap();
            assert_ne!(old, schema.fingerprint);
            assert_eq!(by_fingerprint(old).unwrap().fingerprint, schema.fingerprint);
        }
    }
}
