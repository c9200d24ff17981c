//! Who reads in a group.

use bytes::Buf;

use super::settings::KafkaSettings;
use crate::{GroupMember, Partition};

/// The partitions in a member's assignment, as Kafka's consumer protocol writes it: a version, then topics with their
/// partitions, then bytes of the assignor. What is not understood is left out.
pub(super) fn assignment(mut bytes: &[u8], settings: &KafkaSettings) -> Vec<Partition> {
    let mut partitions = Vec::new();
    let _ = read(&mut bytes, settings, &mut partitions);
    partitions
}

fn read(bytes: &mut &[u8], settings: &KafkaSettings, partitions: &mut Vec<Partition>) -> Option<()> {
    let _version = bytes.try_get_i16().ok()?;
    for _ in 0..bytes.try_get_i32().ok()? {
        let length = usize::try_from(bytes.try_get_i16().ok()?).ok()?;
        let topic = std::str::from_utf8(bytes.split_off(..length)?).ok()?;
        let count = bytes.try_get_i32().ok()?;
        for _ in 0..count {
            let number = u32::try_from(bytes.try_get_i32().ok()?).ok()?;
            if let Some(name) = settings.inner_name(topic) {
                partitions.push(Partition::new(name, number));
            }
        }
    }
    Some(())
}

/// A member, from what the group's server tells.
pub(super) fn member(
    client_id: &str,
    host: &str,
    assigned: Option<&[u8]>,
    settings: &KafkaSettings,
) -> GroupMember {
    let mut partitions = assignment(assigned.unwrap_or_default(), settings);
    partitions.sort();
    // Java's servers write the address of a member with a slash before it.
    GroupMember { client_id: client_id.to_owned(), host: host.trim_start_matches('/').to_owned(), partitions }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASSIGNMENT: &[u8] =
        b"\0\0\0\0\0\x02\0\x03x.a\0\0\0\x02\0\0\0\0\0\0\0\x05\0\x01b\0\0\0\x01\0\0\0\x01\0\0\0\0";

    #[test]
    fn an_assignment_is_read() {
        let settings = KafkaSettings::parse("kafka://h:1?topic_prefix=x.").unwrap();
        let member = member("me", "/127.0.0.1", Some(ASSIGNMENT), &settings);
        assert_eq!((member.client_id.as_str(), member.host.as_str()), ("me", "127.0.0.1"));
        assert_eq!(member.partitions, [Partition::new("a", 0), Partition::new("a", 5)]);
    }

    #[test]
    fn a_cut_or_strange_assignment_does_no_harm() {
        let settings = KafkaSettings::parse("kafka://h:1").unwrap();
        for end in 0..ASSIGNMENT.len() {
            assert!(assignment(&ASSIGNMENT[..end], &settings).len() <= 3);
        }
        let endless = b"\0\0\x7f\xff\xff\xff\xff\xff";
        assert!(assignment(endless, &settings).is_empty());
        assert!(assignment(b"", &settings).is_empty());
    }
}
