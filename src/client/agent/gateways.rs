//! Where to go next: a weighted random choice among the gateways that did not fail lately; the one that failed last comes
//! last.

use fastrand::Rng;

use super::super::Alternative;

/// Failed gateways remembered; more are forgotten, the longest ago first.
const REMEMBERED: usize = 64;

/// The gateways that this client knows.
#[derive(Debug)]
pub(super) struct Gateways {
    configured: Vec<String>,
    /// What the last gateway said.
    learned: Vec<Alternative>,
    /// Failed since the last login, the last one at the end.
    failed: Vec<String>,
}

impl Gateways {
    pub(super) fn new(configured: Vec<String>) -> Self {
        Self { configured, learned: Vec::new(), failed: Vec::new() }
    }

    /// The last gateway's list takes the place of the one before. An empty one says nothing.
    pub(super) fn learn(&mut self, alternatives: &[Alternative]) {
        if !alternatives.is_empty() {
            self.learned = alternatives.to_vec();
        }
    }

    pub(super) fn failed(&mut self, address: &str) {
        self.failed.retain(|failed| failed != address);
        if self.failed.len() >= REMEMBERED {
            self.failed.remove(0);
        }
        self.failed.push(address.to_owned());
    }

    /// Logged in: what failed before may be well again.
    pub(super) fn succeeded(&mut self) {
        self.failed.clear();
    }

    /// One of these if any did not fail lately, otherwise one of all that are known.
    pub(super) fn choose(&self, preferred: &[Alternative], random: &mut Rng) -> String {
        let fresh = |address: &str| !self.failed.iter().any(|failed| failed == address);
        let preferred = preferred.iter().flat_map(candidates).filter(|&(address, _)| fresh(address)).collect();
        draw(preferred, random)
            .or_else(|| draw(self.known().filter(|&(address, _)| fresh(address)).collect(), random))
            .or_else(|| self.longest_ago())
            .map(str::to_owned)
            .unwrap_or_default()
    }

    /// Every address with its weight. A configured one counts as one alternative.
    fn known(&self) -> impl Iterator<Item = (&str, u64)> {
        let learned = self.learned.iter().flat_map(candidates);
        let is_learned = |address: &str| self.learned.iter().any(|other| other.addresses.iter().any(|a| a == address));
        let configured = self.configured.iter().filter(move |address| !is_learned(address));
        learned.chain(configured.map(|address| (address.as_str(), 1)))
    }

    /// All have failed: the one that did so the longest ago.
    fn longest_ago(&self) -> Option<&str> {
        let known = |failed: &&String| self.known().any(|(address, _)| address == failed.as_str());
        self.failed.iter().find(known).map(String::as_str).or_else(|| self.configured.first().map(String::as_str))
    }
}

/// The addresses of an alternative; a weight of 0 is taken for the smallest there is.
fn candidates(alternative: &Alternative) -> impl Iterator<Item = (&str, u64)> {
    let weight = u64::from(alternative.weight.max(1));
    alternative.addresses.iter().map(move |address| (address.as_str(), weight))
}

fn draw<'a>(candidates: Vec<(&'a str, u64)>, random: &mut Rng) -> Option<&'a str> {
    let total: u64 = candidates.iter().map(|&(_, weight)| weight).sum();
    let mut ticket = if total == 0 { return None } else { random.u64(..total) };
    candidates.into_iter().find_map(|(address, weight)| match ticket.checked_sub(weight) {
        Some(rest) => {
            ticket = rest;
            None
        }
        None => Some(address),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alternative(address: &str, weight: u32) -> Alternative {
        Alternative { addresses: vec![address.to_owned()], weight }
    }

    fn gateways() -> Gateways {
        Gateways::new(vec!["a:1".into(), "b:1".into(), "c:1".into()])
    }

    #[test]
    fn the_gateway_that_failed_last_comes_last() {
        let (mut gateways, mut random) = (gateways(), Rng::with_seed(1));
        for failed in ["b:1", "a:1"] {
            gateways.failed(failed);
        }
        assert_eq!(gateways.choose(&[], &mut random), "c:1");
        gateways.failed("c:1");
        assert_eq!(gateways.choose(&[], &mut random), "b:1", "the longest ago");
        gateways.failed("b:1");
        assert_eq!(gateways.choose(&[], &mut random), "a:1");
    }

    #[test]
    fn alternatives_are_drawn_by_their_weights() {
        let (gateways, mut random) = (gateways(), Rng::with_seed(1));
        let alternatives = [alternative("x:1", 3), alternative("y:1", 1)];
        let drawn = (0..1000).filter(|_| gateways.choose(&alternatives, &mut random) == "x:1").count();
        assert!((700..800).contains(&drawn), "{drawn} of 1000");
    }

    #[test]
    fn an_alternative_that_failed_is_no_alternative() {
        let (mut gateways, mut random) = (gateways(), Rng::with_seed(1));
        gateways.failed("x:1");
        let chosen = gateways.choose(&[alternative("x:1", 3)], &mut random);
        assert!(["a:1", "b:1", "c:1"].contains(&chosen.as_str()), "{chosen}");
    }

    #[test]
    fn what_the_last_gateway_said_is_known_and_replaced_by_the_next_word() {
        let (mut gateways, mut random) = (gateways(), Rng::with_seed(1));
        for configured in ["a:1", "b:1", "c:1"] {
            gateways.failed(configured);
        }
        gateways.learn(&[alternative("x:1", 0)]);
        gateways.learn(&[]);
        assert_eq!(gateways.choose(&[], &mut random), "x:1");
        gateways.learn(&[alternative("y:1", 7)]);
        assert_eq!(gateways.choose(&[], &mut random), "y:1");
    }

    #[test]
    fn what_failed_is_remembered_within_bounds() {
        let mut gateways = gateways();
        for number in 0..1000 {
            gateways.failed(&number.to_string());
        }
        assert_eq!(gateways.failed.len(), REMEMBERED);
    }
}
