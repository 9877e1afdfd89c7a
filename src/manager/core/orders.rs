//! What operators want: caps that lapse, gateways to be drained, users to be kicked.

use std::time::Duration;

use super::{report::Report, standing::Wish};
use crate::{admission::Cut, id::Incarnation};

/// Everything that is wanted at a moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Orders {
    /// Upper bounds on cuts.
    pub caps: Vec<CapOrder>,
    /// Gateways to be emptied.
    pub drains: Vec<DrainOrder>,
    /// Users to be put out.
    pub kicks: Vec<KickOrder>,
}

/// An upper bound on a service's cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CapOrder {
    /// The service; empty for logins.
    pub service: String,
    /// Who passes at most.
    pub cut: Cut,
    /// When it lapses.
    pub left: Duration,
}

/// A gateway to be emptied.
#[derive(Clone, Debug, PartialEq)]
pub struct DrainOrder {
    /// Which one.
    pub gateway: String,
    /// Which run of it: when it is started again, it is not drained any more.
    pub incarnation: Incarnation,
    /// Clients told to move per second.
    pub per_second: f64,
}

/// A user to be put out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KickOrder {
    /// Each gateway carries it out once.
    pub id: u64,
    /// Who.
    pub user: String,
    /// With which device; empty for all.
    pub device: String,
}

impl Orders {
    /// What is wanted of this gateway.
    pub fn wish(&self, report: &Report) -> Wish {
        if report.leaving {
            Wish::Leaving
        } else if self.drain(report).is_some() {
            Wish::Drained
        } else {
            Wish::None
        }
    }

    /// How many clients per second are to leave this gateway, if it is to be drained.
    pub fn drain(&self, report: &Report) -> Option<f64> {
        let is_meant = |order: &&DrainOrder| order.gateway == report.gateway && order.incarnation == report.incarnation;
        self.drains.iter().find(is_meant).map(|order| order.per_second)
    }
}
