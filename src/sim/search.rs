//! One search for every controller: the same budget, the same seed, the same steps, whichever controller it is. It only sees
//! the ranges of settings and what a setting scores. The authors' settings are its first try, and only what beats them counts.
//!
//! Half of the budget looks everywhere: each range is cut into as many parts as there are tries, and each part is used once
//! (a Latin hypercube). The other half starts from the best so far and moves some settings by a little, by more after a
//! gain and by less after a loss. Scores are compared as they are: whoever asks for one runs the same scenarios with the
//! same seeds for each setting, and judges what was found on other seeds.

use super::rivals::{Chance, Knob};

/// What a search may spend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// How many settings are tried, the authors' among them.
    pub tries: usize,
    /// What its chance follows from.
    pub seed: u64,
}

/// What a search found.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The settings that were better than the authors', best first, a few at most.
    pub better: Vec<Scored>,
    /// The score of the authors' settings.
    pub authors: f64,
    /// How many settings were tried.
    pub tries: usize,
}

/// Settings and what they scored.
#[derive(Clone, Debug, PartialEq)]
pub struct Scored {
    /// The settings.
    pub settings: toml::Table,
    /// Their score.
    pub score: f64,
}

/// How many settings are remembered. A score is luck in part, so that the first need not be the best.
pub(super) const REMEMBERED: usize = 4;

/// The radius of the first small steps, in parts of a range.
const FIRST_RADIUS: f64 = 0.25;
/// Steps never become smaller than that; a range has no finer structure worth a run.
const LEAST_RADIUS: f64 = 0.02;
/// What the radius is multiplied by after a gain; at most half of a range.
const GAIN: f64 = 1.5;
/// What the radius is multiplied by after a loss.
const LOSS: f64 = 0.9;
/// How likely a setting takes part in a small step.
const MOVED: f64 = 0.5;
/// How likely a word or a flag is drawn anew in a small step, as they have no neighbours.
const REDRAWN: f64 = 0.25;

/// Looks for the settings that `score` likes best; more is better, and no number is worst. `defaults` are the authors' settings.
///
/// # Errors
///
/// The first error of `score`.
pub fn best<E>(
    knobs: &[Knob],
    defaults: &toml::Table,
    plan: Plan,
    score: impl FnMut(&toml::Table) -> Result<f64, E>,
) -> Result<Found, E> {
    let places = knobs.iter().map(|knob| defaults.get(knob.name).and_then(|value| knob.place(value)).unwrap_or(0.5));
    let (best, chance) = (places.collect(), Chance::new(plan.seed, 0));
    let mut search = Search { knobs, score, best, found: Found { better: Vec::new(), authors: 0.0, tries: 1 }, chance };
    search.found.authors = comparable((search.score)(&toml::Table::new())?);
    if !knobs.is_empty() {
        let tries = plan.tries.saturating_sub(1);
        search.look_everywhere(tries / 2)?;
        search.step(tries - tries / 2)?;
    }
    Ok(search.found)
}

struct Search<'k, F> {
    knobs: &'k [Knob],
    score: F,
    /// Where the best settings lie in their ranges.
    best: Vec<f64>,
    found: Found,
    chance: Chance,
}

impl<E, F: FnMut(&toml::Table) -> Result<f64, E>> Search<'_, F> {
    /// Tries settings; whether they are better than all before.
    fn gains(&mut self, places: Vec<f64>) -> Result<bool, E> {
        let settings = settings(self.knobs, &places);
        let score = comparable((self.score)(&settings)?);
        self.found.tries += 1;
        let gains = score > self.found.better.first().map_or(self.found.authors, |best| best.score);
        if gains {
            self.best = places;
        }
        self.found.remember(Scored { settings, score });
        Ok(gains)
    }

    fn look_everywhere(&mut self, tries: usize) -> Result<(), E> {
        let orders: Vec<_> = self.knobs.iter().map(|_| self.chance.order(tries)).collect();
        for number in 0..tries {
            let mut places = Vec::with_capacity(orders.len());
            for order in &orders {
                places.push((order[number] as f64 + self.chance.unit()) / tries as f64);
            }
            self.gains(places)?;
        }
        Ok(())
    }

    fn step(&mut self, tries: usize) -> Result<(), E> {
        let mut radius = FIRST_RADIUS;
        for _ in 0..tries {
            let places = self.near(radius);
            radius = if self.gains(places)? { (radius * GAIN).min(0.5) } else { (radius * LOSS).max(LEAST_RADIUS) };
        }
        Ok(())
    }

    fn near(&mut self, radius: f64) -> Vec<f64> {
        let mut places = self.best.clone();
        // One moves in any case, or the try would be wasted.
        let certain = (self.chance.unit() * self.knobs.len() as f64) as usize;
        for (index, (place, knob)) in places.iter_mut().zip(self.knobs).enumerate() {
            let ordered = knob.unit.is_ordered();
            let moves = index == certain || self.chance.happens(if ordered { MOVED } else { REDRAWN });
            if moves && ordered {
                *place = (*place + radius * (2.0 * self.chance.unit() - 1.0)).clamp(0.0, 1.0);
            } else if moves {
                *place = self.chance.unit();
            }
        }
        places
    }
}

impl Found {
    fn remember(&mut self, scored: Scored) {
        let place = self.better.partition_point(|other| other.score >= scored.score);
        if scored.score > self.authors && place < REMEMBERED {
            self.better.insert(place, scored);
            self.better.truncate(REMEMBERED);
        }
    }
}

fn settings(knobs: &[Knob], places: &[f64]) -> toml::Table {
    knobs.iter().zip(places).map(|(knob, &place)| (knob.name.to_owned(), knob.at(place))).collect()
}

fn comparable(score: f64) -> f64 {
    if score.is_nan() { f64::NEG_INFINITY } else { score }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    const KNOBS: &[Knob] =
        &[Knob::time("target", 1.0, 1000.0), Knob::linear("gain", 0.0, 1.0), Knob::word("law", &["plain", "clever"])];

    fn defaults() -> toml::Table {
        "target = '500ms'\ngain = 0.9\nlaw = 'plain'".parse().unwrap()
    }

    /// Best at 20 ms, 0.3 and `clever`, with a ridge between the first two.
    fn hill(settings: &toml::Table) -> Result<f64, Infallible> {
        let all: toml::Table = defaults().into_iter().chain(settings.clone()).collect();
        let place = |index: usize| KNOBS[index].place(&all[KNOBS[index].name]).unwrap();
        let target = place(0) - KNOBS[0].place(&toml::Value::String("20ms".into())).unwrap();
        let gain = place(1) - 0.3;
        let clever = f64::from(u8::from(all["law"].as_str() == Some("clever")));
        Ok(1.0 - 2.0 * (target + gain).powi(2) - (target - gain).powi(2) - 0.2 * (1.0 - clever))
    }

    fn found(tries: usize, seed: u64) -> Found {
        let Ok(found) = best(KNOBS, &defaults(), Plan { tries, seed }, hill);
        found
    }

    #[test]
    fn it_comes_near_the_top_from_far_away() {
        for seed in 0..5 {
            let best = found(60, seed).better.remove(0);
            assert!(best.score > 0.98, "seed {seed}: {best:?}");
            assert_eq!(best.settings["law"].as_str(), Some("clever"), "seed {seed}");
        }
    }

    #[test]
    fn the_same_seed_finds_the_same() {
        assert_eq!(found(30, 7), found(30, 7));
        assert_ne!(found(30, 7).better, found(30, 8).better);
    }

    #[test]
    fn it_spends_its_budget_and_no_more() {
        for tries in [1, 2, 3, 10, 41] {
            let mut runs = 0;
            let counted = |settings: &toml::Table| {
                runs += 1;
                hill(settings)
            };
            let Ok(found) = best(KNOBS, &defaults(), Plan { tries, seed: 1 }, counted);
            assert_eq!((runs, found.tries), (tries, tries));
        }
    }

    #[test]
    fn the_best_few_are_remembered_in_order() {
        let found = found(60, 1);
        assert_eq!(found.better.len(), REMEMBERED);
        assert!(found.better.is_sorted_by(|one, other| one.score >= other.score));
        assert!(found.better.iter().all(|scored| scored.score > found.authors));
    }

    #[test]
    fn nothing_is_found_where_nothing_is_better() {
        let flat = |_: &toml::Table| Ok::<_, Infallible>(0.5);
        let Ok(found) = best(KNOBS, &defaults(), Plan { tries: 20, seed: 1 }, flat);
        assert_eq!(found, Found { better: Vec::new(), authors: 0.5, tries: 20 });
    }

    #[test]
    fn a_controller_without_settings_is_tried_once() {
        let Ok(found) = best(&[], &toml::Table::new(), Plan { tries: 50, seed: 1 }, |_| Ok::<_, Infallible>(0.4));
        assert_eq!(found, Found { better: Vec::new(), authors: 0.4, tries: 1 });
    }

    #[test]
    fn a_score_that_is_no_number_is_the_worst() {
        let broken = |settings: &toml::Table| Ok::<_, Infallible>(if settings.is_empty() { -3.0 } else { f64::NAN });
        let Ok(found) = best(KNOBS, &defaults(), Plan { tries: 10, seed: 1 }, broken);
        assert_eq!((found.authors, found.better), (-3.0, Vec::new()));
    }

    #[test]
    fn an_error_ends_the_search() {
        let failing = |settings: &toml::Table| if settings.is_empty() { Ok(0.0) } else { Err("broken") };
        assert_eq!(best(KNOBS, &defaults(), Plan { tries: 10, seed: 1 }, failing), Err("broken"));
    }
}
