//! The cut that one instance sent to its caller: it refuses here what the instance would refuse, it lapses when it is
//! not renewed, and while it binds a small share passes all the same. So nothing latches.
//!
//! An instance sends its cut with its answers, and an answer needs a call. A caller whose whole traffic lies above the
//! cut would therefore never hear that it was lifted. Two things keep that from happening:
//!
//! * **Expiry.** A cut that was not sent again for [`BINDS_FOR`] says only that nothing was tried: it is open. This is
//!   what helps a caller with little traffic, or one whose feedback is lost.
//! * **Probes.** Where other calls keep renewing the cut, or so much is refused that the end of a cut would let loose a
//!   flood, some of what lies above it passes: in each [`PROBE_EVERY`] at most one request, whose grain lies in the slice
//!   of that time ([`PROBE_SLICES`]). Choosing by grain and time needs no generator, gives a retry no new chance within
//!   its slice, and lets one task through at every hop on its way.
//!
//! A probe is an exception to the order of importance, so probes are counted apart.

use std::time::Duration;

use super::level::{Cut, GRAIN_BITS, Value};
use crate::clock::Timestamp;

/// How long a cut binds without being sent again. An instance sends it with every answer and whenever it moves, so that
/// an older one only says that nothing was tried.
pub const BINDS_FOR: Duration = Duration::from_secs(1);

/// At most one probe in this time: four per second cost an instance next to nothing, and keep its cut from lapsing.
pub const PROBE_EVERY: Duration = Duration::from_millis(250);

/// Of so many refused requests one is taken for a probe, where they are few: less than 1 %.
pub const PROBE_SLICES: u32 = 1 << SLICE_BITS;

const SLICE_BITS: u32 = 7;

/// The next slice lies this far behind the last one. Odd, so that all get their turn (within 32 s); about the golden part
/// of them all, so that neighbours in time lie far apart.
const SLICE_STRIDE: u64 = 79;

/// No turn of [`PROBE_EVERY`] has this number.
const NEVER: u64 = u64::MAX;

/// How a request passes a cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passage {
    /// It lies below the cut, or there is none.
    Below,
    /// It lies above the cut and is to find out whether the cut still stands.
    Probe,
}

/// What a caller knows of one instance's cut.
#[derive(Clone, Copy, Debug)]
pub struct Upstream {
    cut: Cut,
    heard: Timestamp,
    /// In which turn of [`PROBE_EVERY`] the last probe passed.
    probed: u64,
    probes: u64,
}

impl Default for Upstream {
    fn default() -> Self {
        Self::new()
    }
}

impl Upstream {
    /// Open: nothing was heard yet.
    pub const fn new() -> Self {
        Self { cut: Cut::OPEN, heard: Timestamp::ZERO, probed: NEVER, probes: 0 }
    }

    /// The instance sent its cut.
    pub fn hear(&mut self, cut: Cut, now: Timestamp) {
        (self.cut, self.heard) = (cut, now);
    }

    /// The instance is gone; what comes back in its place starts open. The count of probes goes on.
    pub fn forget(&mut self) {
        self.cut = Cut::OPEN;
    }

    /// The cut in force: open if it was not sent for longer than [`BINDS_FOR`].
    pub fn cut(&self, now: Timestamp) -> Cut {
        if now.since(self.heard) > BINDS_FOR { Cut::OPEN } else { self.cut }
    }

    /// Whether a request of this value goes on to the instance.
    ///
    /// # Errors
    ///
    /// The cut, if the instance would refuse it.
    pub fn decide(&mut self, now: Timestamp, value: Value) -> Result<Passage, Cut> {
        let cut = self.cut(now);
        if cut.admits(value) {
            return Ok(Passage::Below);
        }
        let turn = (now.as_nanos() / PROBE_EVERY.as_nanos() as u64).min(NEVER - 1);
        if turn == self.probed || slice_of(value) != slice_at(turn) {
            return Err(cut);
        }
        self.probed = turn;
        self.probes += 1;
        Ok(Passage::Probe)
    }

    /// How many requests have passed as probes.
    pub const fn probes(&self) -> u64 {
        self.probes
    }
}

fn slice_of(value: Value) -> u32 {
    value.grain() >> (GRAIN_BITS - SLICE_BITS)
}

fn slice_at(turn: u64) -> u32 {
    (turn.wrapping_mul(SLICE_STRIDE) % u64::from(PROBE_SLICES)) as u32
}

/// The cut that binds whichever of a service's instances a request meets: the loosest of them, open if there are none.
///
/// A gate in front of several instances must not grow past it: what it would admit more, nobody takes. While one instance
/// still takes more, the gate may grow: freezing it for the strictest one would let a single sick instance hold down the
/// traffic of all the others.
pub fn loosest(cuts: impl IntoIterator<Item = Cut>) -> Cut {
    cuts.into_iter().max().unwrap_or(Cut::OPEN)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::admission::Level;

    const CUT: Cut = Cut::below_index(1000);

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_nanos(millis * 1_000_000)
    }

    /// A value far above [`CUT`].
    fn above(grain: u32) -> Value {
        Value::new(Level::from_index(5000), grain)
    }

    /// An evenly spread series of grains.
    fn grains() -> impl Iterator<Item = u32> {
        (0_u64..).map(|n| (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (64 - GRAIN_BITS)) as u32)
    }

    fn heard(now: Timestamp) -> Upstream {
        let mut upstream = Upstream::new();
        upstream.hear(CUT, now);
        upstream
    }

    #[test]
    fn a_cut_binds_for_a_second_and_then_it_is_open() {
        let upstream = heard(at(5));
        assert_eq!(upstream.cut(at(1005)), CUT);
        assert_eq!(upstream.cut(at(1006)), Cut::OPEN);
    }

    #[test]
    fn what_was_never_heard_or_is_forgotten_is_open() {
        let mut upstream = Upstream::new();
        assert_eq!(upstream.decide(at(0), above(0)), Ok(Passage::Below));
        upstream.hear(Cut::CLOSED, at(0));
        upstream.forget();
        assert_eq!((upstream.decide(at(0), above(0)), upstream.probes()), (Ok(Passage::Below), 0));
    }

    #[test]
    fn probes_are_few_whatever_the_load() {
        for (per_second, most) in [(100_u64, 20), (100_000, 40)] {
            let mut upstream = Upstream::new();
            for (n, grain) in (0..per_second * 10).zip(grains()) {
                let now = at(n * 1000 / per_second);
                upstream.hear(CUT, now);
                let _ = upstream.decide(now, above(grain));
            }
            assert!((1..=most).contains(&upstream.probes()), "{} at {per_second}/s", upstream.probes());
        }
    }

    /// The feedback comes only with what passes: the cut is lifted after 5 s, and all of the traffic lies above it.
    #[test]
    fn a_lifted_cut_is_noticed_within_a_second_whatever_the_load() {
        for per_second in [1_u64, 5, 1000, 50_000] {
            let mut upstream = heard(at(0));
            let mut noticed = None;
            for (n, grain) in (0..per_second * 10).zip(grains()) {
                let millis = n * 1000 / per_second;
                if upstream.decide(at(millis), above(grain)).is_ok() {
                    upstream.hear(if millis < 5000 { CUT } else { Cut::OPEN }, at(millis));
                    noticed = noticed.or((millis >= 5000).then_some(millis));
                }
            }
            let patience = 1000 + 1000 / per_second;
            assert!(noticed.is_some_and(|millis| millis <= 5000 + patience), "{noticed:?} at {per_second}/s");
        }
    }

    #[test]
    fn every_grain_has_its_turn() {
        let turns: std::collections::BTreeSet<_> = (0..u64::from(PROBE_SLICES)).map(slice_at).collect();
        assert_eq!(turns.len(), PROBE_SLICES as usize);
    }

    #[test]
    fn one_instance_that_takes_more_lets_the_gate_grow() {
        assert_eq!(loosest([CUT, Cut::CLOSED]), CUT);
        assert_eq!(loosest([CUT, Cut::OPEN]), Cut::OPEN);
        assert_eq!(loosest([]), Cut::OPEN);
    }

    proptest! {
        #[test]
        fn what_is_below_the_cut_passes_and_is_no_probe(cut: u32, bits: u32, nanos: u64) {
            let (mut upstream, now) = (Upstream::new(), Timestamp::from_nanos(nanos));
            let (cut, value) = (Cut::from_bits(cut), Value::from_bits(bits));
            upstream.hear(cut, now);
            let decided = upstream.decide(now, value);
            prop_assert_eq!(decided == Ok(Passage::Below), cut.admits(value));
            prop_assert_eq!(upstream.probes(), u64::from(decided == Ok(Passage::Probe)));
        }

        #[test]
        fn a_retry_within_the_turn_of_its_probe_is_refused(grain: u32, turn in 0_u64..1_000_000) {
            let now = at(turn * 250);
            let mut upstream = heard(now);
            let first = upstream.decide(now, above(grain));
            prop_assert_eq!(first.is_ok(), slice_of(above(grain)) == slice_at(turn));
            prop_assert_eq!(upstream.decide(now, above(grain)), Err(CUT));
        }
    }
}
