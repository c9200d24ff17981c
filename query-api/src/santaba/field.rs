//! The fields of a record: the one list of their names, for answers, `fields`, `sort` and `filter`.

use annals_views::audit_log::SortKey;

/// A field of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Field {
    /// The id, an opaque text.
    Id,
    /// Who did it.
    Username,
    /// When, in seconds since 1970.
    HappenedOn,
    /// When, in the zone of the customer.
    HappenedOnLocal,
    /// From where.
    Ip,
    /// The sign-in during which it was done.
    SessionId,
    /// What was done.
    Description,
}

impl Field {
    /// Every field, in the order of the seed's samples.
    pub const ALL: [Self; 7] = [
        Self::Id,
        Self::Username,
        Self::HappenedOn,
        Self::HappenedOnLocal,
        Self::Ip,
        Self::SessionId,
        Self::Description,
    ];

    /// The name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::Username => "username",
            Self::HappenedOn => "happenedOn",
            Self::HappenedOnLocal => "happenedOnLocal",
            Self::Ip => "ip",
            Self::SessionId => "sessionId",
            Self::Description => "description",
        }
    }

    /// The field of a name. Case counts.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|field| field.name() == name)
    }

    /// What rows are sorted by. Local times of several zones have no order that anybody could use.
    #[must_use]
    pub const fn sort_key(self) -> Option<SortKey> {
        match self {
            Self::Id => Some(SortKey::EventId),
            Self::Username => Some(SortKey::Account),
            Self::HappenedOn => Some(SortKey::Time),
            Self::HappenedOnLocal => None,
            Self::Ip => Some(SortKey::Address),
            Self::SessionId => Some(SortKey::SignIn),
            Self::Description => Some(SortKey::Description),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_found_by_its_own_name_only() {
        for field in Field::ALL {
            assert_eq!(Field::named(field.name()), Some(field));
        }
        for bad in ["", "ID", "happenedon", "_all", "username "] {
            assert_eq!(Field::named(bad), None, "{bad}");
        }
    }

    #[test]
    fn every_field_of_the_seed_sorts() {
        for name in ["username", "happenedOn", "sessionId"] {
            assert!(Field::named(name).unwrap().sort_key().is_some(), "{name}");
        }
    }
}
