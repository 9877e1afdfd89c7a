//! Which gateways are lost: those whose lease ended without having been given back, and stays ended for longer than it takes
//! to write it again. Each gateway of the fleet sees that for itself and tells of it; the incarnation says that it is the
//! same word.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::Relaxed;
use crate::{clock::Timestamp, gateway::Gateway, id::Incarnation, registry::RENEW_EVERY};

/// How long a lease must be gone: a registry that lost it hears from its gateway before.
const CONFIRM: Duration = RENEW_EVERY.saturating_mul(2);

/// Gateways that are watched at a time; of more the others are told later.
const MOST: usize = 4096;

/// Looks after the other gateways for as long as this one serves and somebody wants to know.
pub(in crate::gateway) async fn watch(gateway: Arc<Gateway>) {
    let mut watch = Watch::default();
    loop {
        tokio::time::sleep(RENEW_EVERY).await;
        if !gateway.herald.desks.iter().any(|desk| desk.wanted.load(Relaxed)) {
            continue;
        }
        let now = gateway.clock.now();
        match gateway.registry.lost(now).await {
            Ok(lost) => watch.see(&lost, now, |lost| gateway.herald.lost(lost)),
            Err(error) => tracing::debug!(%error, "it is not known who is lost"),
        }
    }
}

/// Since when each lost gateway is, and whether that was told.
#[derive(Debug, Default)]
struct Watch(BTreeMap<Incarnation, (Timestamp, bool)>);

impl Watch {
    /// These are lost at this time; `tell` says whether it has told of one. Whoever is not among them is there again, or
    /// has been lost for so long that nobody knows.
    fn see(&mut self, lost: &[Incarnation], now: Timestamp, tell: impl Fn(Incarnation) -> bool) {
        self.0.retain(|incarnation, _| lost.contains(incarnation));
        for &incarnation in lost {
            if self.0.len() >= MOST && !self.0.contains_key(&incarnation) {
                continue;
            }
            let (since, is_told) = self.0.entry(incarnation).or_insert((now, false));
            if !*is_told && now.since(*since) >= CONFIRM {
                *is_told = tell(incarnation);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_nanos(seconds * 1_000_000_000)
    }

    const ONE: Incarnation = Incarnation(1);
    const TWO: Incarnation = Incarnation(2);

    /// What is told when these are seen as lost, one look after the other.
    fn told(looks: &[(u64, &[Incarnation])], has_room: impl Fn(usize) -> bool) -> Vec<(u64, Incarnation)> {
        let (mut watch, told, asked) = (Watch::default(), RefCell::new(Vec::new()), RefCell::new(0));
        for &(seconds, lost) in looks {
            watch.see(lost, at(seconds), |incarnation| {
                *asked.borrow_mut() += 1;
                let has_room = has_room(*asked.borrow());
                if has_room {
                    told.borrow_mut().push((seconds, incarnation));
                }
                has_room
            });
        }
        told.into_inner()
    }

    #[test]
    fn a_lease_that_stays_ended_is_told_once() {
        let looks: &[(u64, &[Incarnation])] =
            &[(0, &[ONE]), (2, &[ONE, TWO]), (4, &[ONE, TWO]), (6, &[ONE, TWO]), (8, &[ONE])];
        assert_eq!(told(looks, |_| true), [(4, ONE), (6, TWO)]);
    }

    #[test]
    fn a_lease_that_comes_back_is_no_loss_and_one_that_ends_again_is_another() {
        let looks: &[(u64, &[Incarnation])] = &[(0, &[ONE]), (2, &[]), (4, &[ONE]), (6, &[ONE])];
        assert_eq!(told(looks, |_| true), []);
        let again: &[(u64, &[Incarnation])] = &[(0, &[ONE]), (4, &[ONE]), (6, &[]), (8, &[ONE]), (12, &[ONE])];
        assert_eq!(told(again, |_| true), [(4, ONE), (12, ONE)]);
    }

    #[test]
    fn what_finds_no_room_is_told_later() {
        let looks: &[(u64, &[Incarnation])] = &[(0, &[ONE]), (4, &[ONE]), (6, &[ONE]), (8, &[ONE])];
        assert_eq!(told(looks, |asked| asked > 1), [(6, ONE)]);
    }

    #[test]
    fn the_number_of_those_who_are_watched_is_bounded() {
        let all: Vec<_> = (0..MOST as u64 + 9).map(Incarnation).collect();
        let mut watch = Watch::default();
        watch.see(&all, at(0), |_| true);
        assert_eq!(watch.0.len(), MOST);
    }
}
