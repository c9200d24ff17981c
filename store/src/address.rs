//! Addresses as views keep them: 16 bytes, an IPv4 address in its IPv6-mapped form, so that both sort together.

use std::net::{IpAddr, Ipv6Addr};

/// The stored form.
#[must_use]
pub fn to_bytes(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

/// Back from the stored form; `None` for bytes that are none.
#[must_use]
pub fn from_bytes(bytes: &[u8]) -> Option<IpAddr> {
    let octets: [u8; 16] = bytes.try_into().ok()?;
    Some(Ipv6Addr::from(octets).to_canonical())
}

/// Reads an address as clients write it, in canonical form.
#[must_use]
pub fn parse(text: &str) -> Option<IpAddr> {
    text.trim().parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapped_address_is_the_plain_one() {
        let plain = parse("172.18.39.5").unwrap();
        assert_eq!(parse("::ffff:172.18.39.5"), Some(plain));
        assert_eq!(from_bytes(&to_bytes(plain)), Some(plain));
        assert_eq!(from_bytes(b"x"), None);
        assert_eq!(parse("-"), None);
    }
}
