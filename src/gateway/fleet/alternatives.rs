//! Draws for one client where it may go: a few gateways, each as likely as its weight says. Different clients get different
//! ones, so that nobody is overrun by all of them.

use super::rules;
use crate::pb::{client, manager as pb};

/// Some of the gateways, drawn by weight. `random` gives numbers from 0 to 1.
pub(super) fn draw(among: &[pb::AlternativeGateway], random: impl FnMut() -> f64) -> Vec<client::Alternative> {
    let told = |index: usize| client::Alternative {
        addresses: among[index].addresses.clone(),
        weight: among[index].weight.max(1),
    };
    rules::draw(among.iter().map(|one| one.weight), random).map(told).collect()
}

#[cfg(test)]
mod tests {
    use super::{super::rules::PER_CLIENT, *};

    fn gateway(name: &str, weight: u32) -> pb::AlternativeGateway {
        pb::AlternativeGateway { gateway: name.to_owned(), addresses: vec![format!("{name}:1")], weight }
    }

    #[test]
    fn each_client_gets_a_few_drawn_by_weight() {
        let among = [gateway("a", 1000), gateway("b", 100), gateway("c", 100), gateway("d", 100), gateway("e", 100)];
        let mut random = fastrand::Rng::with_seed(1);
        let drawn: Vec<_> = (0..1000).map(|_| draw(&among, || random.f64())).collect();
        assert!(drawn.iter().all(|one| one.len() == PER_CLIENT));
        let first = |name: &str| drawn.iter().filter(|one| one[0].addresses[0] == format!("{name}:1")).count();
        assert!((650..780).contains(&first("a")), "{}", first("a"));
        assert!((40..110).contains(&first("d")), "{}", first("d"));
        assert_eq!(draw(&[], || 0.5), []);
    }
}
