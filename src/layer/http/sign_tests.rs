//! Forged, replayed and expired signatures.

use proptest::prelude::*;

use super::*;
use crate::admission::Level;

const NOW: u64 = 1_700_000_000_000;
const KEY: SigningKey = SigningKey::new(*b"0123456789abcdef");
const ANN: Signed<'_> = Signed { value: Value::from_bits(77), user: Some("ann") };

fn pair() -> (Signer, Verifier) {
    (Signer::new(KEY, "timeline"), Verifier::new(KEY, "timeline"))
}

#[test]
fn what_was_signed_counts_once() {
    let (signer, verifier) = pair();
    let signature = signer.sign(ANN, NOW);
    assert_eq!(verifier.verify(ANN, &signature, NOW), Ok(()));
    assert_eq!(verifier.verify(ANN, &signature, NOW), Err(SignatureFault::Replayed));
    assert_eq!(verifier.verify(ANN, &signature, NOW + 9_999), Err(SignatureFault::Replayed));
    assert_eq!(verifier.verify(ANN, &signer.sign(ANN, NOW), NOW), Ok(()), "the next call has a nonce of its own");
}

#[test]
fn replays_count_where_they_are_allowed() {
    let (signer, verifier) = pair();
    let verifier = verifier.allow_replays();
    let signature = signer.sign(ANN, NOW);
    assert_eq!(verifier.verify(ANN, &signature, NOW), Ok(()));
    assert_eq!(verifier.verify(ANN, &signature, NOW + 9_999), Ok(()));
    assert_eq!(verifier.verify(ANN, &signature, NOW + 10_000), Err(SignatureFault::Expired));
}

#[test]
fn another_level_user_audience_or_key_is_forged() {
    let (signer, verifier) = pair();
    let signature = signer.sign(ANN, NOW);
    let better = Signed { value: Value::new(Level::MOST_IMPORTANT, 0), ..ANN };
    let other = Signed { user: Some("bob"), ..ANN };
    let nobody = Signed { user: None, ..ANN };
    for claim in [better, other, nobody] {
        assert_eq!(verifier.verify(claim, &signature, NOW), Err(SignatureFault::Forged), "{claim:?}");
    }
    let payment = Verifier::new(KEY, "payment");
    assert_eq!(payment.verify(ANN, &signature, NOW), Err(SignatureFault::Forged));
    let stranger = Verifier::new(SigningKey::new([7; 16]), "timeline");
    assert_eq!(stranger.verify(ANN, &signature, NOW), Err(SignatureFault::Forged));
    assert_eq!(stranger.also(KEY).verify(ANN, &signature, NOW), Ok(()), "while a key is replaced both count");
}

#[test]
fn a_longer_life_cannot_be_had() {
    let (signer, verifier) = pair();
    let signature = signer.sign(ANN, NOW);
    let later = signature.replace(&(NOW + 10_000).to_string(), &(NOW + 20_000).to_string());
    assert_eq!(verifier.verify(ANN, &later, NOW), Err(SignatureFault::Forged));
    let eternal = signer.lifetime(Duration::MAX).sign(ANN, NOW);
    assert_eq!(verifier.verify(ANN, &eternal, NOW), Err(SignatureFault::TooLong));
}

#[test]
fn what_cannot_be_remembered_does_not_count() {
    let mut seen = Seen::new(2);
    assert_eq!([1, 2, 3].map(|mac| seen.insert(mac, NOW)), [Ok(()), Ok(()), Err(SignatureFault::TooMany)]);
    assert_eq!(seen.insert(3, NOW + 15_000), Ok(()));
}

#[test]
fn a_key_is_32_hexadecimal_digits() {
    let key = SigningKey::from_hex("30313233343536373839616263646566").unwrap();
    assert_eq!(key, KEY);
    for bad in ["", "+0313233343536373839616263646566", "303132", "3031323334353637383961626364656g"] {
        assert_eq!(SigningKey::from_hex(bad).unwrap_err(), KeyError, "{bad}");
    }
    assert_eq!(format!("{key:?}"), "SigningKey(..)");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_remembered_signature_never_counts_twice_before_it_expires(
        first in 0..40_000_u64, others in prop::collection::vec(0..40_000_u64, 0..20), after in 0..15_000_u64,
    ) {
        let mut seen = Seen::new(100);
        let mut others: Vec<_> = others.into_iter().enumerate().map(|(mac, at)| (at, mac as u64 + 1)).collect();
        others.sort_unstable();
        for &(at, mac) in others.iter().filter(|(at, _)| *at <= first) {
            seen.insert(mac, at).unwrap();
        }
        prop_assert_eq!(seen.insert(0, first), Ok(()));
        for &(at, mac) in others.iter().filter(|(at, _)| *at > first && *at <= first + after) {
            seen.insert(mac, at).unwrap();
        }
        prop_assert_eq!(seen.insert(0, first + after), Err(SignatureFault::Replayed));
    }

    #[test]
    fn no_text_is_a_signature_and_none_panics(text in "(v1\\.)?[0-9a-f.é]{0,80}") {
        let (_, verifier) = pair();
        prop_assert!(verifier.verify(ANN, &text, NOW).is_err());
    }
}
