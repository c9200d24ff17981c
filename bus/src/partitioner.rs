//! Where a key goes: murmur2, as Kafka's Java clients have it (`murmur2_random` in librdkafka), in both engines, so
//! that a log can move from one to the other and foreign producers agree with ours.

/// The partition of a key.
#[must_use]
pub fn partition_of(key: &[u8], partitions: u32) -> u32 {
    // Kafka drops the sign bit; it does not take the absolute value.
    (murmur2(key) & 0x7FFF_FFFF) % partitions.max(1)
}

/// Kafka's murmur2 with its fixed seed.
#[must_use]
pub fn murmur2(data: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_B28C;
    const M: u32 = 0x5BD1_E995;
    const R: u32 = 24;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the hash is defined on the length as a 32-bit number"
    )]
    let mut hash = SEED ^ data.len() as u32;
    let (words, rest) = data.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word);
        k = k.wrapping_mul(M);
        k ^= k >> R;
        k = k.wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ k;
    }
    if !rest.is_empty() {
        for (index, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * index);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_that_of_kafkas_own_tests() {
        let cases: [(&[u8], i32); 6] = [
            (b"21", -973_932_308),
            (b"foobar", -790_332_482),
            (b"a-little-bit-long-string", -985_981_536),
            (b"a-little-bit-longer-string", -1_486_304_829),
            (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            (b"abc", 479_470_107),
        ];
        for (key, hash) in cases {
            assert_eq!(murmur2(key).cast_signed(), hash);
        }
    }

    #[test]
    fn a_partition_is_always_one_of_them() {
        for n in 0..1000_u32 {
            assert!(partition_of(&n.to_be_bytes(), 4) < 4);
        }
        assert_eq!(partition_of(b"x", 1), 0);
    }
}
