//! What a client is told of the cuts: for each business that is not fully open to it, which share of its requests passes
//! and for how long that holds. It is told only with a `Welcome`, with a pong and with a refusal by a cut, at most once in
//! [`TELL_EVERY`]; whatever it is not told it takes for open.

use std::time::Duration;

use super::{Gateway, connection::Connection, request::Table};
use crate::{
    admission::{Cut, resolve, upstream::loosest},
    clock::{Timestamp, unix_millis, whole_millis_u32},
    id::BusinessCode,
    pb::client as pb,
    policy::table::{Balance, Business},
};

/// How often one connection is told at most: working it out costs more than a refusal does.
pub const TELL_EVERY: Duration = Duration::from_secs(1);

/// For how long a client may go by what it was told: until it can be told again, and no longer than a cut may need to
/// move away.
const HOLD: Duration = TELL_EVERY;

/// The cut of one instance, which binds what is sent to it on top of its service's own cuts.
#[derive(Clone, Copy, Debug)]
pub struct InstanceCut {
    /// What was refused by it.
    pub business: BusinessCode,
    /// The cut.
    pub cut: Cut,
}

impl Gateway {
    /// The cut that binds whichever instance of a service a request meets: the loosest of those that its connected
    /// instances sent of late. Nobody takes what lies above it.
    pub fn instance_cut(&self, service: usize, now: Timestamp) -> Cut {
        // What one worker has heard of an instance holds for all: another one may just have had nothing to ask it.
        let cut_of = |at: usize| {
            let links = || self.worker_list().iter().filter_map(move |worker| worker.instances().get(service)?.get(at));
            let is_connected = links().any(|instance| instance.link().is_connected());
            is_connected.then(|| links().map(|instance| instance.link().instance_cut(now)).min()).flatten()
        };
        let instances = self.services.get(service).map_or(0, |service| service.instances.len());
        loosest((0..instances).filter_map(cut_of))
    }

    /// What the cuts mean for a client whose user moves in these levels.
    pub fn resolved_cuts(
        &self,
        connection: &Connection,
        levels: (u8, u8),
        table: &Table,
        instance: Option<InstanceCut>,
    ) -> Vec<pb::ResolvedCut> {
        let since_epoch = Duration::from_millis(unix_millis());
        let bound = instance.and_then(|bound| Some((sticky_service(table, bound.business)?, bound.cut)));
        let told = table.claimable(connection.tier).filter_map(|business| {
            let service = table.service_of(business)?;
            let own = self.gates[service].cut_of(business.priority);
            let cut = bound.filter(|&(at, _)| at == service).map_or(own, |(_, cut)| cut.min(own));
            let resolved = resolve(cut, business.priority, connection.user_hash, since_epoch, levels, HOLD)?;
            Some(pb::ResolvedCut {
                business: u32::from(business.code.0),
                open_permille: u32::from(resolved.open_permille),
                valid_ms: whole_millis_u32(resolved.valid),
            })
        });
        told.collect()
    }
}

/// The service of a business, if a user's requests always meet the same instance of it: only then does that instance's cut
/// say anything about the user's next request.
fn sticky_service(table: &Table, business: BusinessCode) -> Option<usize> {
    let service = table.service_of(table.policy.business(business)?)?;
    match table.balance_of(service) {
        Balance::UserHash => Some(service),
        Balance::LeastLoaded => None,
    }
}

impl Table {
    /// The user levels of a tier.
    pub fn levels_of(&self, tier: u8) -> (u8, u8) {
        self.policy.tiers.get(usize::from(tier)).map_or((0, 127), |tier| tier.levels)
    }

    /// The businesses that users of a tier may request here.
    pub fn claimable(&self, tier: u8) -> impl Iterator<Item = &Business> {
        let may_claim = move |business: &&Business| {
            business.code != BusinessCode::LOGIN
                && (business.tiers.is_empty() || business.tiers.contains(&usize::from(tier)))
                && self.service_of(business).is_some()
        };
        self.policy.businesses.iter().filter(may_claim)
    }
}
