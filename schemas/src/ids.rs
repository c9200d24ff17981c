//! Identifiers: the fixed namespace of derived ids, the reserved operator customer, and how ids are shown.

use uuid::{Uuid, uuid};

/// Namespace of every id that annals derives (v5). Never changes: known ids of old imports depend on it.
pub const NAMESPACE: Uuid = uuid!("6f1d5a0e-9c53-5b0e-8a53-0b0d5a1c7e11");

/// The reserved customer that owns the installation. Events that belong to nobody known go here.
pub const OPERATOR_CUSTOMER: Uuid = uuid!("00000000-0000-7000-8000-000000000001");

/// The actor of what annals does by itself.
pub const SYSTEM_ACTOR: Uuid = uuid!("00000000-0000-7000-8000-000000000002");

/// Derives a v5 id from `parts`. Parts are length-prefixed, so `("a", "bc")` and `("ab", "c")` differ.
#[must_use]
pub fn derived(kind: &str, parts: &[&[u8]]) -> Uuid {
    let mut name = Vec::with_capacity(kind.len() + parts.iter().map(|p| p.len() + 8).sum::<usize>() + 1);
    name.extend_from_slice(kind.as_bytes());
    name.push(0);
    for part in parts {
        name.extend_from_slice(&(part.len() as u64).to_be_bytes());
        name.extend_from_slice(part);
    }
    Uuid::new_v5(&NAMESPACE, &name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derived_ids_depend_on_kind_parts_and_their_borders() {
        let id = derived("sid", &[b"a", b"bc"]);
        assert_eq!(id, derived("sid", &[b"a", b"bc"]));
        assert_ne!(id, derived("sid", &[b"ab", b"c"]));
        assert_ne!(id, derived("name", &[b"a", b"bc"]));
        assert_eq!(id.get_version_num(), 5);
    }
}
