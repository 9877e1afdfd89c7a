//! The level adaptation of the DAGOR paper as its third version has it (arXiv 1806.04075 v3, algorithm 1): every walk
//! starts from the **current** cut; α is taken of what was *admitted*, β of what *arrived*. The listing of the
//! conference version restarts from an extreme and is not this one.
//!
//! It moves by whole levels. Where most of the traffic sits in one level the cut therefore flaps around it, and with a
//! few arrivals in a window α takes a whole level away for the sake of a fraction of a request: both are the paper's.

use super::{
    Cut,
    controller::{Controller, WindowStats},
    level::LEVELS,
};

/// The paper's α: the share of the admitted requests that an overloaded window takes away. Zero would never shed.
const ALPHA: f64 = 0.05;
/// The paper's β: the share of the arrived requests that a window without overload adds. Zero would never reopen.
const BETA: f64 = 0.01;

/// The controller of the DAGOR paper. Its only state is the gate's cut.
#[derive(Clone, Copy, Debug, Default)]
pub struct DagorV3;

impl Controller for DagorV3 {
    fn on_window(&mut self, stats: &WindowStats<'_>) -> Cut {
        if stats.overloaded {
            stricter(stats)
        } else if stats.frozen {
            stats.cut
        } else {
            looser(stats)
        }
    }
}

/// Walks from the current cut to the first one that would have admitted at most (1 − α) of what was admitted.
///
/// Nothing admitted leaves the cut where it is: the queue is still draining, and a stricter cut would not drain it any
/// faster. The counts subtracted are those of admitted requests. Below the cut that is all that arrived, as in the
/// paper, unless another cut is stricter; its refusals never were part of the running count.
fn stricter(stats: &WindowStats<'_>) -> Cut {
    let mut running = stats.total_admitted();
    let target = (1.0 - ALPHA) * running as f64;
    // A cut inside a level admits a part of it: that level is the first to go.
    let whole = stats.cut.whole_levels();
    let mut levels = if stats.cut == Cut::below_index(whole) { whole } else { whole + 1 };
    if running as f64 <= target {
        return stats.cut;
    }
    while running as f64 > target && levels > 0 {
        levels -= 1;
        running = running.saturating_sub(u64::from(stats.admitted[levels]));
    }
    Cut::below_index(levels)
}

/// Walks from the current cut to the first one that would have admitted β of the arrivals more.
///
/// When nothing was refused the walk runs to the end and the gate is open. An empty window counts as one arrival, so
/// that it opens the gate as well: with the paper's β·0 the target would be met at once, and a closed gate whose callers
/// have learnt to stay away would stay closed for ever.
fn looser(stats: &WindowStats<'_>) -> Cut {
    let mut running = stats.total_admitted();
    let target = running as f64 + BETA * stats.total_offered().max(1) as f64;
    let mut levels = stats.cut.whole_levels();
    while (running as f64) < target && levels < LEVELS {
        running += u64::from(stats.offered[levels].saturating_sub(stats.admitted[levels]));
        levels += 1;
    }
    Cut::below_index(levels).max(stats.cut)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::admission::{Backlog, Level, Value};

    /// A window in which `arrivals` (level index, count) met `cut`.
    fn window(cut: Cut, overloaded: bool, arrivals: &[(usize, u32)]) -> Cut {
        next(cut, cut, overloaded, arrivals)
    }

    /// The same, with another cut in force as well.
    fn next(own: Cut, other: Cut, overloaded: bool, arrivals: &[(usize, u32)]) -> Cut {
        let (mut offered, mut admitted) = (vec![0; LEVELS], vec![0; LEVELS]);
        for &(index, count) in arrivals {
            offered[index] += count;
            if own.min(other).admits(Value::new(Level::from_index(index), 0)) {
                admitted[index] += count;
            }
        }
        DagorV3.on_window(&WindowStats {
            cut: own,
            offered: &offered,
            admitted: &admitted,
            elapsed: Duration::from_secs(1),
            queuing: Duration::ZERO,
            overloaded,
            costs: &[],
            target: Duration::from_millis(20),
            backlog: Backlog::default(),
            capacity: None,
            stalled: false,
            mean_cost: 1.0,
            limited_seconds: 0.0,
            shares: &[],
            frozen: other < own,
        })
    }

    #[test]
    fn an_overloaded_window_takes_five_percent_of_the_admitted() {
        // Ten levels of ten: 95 are too many, so the walk stops after the one that leaves 90.
        let even: Vec<_> = (0..10).map(|index| (index, 10)).collect();
        assert_eq!(window(Cut::OPEN, true, &even), Cut::below_index(9));
        assert_eq!(window(Cut::below_index(9), true, &even), Cut::below_index(8));
        // A hundred levels of one: exactly five go.
        let fine: Vec<_> = (0..100).map(|index| (index, 1)).collect();
        assert_eq!(window(Cut::below_index(100), true, &fine), Cut::below_index(95));
    }

    #[test]
    fn a_calm_window_adds_one_percent_of_the_arrived() {
        // 10 of 1000 arrive above the cut in each of the next levels: β·1000 = 10, one level.
        let arrivals: Vec<_> = (0..100).map(|index| (index, 10)).collect();
        assert_eq!(window(Cut::below_index(50), false, &arrivals), Cut::below_index(51));
        // Empty levels are stepped over.
        assert_eq!(window(Cut::below_index(50), false, &[(0, 100), (4000, 100)]), Cut::below_index(4001));
    }

    #[test]
    fn the_walk_starts_from_the_current_cut() {
        let arrivals: Vec<_> = (0..1000).map(|index| (index, 10)).collect();
        let cut = window(Cut::below_index(200), true, &arrivals);
        assert_eq!(cut, Cut::below_index(190), "α of the 200 admitted levels, not of all 1000");
    }

    #[test]
    fn both_ends_of_the_scale_hold() {
        assert_eq!(window(Cut::OPEN, false, &[(LEVELS - 1, 5)]), Cut::OPEN);
        assert_eq!(window(Cut::CLOSED, true, &[(0, 5)]), Cut::CLOSED);
        assert_eq!(window(Cut::OPEN, true, &[(LEVELS - 1, 5)]), Cut::below_index(LEVELS - 1));
        assert_eq!(window(Cut::CLOSED, false, &[(0, 5)]), Cut::below_index(1));
    }

    #[test]
    fn an_empty_window_opens_a_closed_gate_instead_of_latching() {
        assert_eq!(window(Cut::CLOSED, false, &[]), Cut::OPEN);
        assert_eq!(window(Cut::below_index(7), false, &[(3, 2)]), Cut::OPEN, "nothing was refused");
    }

    #[test]
    fn an_overloaded_window_that_admitted_nothing_cuts_no_deeper() {
        assert_eq!(window(Cut::below_index(7), true, &[]), Cut::below_index(7));
        assert_eq!(window(Cut::below_index(7), true, &[(9, 50)]), Cut::below_index(7));
    }

    #[test]
    fn a_single_level_of_traffic_goes_whole_and_comes_back_whole() {
        let all = [(3000, 1000)];
        let closed = window(Cut::OPEN, true, &all);
        assert_eq!(closed, Cut::below_index(3000));
        assert_eq!(window(closed, false, &all), Cut::below_index(3001));
    }

    #[test]
    fn at_low_rates_one_level_goes_for_a_fraction_of_a_request() {
        let few = [(10, 1), (20, 1), (30, 1)];
        assert_eq!(window(Cut::OPEN, true, &few), Cut::below_index(30));
        assert_eq!(window(Cut::below_index(30), true, &few), Cut::below_index(20));
        assert_eq!(window(Cut::below_index(20), false, &few), Cut::below_index(21));
    }

    #[test]
    fn growth_is_frozen_while_another_cut_binds() {
        let own = Cut::below_index(500);
        assert_eq!(next(own, Cut::below_index(100), false, &[(50, 10), (300, 10), (700, 10)]), own);
    }

    #[test]
    fn under_a_stricter_cut_the_walk_passes_what_was_not_admitted() {
        let cut = next(Cut::below_index(500), Cut::below_index(100), true, &[(50, 10), (90, 10), (300, 10)]);
        assert_eq!(cut, Cut::below_index(90));
    }

    #[test]
    fn a_cut_inside_a_level_gives_that_level_up_first() {
        let inside = Cut::from_bits(Cut::below_index(40).bits() + 1000);
        assert_eq!(window(inside, true, &[(39, 10), (40, 10)]), Cut::below_index(40));
        assert_eq!(window(inside, false, &[(40, 10)]), Cut::OPEN);
    }
}
