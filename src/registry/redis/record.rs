//! How routes and homes look in Redis.

use redis::ToRedisArgs;

use crate::{
    id::{Epoch, Incarnation},
    registry::Home,
};

/// What a device's field of its user's hash says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) epoch: Epoch,
    pub(super) incarnation: Incarnation,
}

impl Record {
    /// `None` for what is left of a deleted route.
    pub(super) fn parse(value: &[u8]) -> Option<Self> {
        let (epoch, rest) = value.split_first_chunk()?;
        let incarnation = rest.try_into().ok()?;
        Some(Self {
            epoch: Epoch(u64::from_be_bytes(*epoch)),
            incarnation: Incarnation(u64::from_be_bytes(incarnation)),
        })
    }
}

/// A number as the scripts take it.
pub(super) fn number(value: u64) -> impl ToRedisArgs {
    value.to_be_bytes().to_vec()
}

/// The text of a home: where, and who.
pub(super) fn home_text(home: &Home) -> String {
    format!("{} {}", home.address, home.gateway)
}

/// The home that a text tells of. `None` if it tells of none.
pub(super) fn parse_home(incarnation: Incarnation, text: &str) -> Option<Home> {
    let (address, gateway) = text.split_once(' ')?;
    Some(Home { gateway: gateway.to_owned(), incarnation, address: address.to_owned() })
}

/// What every key of a user contains, so that Redis Cluster keeps them on one node. For `ann`, `{user:ann}`.
pub fn hash_tag(user: &str) -> String {
    let mut tag = String::from("{user:");
    for &byte in user.as_bytes() {
        // A brace would end the tag, and the rest is for people who look at keys.
        if byte.is_ascii_alphanumeric() || b"-_.@+".contains(&byte) {
            tag.push(char::from(byte));
        } else {
            tag.push_str(&format!("%{byte:02x}"));
        }
    }
    tag + "}"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_tag_has_no_brace_inside_and_is_never_empty() {
        assert_eq!(hash_tag("ann"), "{user:ann}");
        assert_eq!(hash_tag("a}b{c é"), "{user:a%7db%7bc%20%c3%a9}");
        assert_eq!(hash_tag(""), "{user:}");
        assert_ne!(hash_tag("%7d"), hash_tag("}"));
    }

    #[test]
    fn only_a_route_is_read_as_one() {
        let mut value = vec![0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 9];
        assert_eq!(Record::parse(&value), Some(Record { epoch: Epoch(258), incarnation: Incarnation(9) }));
        value.truncate(12);
        assert_eq!(Record::parse(&value), None);
        assert_eq!(Record::parse(b"short"), None);
    }

    #[test]
    fn a_home_comes_back_as_it_was() {
        let home = Home { gateway: "name with spaces".into(), incarnation: Incarnation(3), address: "[::1]:7".into() };
        assert_eq!(parse_home(home.incarnation, &home_text(&home)), Some(home));
        assert_eq!(parse_home(Incarnation(3), "nonsense"), None);
    }
}
