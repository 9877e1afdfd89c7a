//! What the gateway has said about this client's chances, and which requests are therefore held back rather than sent:
//! what would be refused anyway costs a radio, a round trip and the gateway's time.
//!
//! Which requests are held back follows from their ids alone: of a business that is open by a quarter, a quarter of the
//! ids pass, and the same id gets the same answer for as long as the gateway's word holds. A new try is no new chance. A
//! word always ends, soon and whatever it says, and some ids pass in any case, so that a client never talks itself into
//! silence.

use std::{collections::BTreeMap, time::Duration};

use super::{RequestError, Session};
use crate::{
    clock::Timestamp,
    id::{BusinessCode, MessageId, OutboxId},
    pb::client as pb,
};

/// All requests of a business pass.
const WHOLE: u16 = 1000;

/// So many of a thousand ids are sent even if the business is closed: their replies say early that it is open again.
const PROBE_PERMILLE: u16 = 10;

/// No word of a gateway holds for longer. Gateways say a second.
const LONGEST_VALIDITY: Duration = Duration::from_secs(10);

/// What was held back comes again over this time, by its id: not all at the moment at which the gateway's word ends.
const COME_AGAIN_WITHIN: Duration = Duration::from_secs(1);

/// The cuts that the gateway resolved for this client: at most one per business of the session's table.
#[derive(Debug, Default)]
pub(super) struct Cuts {
    /// Makes different clients hold different ids back.
    salt: u64,
    /// Whether anything is held back at all.
    hold_back: bool,
    held: BTreeMap<BusinessCode, Held>,
}

#[derive(Debug)]
struct Held {
    open_permille: u16,
    until: Timestamp,
}

impl Cuts {
    pub(super) fn new(outbox: OutboxId, hold_back: bool) -> Self {
        Self { salt: outbox.0, hold_back, held: BTreeMap::new() }
    }

    /// Takes what a frame says; codes that are not in the session's table are ignored, which bounds the memory.
    pub(super) fn remember(&mut self, cuts: &[pb::ResolvedCut], session: &Session, now: Timestamp) {
        for cut in cuts {
            let Ok(code) = u16::try_from(cut.business).map(BusinessCode) else { continue };
            if session.business(code).is_some() {
                let until = now + Duration::from_millis(cut.valid_ms.into()).min(LONGEST_VALIDITY);
                let open_permille = cut.open_permille.min(WHOLE.into()) as u16;
                self.held.insert(code, Held { open_permille, until });
            }
        }
    }

    /// The share of this client's requests that pass, in thousandths; 1000 if nothing else is known.
    pub(super) fn open_permille(&self, business: BusinessCode, now: Timestamp) -> u16 {
        self.valid(business, now).map_or(WHOLE, |held| held.open_permille)
    }

    /// Whether this request is sent.
    ///
    /// # Errors
    ///
    /// [`RequestError::HeldBack`] if it is not.
    pub(super) fn pass(&self, business: BusinessCode, id: MessageId, now: Timestamp) -> Result<(), RequestError> {
        let Some(held) = self.valid(business, now).filter(|_| self.hold_back) else { return Ok(()) };
        let [draw, spread] = self.draw(id);
        if scale(draw, WHOLE.into()) < held.open_permille.max(PROBE_PERMILLE).into() {
            return Ok(());
        }
        let apart = Duration::from_millis(scale(spread, COME_AGAIN_WITHIN.as_millis() as u64));
        let retry_after = held.until.since(now) + apart;
        Err(RequestError::HeldBack { id, business, open_permille: held.open_permille, retry_after })
    }

    fn valid(&self, business: BusinessCode, now: Timestamp) -> Option<&Held> {
        self.held.get(&business).filter(|held| now < held.until)
    }

    /// Two numbers that an id always has (the mixer of SplitMix64).
    fn draw(&self, id: MessageId) -> [u32; 2] {
        let mut mixed = self.salt.wrapping_add(id.0.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^= mixed >> 31;
        [(mixed >> 32) as u32, mixed as u32]
    }
}

/// Brings a number from the whole range of its type to one below `limit`.
fn scale(number: u32, limit: u64) -> u64 {
    (u64::from(number) * limit) >> u32::BITS
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MESSAGE: BusinessCode = BusinessCode(2);

    fn session() -> Session {
        let business = pb::Business { code: 2, name: "message".into(), timeout_ms: 0, ..pb::Business::default() };
        Session::from(pb::Welcome { businesses: vec![business], ..pb::Welcome::default() })
    }

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_nanos(millis * 1_000_000)
    }

    fn told(open_permille: u32, valid_ms: u32) -> Cuts {
        let mut cuts = Cuts::new(OutboxId(7), true);
        cuts.remember(&[pb::ResolvedCut { business: 2, open_permille, valid_ms }], &session(), at(0));
        cuts
    }

    /// How many of a thousand ids pass.
    fn passing(cuts: &Cuts, now: Timestamp) -> usize {
        (1..=1000).filter(|&id| cuts.pass(MESSAGE, MessageId(id), now).is_ok()).count()
    }

    #[test]
    fn a_cut_is_forgotten_when_it_expires_and_ignored_for_strangers() {
        let mut cuts = told(0, 10);
        let stranger = |business| pb::ResolvedCut { business, open_permille: 0, valid_ms: 10 };
        cuts.remember(&[stranger(70_000), stranger(3)], &session(), at(0));
        assert_eq!(cuts.held.len(), 1);
        assert_eq!((cuts.open_permille(MESSAGE, at(9)), cuts.open_permille(MESSAGE, at(10))), (0, 1000));
        assert_eq!(passing(&cuts, at(10)), 1000);
    }

    #[test]
    fn the_share_that_was_told_passes_and_a_few_of_a_closed_business_do() {
        for (told_share, passing_share) in [(0, 10), (5, 10), (250, 250), (900, 900), (1000, 1000), (5000, 1000)] {
            let passing = passing(&told(told_share, 1000), at(0)) as i64;
            assert!((passing - passing_share).abs() <= 40, "{passing} of a thousand at {told_share}");
        }
    }

    #[test]
    fn what_is_held_back_learns_when_to_come_again_and_not_all_at_once() {
        let cuts = told(0, 1000);
        let hint = |id| match cuts.pass(MESSAGE, MessageId(id), at(400)) {
            Err(error) => error.retry_after(),
            Ok(()) => None,
        };
        let hints: Vec<_> = (1..100).filter_map(hint).collect();
        let (soonest, latest) = (hints.iter().min().unwrap(), hints.iter().max().unwrap());
        assert!((600..700).contains(&soonest.as_millis()), "{soonest:?}");
        assert!((1500..1600).contains(&latest.as_millis()), "{latest:?}");
    }

    #[test]
    fn different_clients_hold_different_ids_back() {
        let mut other = told(500, 1000);
        other.salt = 8;
        let differ = |id: &u64| {
            let passes = |cuts: &Cuts| cuts.pass(MESSAGE, MessageId(*id), at(0)).is_ok();
            passes(&other) != passes(&told(500, 1000))
        };
        assert!((400..600).contains(&(1..=1000).filter(differ).count()));
    }

    #[test]
    fn no_word_holds_for_ever_and_nothing_is_held_back_where_that_is_off() {
        assert_eq!(passing(&told(0, u32::MAX), at(10_000)), 1000);
        let mut cuts = told(0, 1000);
        cuts.hold_back = false;
        assert_eq!((passing(&cuts, at(0)), cuts.open_permille(MESSAGE, at(0))), (1000, 0));
    }

    proptest! {
        #[test]
        fn an_id_gets_the_same_answer_while_a_word_holds_and_a_better_one_if_more_is_open(
            id: u64, one in 0_u32..=1000, other in 0_u32..=1000, now in 0_u64..1000,
        ) {
            let passes = |open, now| told(open, 1000).pass(MESSAGE, MessageId(id), at(now)).is_ok();
            prop_assert_eq!(passes(one, 0), passes(one, now));
            prop_assert!(passes(one.max(other), now) || !passes(one.min(other), now));
        }
    }
}
