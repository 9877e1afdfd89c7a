//! Draws for one client where it may go: a few gateways, each as likely as its weight says. Different clients get different
//! ones, so that nobody is overrun by all of them.

use crate::pb::{client, manager as pb};

/// Alternatives that one client is told.
const PER_CLIENT: usize = 3;

/// Some of the gateways, drawn by weight without replacement: a key of u^(1/w) each (Efraimidis and Spirakis 2006). `random`
/// gives numbers from 0 to 1.
pub(super) fn draw(among: &[pb::AlternativeGateway], mut random: impl FnMut() -> f64) -> Vec<client::Alternative> {
    let weigh = |one: &pb::AlternativeGateway| f64::from(one.weight.max(1));
    let mut keyed: Vec<_> = among.iter().map(|one| (random().max(f64::MIN_POSITIVE).ln() / weigh(one), one)).collect();
    keyed.sort_by(|a, b| b.0.total_cmp(&a.0));
    let told = |(_, one): (f64, &pb::AlternativeGateway)| client::Alternative {
        addresses: one.addresses.clone(),
        weight: one.weight.max(1),
    };
    keyed.into_iter().take(PER_CLIENT).map(told).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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
