use proptest::prelude::*;

use super::*;
use crate::{id::OutboxId, mac::SigningKey};

const NOW: u64 = 1_800_000_000_000;
const ALICE: Bearer<'_> = Bearer { user: "alice", device: "phone" };

fn key(byte: u8) -> SigningKey {
    SigningKey::new([byte; 16])
}

fn hex(byte: u8) -> String {
    format!("{byte:02x}").repeat(16)
}

fn mark() -> Mark {
    Mark { levels: (0, 127), until_unix_ms: NOW + 7, outbox: Some(OutboxId(3)), service: "main".into() }
}

fn ticket() -> Ticket {
    Ticket {
        user: "alice".into(),
        device: "phone".into(),
        last_epoch: Epoch(NOW - 5),
        tier: "vip".into(),
        mark: Some(mark()),
        redirect: Some(Redirect { origin: "gateway-1".into(), hops: 2 }),
        expires_unix_ms: NOW + 1,
    }
}

#[test]
fn what_was_issued_is_read_until_it_expires() {
    let keys = Keys::one(key(1));
    let issued = keys.issue(ticket());
    assert_eq!(keys.read(&issued, ALICE, NOW), Ok(ticket()));
    assert_eq!(keys.read(&issued, ALICE, NOW + 1), Err(Fault::Expired));
    let plain = Ticket { redirect: None, mark: None, tier: String::new(), last_epoch: Epoch(0), ..ticket() };
    assert_eq!(keys.read(&keys.issue(plain.clone()), ALICE, NOW), Ok(plain));
}

/// An SDK must not depend on this, but gateways of different versions do.
#[test]
fn a_ticket_has_these_bytes_for_ever() {
    let small = Ticket { user: "a".into(), device: "b".into(), expires_unix_ms: 3, ..Ticket::default() };
    let issued = Keys::one(key(7)).issue(small);
    let text: String = issued.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(text, GOLDEN);
}

const GOLDEN: &str = "01a372ff5c2dfe45a385f32cc21a6b3f6295309b060a01611201624003";

#[test]
fn the_mark_in_a_ticket_has_these_bytes_for_ever() {
    let mark = Mark { levels: (1, 2), until_unix_ms: 3, outbox: Some(OutboxId(4)), service: "s".into() };
    let small = Ticket { user: "a".into(), device: "b".into(), mark: Some(mark), ..Ticket::default() };
    let text: String = pb::Ticket::from(small).encode_to_vec().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(text, "0a01611201622a1208011002180321".to_owned() + "0400000000000000" + "2a0173");
}

#[test]
fn a_mark_is_due_until_its_time_and_to_its_session() {
    assert!(mark().is_due_to(OutboxId(3), NOW + 6));
    assert!(!mark().is_due_to(OutboxId(3), NOW + 7) && !mark().is_due_to(OutboxId(4), NOW));
    assert!(Mark { outbox: None, ..mark() }.is_due_to(OutboxId(4), NOW));
}

#[test]
fn a_mark_that_no_gateway_grants_is_malformed_even_if_signed() {
    let keys = Keys::one(key(1));
    let long = "x".repeat(MAX_NAME_BYTES + 1);
    let odd =
        [Mark { levels: (0, 128), ..mark() }, Mark { levels: (9, 8), ..mark() }, Mark { service: long, ..mark() }];
    for mark in odd {
        let issued = keys.issue(Ticket { mark: Some(mark), ..ticket() });
        assert_eq!(keys.read(&issued, ALICE, NOW), Err(Fault::Malformed));
    }
}

#[test]
fn the_largest_ticket_is_read() {
    let keys = Keys::one(key(1));
    let name = || "x".repeat(MAX_NAME_BYTES);
    let largest = Ticket {
        user: name(),
        device: name(),
        last_epoch: Epoch(u64::MAX),
        tier: name(),
        mark: Some(Mark { until_unix_ms: u64::MAX, service: name(), ..mark() }),
        redirect: Some(Redirect { origin: name(), hops: u32::MAX }),
        expires_unix_ms: u64::MAX,
    };
    let bearer = Bearer { user: &name(), device: &name() };
    assert_eq!(keys.read(&keys.issue(largest.clone()), bearer, NOW), Ok(largest));
}

#[test]
fn a_ticket_is_of_no_use_to_anybody_else() {
    let keys = Keys::one(key(1));
    let issued = keys.issue(ticket());
    for bearer in [Bearer { user: "bob", ..ALICE }, Bearer { device: "tablet", ..ALICE }] {
        assert_eq!(keys.read(&issued, bearer, NOW), Err(Fault::Foreign));
    }
}

#[test]
fn the_first_key_signs_and_all_of_them_verify() {
    let old = Keys::one(key(1));
    let both = Keys::parse(&format!("# new\n{}\n\n  {}  \n", hex(2), hex(1))).unwrap();
    let new = Keys::parse(&hex(2)).unwrap();
    assert_eq!((both.count(), new.count()), (2, 1));
    assert_eq!(both.read(&old.issue(ticket()), ALICE, NOW), Ok(ticket()));
    assert_eq!(new.read(&both.issue(ticket()), ALICE, NOW), Ok(ticket()));
    assert_eq!(new.read(&old.issue(ticket()), ALICE, NOW), Err(Fault::UnknownKey));
}

#[test]
fn a_file_of_keys_says_what_is_wrong_with_it_and_shows_none() {
    for (text, fault) in [
        ("", KeysFault::Empty),
        ("# none\n\n", KeysFault::Empty),
        ("xyz", KeysFault::NoKey(1)),
        (&format!("{}\n{}0", hex(1), hex(2)), KeysFault::NoKey(2)),
        (&format!("{}\n\n{}", hex(1), hex(1)), KeysFault::Twice(3)),
        (&(0..17).map(|byte| hex(byte) + "\n").collect::<String>(), KeysFault::TooMany),
    ] {
        assert_eq!(Keys::parse(text), Err(fault));
    }
    let shown = format!("{:?}", Keys::parse(&hex(0xab)).unwrap());
    assert!(!shown.contains("abab") && !shown.contains("171"), "{shown}");
}

#[test]
fn another_version_or_a_part_of_a_ticket_is_malformed() {
    let keys = Keys::one(key(1));
    let issued = keys.issue(ticket());
    let mut other = issued.clone();
    other[0] = 2;
    assert_eq!(keys.read(&other, ALICE, NOW), Err(Fault::Malformed));
    for end in 0..HEAD_BYTES {
        assert_eq!(keys.read(&issued[..end], ALICE, NOW), Err(Fault::Malformed));
    }
    assert_eq!(keys.read(&[1; MAX_BYTES + 1], ALICE, NOW), Err(Fault::Malformed));
}

#[test]
fn names_longer_than_any_user_has_are_malformed_even_if_signed() {
    let keys = Keys::one(key(1));
    let long = "x".repeat(MAX_NAME_BYTES + 1);
    for odd in [Ticket { user: long.clone(), ..ticket() }, Ticket { tier: long.clone(), ..ticket() }] {
        let bearer = Bearer { user: &odd.user.clone(), ..ALICE };
        assert_eq!(keys.read(&keys.issue(odd), bearer, NOW), Err(Fault::Malformed));
    }
}

#[test]
fn the_class_of_a_login_comes_from_a_ticket_or_is_the_last_one() {
    let plain = Ticket { redirect: None, ..ticket() };
    for coming in [Coming::New, Coming::Back, Coming::Redirected] {
        assert_eq!(Class::of(None, coming), Class::New);
    }
    assert_eq!(Class::of(Some(&plain), Coming::Back), Class::Resuming);
    assert_eq!(Class::of(Some(&plain), Coming::Redirected), Class::Redirected);
    assert_eq!(Class::of(Some(&ticket()), Coming::New), Class::Redirected);
    assert_eq!(Class::of(Some(&plain), Coming::New), Class::Known);
}

#[test]
fn the_levels_of_the_classes_are_apart_and_in_order() {
    let levels = |class: Class| class.levels((0, 127));
    assert_eq!(levels(Class::Resuming), (0, 31));
    assert_eq!(levels(Class::Redirected), (32, 63));
    assert_eq!(levels(Class::Known), (64, 95));
    assert_eq!(levels(Class::New), (96, 127));
    assert_eq!(Class::Known.levels((0, 15)), (64, 67));
    assert_eq!(Class::Known.levels((16, 127)), (68, 95));
}

proptest! {
    #[test]
    fn whatever_is_shown_is_judged_and_nothing_changed_counts(
        bytes in prop::collection::vec(any::<u8>(), 0..200), at in any::<prop::sample::Index>(), change in 1..=255_u8,
    ) {
        let keys = Keys::one(key(1));
        prop_assert!(keys.read(&bytes, ALICE, NOW).is_err());
        let mut issued = keys.issue(ticket());
        issued[at.index(HEAD_BYTES)] ^= change;
        prop_assert!(keys.read(&issued, ALICE, NOW).is_err());
        let mut issued = keys.issue(ticket());
        let at = at.index(issued.len());
        issued[at] ^= change;
        prop_assert!(keys.read(&issued, ALICE, NOW).is_err());
    }
}
