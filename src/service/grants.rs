//! Splits an instance's places over its streams: whatever the demand, the sum is the total (as long as each stream can
//! have one place), nobody has less than one, and when everything fits everyone has what it asks for.

use std::{cmp::Reverse, time::Duration};

use slab::Slab;

use crate::clock::Timestamp;

/// The shortest time between two splits: short enough to follow a shift of load within a few calls, long enough that
/// splitting costs nothing per call.
const RESPLIT_EVERY: Duration = Duration::from_millis(5);

/// A gateway that was told of fewer places may have sent calls by the earlier ones that are still under way, or not know yet,
/// if others have its processor. After this time at the latest they are here.
const UNDER_WAY: Duration = Duration::from_secs(1);

/// Splits `total` places by demand, where a stream's demand is what it has unanswered plus what waits at its gateway.
///
/// When everything fits, each stream gets its demand and an even part of the rest, so that one that wakes up finds
/// places. Otherwise the places go in proportion to the demand, so that the backlogs shrink alike and equal requests
/// wait equally at every gateway. Rounding goes to the largest remainders, then to the first.
///
/// Each stream gets at least one place, even if the sum then exceeds `total`: a stream without places could never show
/// that it has work.
pub fn split_grants(total: usize, demands: &[usize]) -> Vec<usize> {
    let streams = demands.len();
    if streams == 0 || total <= streams {
        return vec![1; streams];
    }
    let wanted: usize = demands.iter().map(|&demand| demand.max(1)).fold(0, usize::saturating_add);
    if wanted <= total { split_plenty(total - wanted, demands) } else { split_scarce(total - streams, demands) }
}

/// Everyone's demand and an even part of the `rest`.
fn split_plenty(rest: usize, demands: &[usize]) -> Vec<usize> {
    let (each, over) = (rest / demands.len(), rest % demands.len());
    let grant = |(index, &demand): (usize, &usize)| demand.max(1) + each + usize::from(index < over);
    demands.iter().enumerate().map(grant).collect()
}

/// One place each, and the `spare` ones in proportion to what each wants beyond that.
fn split_scarce(spare: usize, demands: &[usize]) -> Vec<usize> {
    let weight = |index: usize| demands[index].saturating_sub(1) as u128;
    let sum: u128 = (0..demands.len()).map(weight).sum();
    let spare = spare as u128;
    let mut grants: Vec<usize> = (0..demands.len()).map(|index| 1 + (spare * weight(index) / sum) as usize).collect();
    let unassigned = spare as usize + demands.len() - grants.iter().sum::<usize>();
    let mut by_remainder: Vec<usize> = (0..demands.len()).collect();
    by_remainder.sort_by_key(|&index| Reverse(spare * weight(index) % sum));
    for index in by_remainder.into_iter().take(unassigned) {
        grants[index] += 1;
    }
    grants
}

/// What each stream has unanswered, says that it still has waiting, and was granted. `S` is whatever the owner needs to
/// reach the stream.
#[derive(Debug)]
pub(crate) struct Ledger<S> {
    total: usize,
    streams: Slab<Entry<S>>,
    /// The sum of what all streams hold.
    held: usize,
    split_again_at: Timestamp,
    others_came_or_went: bool,
    leaving: bool,
}

#[derive(Debug)]
struct Entry<S> {
    stream: S,
    unanswered: usize,
    waiting: usize,
    /// The highest demand since the last split; the present one would swing with every answer.
    peak: usize,
    granted: usize,
    told: Option<usize>,
    told_less_at: Timestamp,
    /// How many calls its gateway may have here by what it was granted, now or before.
    held: usize,
}

impl<S> Entry<S> {
    fn demand(&self) -> usize {
        self.unanswered + self.waiting
    }

    /// What its gateway may have here once so many answers more are on their way to it. One that keeps to a grant has no more
    /// calls without an answer than that, those included whose answers it has not read yet. So whatever it has sent by an
    /// earlier grant, each answer behind the word of the present one takes one off.
    fn holds(&self, answers: usize, now: Timestamp) -> usize {
        let by_earlier = match now.since(self.told_less_at) < UNDER_WAY {
            true => self.held.saturating_sub(answers),
            false => self.held.min(self.unanswered),
        };
        self.granted.max(self.told.unwrap_or(0)).max(by_earlier)
    }
}

impl<S> Ledger<S> {
    /// A ledger of `total` places and no streams.
    pub(crate) fn new(total: usize) -> Self {
        Self {
            total,
            streams: Slab::new(),
            held: 0,
            split_again_at: Timestamp::ZERO,
            others_came_or_went: false,
            leaving: false,
        }
    }

    /// Adds a stream and makes room for it at the next [`Ledger::split`].
    pub(crate) fn open(&mut self, stream: S) -> usize {
        self.split_at_once();
        self.held += 1;
        let (told, told_less_at) = (None, Timestamp::ZERO);
        self.streams.insert(Entry {
            stream,
            unanswered: 0,
            waiting: 0,
            peak: 0,
            granted: 1,
            told,
            told_less_at,
            held: 1,
        })
    }

    /// Removes a stream; its places go to the others at the next [`Ledger::split`].
    pub(crate) fn close(&mut self, key: usize) {
        self.split_at_once();
        self.held -= self.streams.remove(key).held;
    }

    fn split_at_once(&mut self) {
        self.split_again_at = Timestamp::ZERO;
        self.others_came_or_went = true;
    }

    /// A batch of `calls` came in, with `waiting` more behind it.
    pub(crate) fn received(&mut self, key: usize, calls: usize, waiting: usize) {
        let entry = &mut self.streams[key];
        entry.unanswered += calls;
        entry.waiting = waiting;
        entry.peak = entry.peak.max(entry.demand());
    }

    /// That many answers go out.
    pub(crate) fn answered(&mut self, key: usize, answers: usize, now: Timestamp) {
        let entry = &mut self.streams[key];
        entry.unanswered = entry.unanswered.saturating_sub(answers);
        let held = entry.holds(answers, now);
        self.held = self.held - entry.held + held;
        entry.held = held;
    }

    /// How many calls of this stream have no answer yet.
    pub(crate) fn unanswered(&self, key: usize) -> usize {
        self.streams[key].unanswered
    }

    /// Splits anew if that is due, and hands every stream that should be told at once to `tell`: all whose grant changed
    /// when a stream came or went, otherwise only those that were short of places and got more. The rest hear of it
    /// with their next answers.
    pub(crate) fn split(&mut self, now: Timestamp, mut tell: impl FnMut(&S)) {
        if now < self.split_again_at || self.leaving {
            return;
        }
        self.split_again_at = now + RESPLIT_EVERY;
        let others_came_or_went = std::mem::take(&mut self.others_came_or_went);
        let demands: Vec<usize> = self.streams.iter().map(|(_, entry)| entry.peak).collect();
        for ((_, entry), grant) in self.streams.iter_mut().zip(split_grants(self.total, &demands)) {
            let demand = entry.demand();
            let peak = std::mem::replace(&mut entry.peak, demand);
            let before = std::mem::replace(&mut entry.granted, grant);
            entry.held = entry.holds(0, now);
            let was_short = peak > before;
            if grant != before && others_came_or_went || grant > before && was_short {
                tell(&entry.stream);
            }
        }
        self.held = self.streams.iter().map(|(_, entry)| entry.held).sum();
    }

    /// The grant that this stream has not been told yet, which counts as told from now on.
    pub(crate) fn untold(&mut self, key: usize, now: Timestamp) -> Option<usize> {
        let entry = &mut self.streams[key];
        let grant = if self.leaving { 0 } else { entry.granted };
        let before = entry.told.replace(grant);
        if before > Some(grant) {
            entry.told_less_at = now;
        }
        (before != Some(grant)).then_some(grant)
    }

    /// How many calls may be here if every gateway keeps to what it was granted. More than the total while places move from
    /// one to another: who gets them may use them at once, and who has less keeps what it sent by the earlier grant.
    pub(crate) fn places(&self) -> usize {
        self.total.max(self.held)
    }

    /// Grants nothing to anyone from now on.
    pub(crate) fn leave(&mut self) {
        self.leaving = true;
    }

    /// All streams.
    pub(crate) fn streams(&self) -> impl Iterator<Item = &S> {
        self.streams.iter().map(|(_, entry)| &entry.stream)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn idle_streams_share_evenly() {
        assert_eq!(split_grants(12, &[0, 0]), [6, 6]);
        assert_eq!(split_grants(12, &[0, 0, 0, 0, 0]), [3, 3, 2, 2, 2]);
    }

    #[test]
    fn a_busy_stream_gets_what_the_idle_one_does_not_need() {
        assert_eq!(split_grants(12, &[100, 0]), [11, 1]);
        assert_eq!(split_grants(12, &[9, 1]), [10, 2]);
    }

    #[test]
    fn too_much_demand_is_cut_in_proportion() {
        assert_eq!(split_grants(12, &[300, 100]), [9, 3]);
    }

    #[test]
    fn every_stream_keeps_one_place_even_if_there_are_fewer() {
        assert_eq!(split_grants(2, &[5, 0, 9]), [1, 1, 1]);
        assert_eq!(split_grants(0, &[5]), [1]);
        assert!(split_grants(4, &[]).is_empty());
    }

    #[test]
    fn a_stream_is_told_its_grant_once_and_again_when_it_changes() {
        let mut ledger = Ledger::new(12);
        let first = ledger.open("first");
        ledger.split(Timestamp::ZERO, |_| ());
        assert_eq!((ledger.untold(first, Timestamp::ZERO), ledger.untold(first, Timestamp::ZERO)), (Some(12), None));
        let second = ledger.open("second");
        ledger.split(Timestamp::ZERO, |_| ());
        assert_eq!((ledger.untold(first, Timestamp::ZERO), ledger.untold(second, Timestamp::ZERO)), (Some(6), Some(6)));
        ledger.close(second);
        let mut woken = Vec::new();
        ledger.split(Timestamp::ZERO, |stream| woken.push(*stream));
        assert_eq!((woken.as_slice(), ledger.untold(first, Timestamp::ZERO)), (["first"].as_slice(), Some(12)));
    }

    #[test]
    fn grants_follow_the_backlog_at_most_once_per_interval() {
        let mut ledger = Ledger::new(12);
        let (busy, idle) = (ledger.open(()), ledger.open(()));
        ledger.split(Timestamp::ZERO, |()| ());
        ledger.received(busy, 6, 50);
        ledger.split(Timestamp::ZERO, |()| ());
        assert_eq!(ledger.untold(busy, Timestamp::ZERO), Some(6), "too early to split again");
        ledger.split(Timestamp::ZERO + RESPLIT_EVERY, |()| ());
        assert_eq!((ledger.untold(busy, Timestamp::ZERO), ledger.untold(idle, Timestamp::ZERO)), (Some(11), Some(1)));
    }

    /// A gateway that keeps to what it was granted, as far as it has heard of it.
    #[derive(Debug)]
    struct Peer {
        key: usize,
        granted: usize,
        unanswered: usize,
        /// Calls that the instance has not read.
        sent: usize,
        /// Answers that it has not read itself, and grants behind them.
        coming: VecDeque<(usize, Option<usize>)>,
    }

    impl Peer {
        fn send(&mut self) {
            if self.unanswered < self.granted {
                (self.unanswered, self.sent) = (self.unanswered + 1, self.sent + 1);
            }
        }

        fn read(&mut self) {
            let Some((answers, grant)) = self.coming.pop_front() else { return };
            self.unanswered -= answers;
            self.granted = grant.unwrap_or(self.granted);
        }
    }

    #[test]
    fn what_came_by_a_greater_grant_has_its_place_until_it_cannot_be_under_way() {
        let (mut ledger, now) = (Ledger::new(12), Timestamp::from_nanos(9_000_000_000));
        let first = ledger.open(());
        ledger.split(now, |()| ());
        assert_eq!((ledger.untold(first, now), ledger.places()), (Some(12), 12));
        ledger.received(first, 1, 0);
        let second = ledger.open(());
        ledger.received(second, 1, 30);
        ledger.split(now, |()| ());
        ledger.answered(first, 1, now);
        assert_eq!(ledger.places(), 23, "the first was not told of less before it had sent twelve");
        assert_eq!((ledger.untold(first, now), ledger.untold(second, now)), (Some(1), Some(11)));
        ledger.answered(first, 0, now);
        assert_eq!(ledger.places(), 23, "eleven may be under way");
        ledger.received(first, 11, 0);
        ledger.answered(first, 5, now);
        assert_eq!(ledger.places(), 18);
        ledger.answered(first, 5, now + UNDER_WAY);
        assert_eq!(ledger.places(), 12, "one is here");
        ledger.close(second);
        assert_eq!(ledger.places(), 12);
    }

    proptest! {
        #[test]
        fn whoever_keeps_to_a_grant_has_a_place_for_each_of_its_calls(
            acts in prop::collection::vec((0_usize..3, 0_u8..6, 0_usize..4), 0..600)
        ) {
            let (mut ledger, mut now) = (Ledger::new(12), Timestamp::from_nanos(9_000_000_000));
            let peer = |key| Peer { key, granted: 1, unanswered: 0, sent: 0, coming: VecDeque::new() };
            let mut peers: Vec<_> = (0..3).map(|_| peer(ledger.open(()))).collect();
            for (number, act, count) in acts {
                // Nothing is under way for long.
                now = now + Duration::from_millis(1);
                let peer = &mut peers[number];
                match act {
                    0 | 1 => (0..3 * count).for_each(|_| peer.send()),
                    2 => peer.read(),
                    3 => {
                        let calls = (4 * count).min(peer.sent);
                        peer.sent -= calls;
                        ledger.received(peer.key, calls, 10 * count);
                    }
                    _ => {
                        let answers = count.min(ledger.unanswered(peer.key));
                        ledger.answered(peer.key, answers, now);
                        ledger.split(now, |()| ());
                        peer.coming.push_back((answers, ledger.untold(peer.key, now)));
                    }
                }
                for Peer { key, .. } in &peers {
                    prop_assert!(ledger.unanswered(*key) <= ledger.streams[*key].held, "{ledger:?}");
                }
                prop_assert_eq!(ledger.held, ledger.streams.iter().map(|(_, entry)| entry.held).sum::<usize>());
            }
        }
    }

    #[test]
    fn a_leaving_instance_grants_nothing() {
        let mut ledger = Ledger::new(12);
        let key = ledger.open(());
        ledger.leave();
        assert_eq!((ledger.untold(key, Timestamp::ZERO), ledger.untold(key, Timestamp::ZERO)), (Some(0), None));
    }

    proptest! {
        #[test]
        fn the_sum_is_the_total_and_nobody_starves(
            total in 0_usize..5000,
            demands in prop::collection::vec(prop_oneof![Just(0), 0_usize..20, Just(usize::MAX)], 0..40),
        ) {
            let grants = split_grants(total, &demands);
            prop_assert_eq!(grants.len(), demands.len());
            prop_assert!(grants.iter().all(|&grant| grant >= 1));
            if !demands.is_empty() {
                prop_assert_eq!(grants.iter().sum::<usize>(), total.max(demands.len()));
            }
        }

        #[test]
        fn who_wants_more_never_gets_less(total in 0_usize..500, demands in prop::collection::vec(0_usize..100, 1..20)) {
            let grants = split_grants(total, &demands);
            for (one, &want) in grants.iter().zip(&demands) {
                for (other, &less) in grants.iter().zip(&demands).filter(|&(_, &less)| less + 1 < want) {
                    prop_assert!(one >= other, "{want} got {one}, {less} got {other}");
                }
            }
        }

        #[test]
        fn demand_that_fits_is_met(demands in prop::collection::vec(0_usize..100, 1..20), more in 0_usize..50) {
            let total = demands.iter().map(|&demand| demand.max(1)).sum::<usize>() + more;
            for (grant, demand) in split_grants(total, &demands).into_iter().zip(demands) {
                prop_assert!(grant >= demand);
            }
        }
    }
}
