//! Which gateways are lost: those whose lease ended without having been given back, and stays ended for longer than it takes
//! to write it again. Each gateway of the fleet sees that for itself; the registry says which one of them tells a service.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{Desk, Relaxed};
use crate::{
    clock::{Timestamp, unix_millis},
    gateway::Gateway,
    id::Incarnation,
    pb::service::{PresenceEvent, PresenceKind},
    registry::{Loss, RENEW_EVERY, RegistryError, Teller},
};

/// How long a lease must be gone: a registry that lost it hears from its gateway before. Then each gateway waits for up to as
/// long again: nearly all of them find that another one has told it already.
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
        if let Err(error) = look(&gateway, &mut watch).await {
            tracing::debug!(%error, "it is not known who is lost, or who tells it");
        }
    }
}

async fn look(gateway: &Gateway, watch: &mut Watch) -> Result<(), RegistryError> {
    let now = gateway.clock.now();
    let lost = gateway.registry.lost(now).await?;
    watch.see(&lost, now, fastrand::f64);
    for (lost, words) in watch.due(now) {
        words.resize(gateway.services.len(), Word::Due);
        for ((desk, service), word) in gateway.herald.desks.iter().zip(&gateway.services).zip(words) {
            if desk.wanted.load(Relaxed) {
                *word = tell(gateway, desk, Loss { lost, service: &service.name }, *word).await?;
            }
        }
    }
    Ok(())
}

/// Goes on with telling a service, as far as it can go on now.
async fn tell(gateway: &Gateway, desk: &Desk, loss: Loss<'_>, word: Word) -> Result<Word, RegistryError> {
    let (registry, home, now) = (&gateway.registry, &gateway.home, gateway.clock.now());
    match word {
        // If there is no room, others may have some.
        Word::Due if !desk.log().has_room() => Ok(word),
        Word::Due => Ok(match registry.claim_loss(loss, home, now).await? {
            Teller::Own => desk.lost(loss).map_or(Word::Due, Word::Said),
            // That one may be lost, or out of reach, before it has told.
            Teller::Other => Word::Due,
            Teller::Nobody => Word::Known,
        }),
        Word::Said(sequence) if desk.log().is_taken(sequence) => {
            registry.settle_loss(loss, home, now).await?;
            Ok(Word::Known)
        }
        Word::Said(_) | Word::Known => Ok(word),
    }
}

impl Desk {
    /// A gateway is lost. The event's number; `None` if there was no room.
    fn lost(&self, Loss { lost, service }: Loss<'_>) -> Option<u64> {
        tracing::warn!(%lost, service, "a gateway is lost, which this one tells the service");
        self.push(PresenceEvent {
            kind: PresenceKind::GatewayLost.into(),
            at_unix_ms: unix_millis(),
            lost_incarnation: lost.0,
            ..PresenceEvent::default()
        })
    }
}

/// How far a service has been told of a loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    /// By nobody, or by another gateway that has not said yet that it has.
    Due,
    /// It is in the log of the service, under this number.
    Said(u64),
    /// It knows.
    Known,
}

/// Who is lost: when that is to be told, and how far each service has been.
#[derive(Debug, Default)]
struct Watch(BTreeMap<Incarnation, (Timestamp, Vec<Word>)>);

impl Watch {
    /// These are lost at this time. Whoever is not among them is there again, or has been lost for so long that nobody
    /// knows. `random` is from 0 to 1.
    fn see(&mut self, lost: &[Incarnation], now: Timestamp, random: impl Fn() -> f64) {
        self.0.retain(|incarnation, _| lost.contains(incarnation));
        for &incarnation in lost {
            if self.0.len() < MOST && !self.0.contains_key(&incarnation) {
                self.0.insert(incarnation, (now + CONFIRM.mul_f64(1.0 + random()), Vec::new()));
            }
        }
    }

    /// Those that have been lost for long enough.
    fn due(&mut self, now: Timestamp) -> impl Iterator<Item = (Incarnation, &mut Vec<Word>)> {
        let lost = self.0.iter_mut().filter(move |(_, (due, _))| *due <= now);
        lost.map(|(&incarnation, (_, words))| (incarnation, words))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_nanos(seconds * 1_000_000_000)
    }

    const ONE: Incarnation = Incarnation(1);
    const TWO: Incarnation = Incarnation(2);

    /// Who is due at each look when these are seen as lost, one look after the other.
    fn due(looks: &[(u64, &[Incarnation])], random: f64) -> Vec<(u64, Incarnation)> {
        let mut watch = Watch::default();
        let look = |&(seconds, lost): &(u64, &[Incarnation])| {
            watch.see(lost, at(seconds), || random);
            watch.due(at(seconds)).map(|(incarnation, _)| (seconds, incarnation)).collect::<Vec<_>>()
        };
        looks.iter().flat_map(look).collect()
    }

    #[test]
    fn a_lease_that_stays_ended_is_a_loss_and_not_all_see_it_at_once() {
        let looks: &[(u64, &[Incarnation])] = &[(0, &[ONE]), (2, &[ONE, TWO]), (4, &[ONE, TWO]), (8, &[ONE])];
        assert_eq!(due(looks, 0.0), [(4, ONE), (8, ONE)]);
        assert_eq!(due(looks, 1.0), [(8, ONE)]);
    }

    #[test]
    fn a_lease_that_comes_back_is_no_loss_and_one_that_ends_again_is_another() {
        let looks: &[(u64, &[Incarnation])] = &[(0, &[ONE]), (2, &[]), (4, &[ONE]), (6, &[ONE])];
        assert_eq!(due(looks, 0.0), []);
        let mut watch = Watch::default();
        watch.see(&[ONE], at(0), || 0.0);
        watch.due(at(4)).for_each(|(_, words)| words.push(Word::Known));
        watch.see(&[], at(6), || 0.0);
        watch.see(&[ONE], at(8), || 0.0);
        assert_eq!(watch.due(at(12)).map(|(_, words)| words.len()).collect::<Vec<_>>(), [0]);
    }

    #[test]
    fn the_number_of_those_who_are_watched_is_bounded() {
        let all: Vec<_> = (0..MOST as u64 + 9).map(Incarnation).collect();
        let mut watch = Watch::default();
        watch.see(&all, at(0), || 0.0);
        assert_eq!(watch.0.len(), MOST);
    }
}
