//! Where a client stands: what it was served of late, what it was told, and whether it is read from at present.

use std::{pin::Pin, task::Context, time::Duration};

use super::{Phase, Session};
use crate::{
    admission::{Cause, Cost, Level, Refusal, Value, Weight},
    clock::Timestamp,
    gateway::{
        cuts::{InstanceCut, TELL_EVERY},
        request::Table,
        settlement::Settlement,
    },
    id::{BusinessCode, MessageId},
    pb::client as pb,
    request::Failure,
};

/// The longest time for which a shut-out client is not read from. Its pings wait no longer, and it learns of an opening
/// no later.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// A pause is at most this part of the heartbeat's tolerance, so that neither side takes the other for dead.
const PAUSES_IN_TOLERANCE: u32 = 8;

/// What is remembered of a client from one request to the next. A connection that never asked for anything has none.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// What it was served.
    weight: Weight,
    /// When it was last told a cut.
    told: Option<Timestamp>,
    /// What of its outbox is answered.
    pub(super) settlement: Settlement,
}

impl Standing {
    /// Remembers what was said in the handshake, if anything was.
    pub(super) fn welcomed(welcome: &pb::Welcome, oldest_unsettled: MessageId, now: Timestamp) -> Option<Box<Self>> {
        let told = (!welcome.cuts.is_empty()).then_some(now);
        if told.is_none() && oldest_unsettled.0 == 0 {
            return None;
        }
        let mut standing = Self { told, ..Self::default() };
        standing.settlement.raise(oldest_unsettled);
        Some(Box::new(standing))
    }
}

impl Session {
    /// The levels that the user moves in: its tier's, or the end of them if it was served far more than others.
    pub(super) fn levels(&self, table: &Table, now: Timestamp) -> (u8, u8) {
        let tier = table.levels_of(self.connection.tier);
        self.standing.as_ref().map_or(tier, |standing| self.worker.usage.levels(&standing.weight, tier, now))
    }

    /// The logic service has worked on a request of this client.
    pub(super) fn served(&mut self, cost: Cost, now: Timestamp) {
        let standing = self.standing.get_or_insert_default();
        self.worker.usage.served(&mut standing.weight, cost, now);
    }

    /// What to tell along with this failure.
    pub(super) fn cuts_after(
        &mut self,
        failure: &Failure,
        business: BusinessCode,
        now: Timestamp,
    ) -> Vec<pb::ResolvedCut> {
        let Failure::Refused(refusal) = failure else { return Vec::new() };
        match refusal.cause {
            Cause::GatewayCut | Cause::ServiceCut | Cause::ManagerCap => self.cuts(now, None),
            Cause::InstanceCut => self.cuts(now, Some(InstanceCut { business, cut: refusal.cut })),
            // These say nothing about the next request.
            Cause::QueueFull
            | Cause::PushedOut
            | Cause::Expired
            | Cause::TooLate
            | Cause::NoInstance
            | Cause::Limit
            | Cause::Draining => Vec::new(),
        }
    }

    pub(super) fn pong(&mut self) -> pb::Pong {
        let now = self.worker.clock.now();
        let gateway = &self.worker.gateway;
        let (spread_ms, alternatives) = (gateway.spread_ms(), gateway.fleet.alternatives(now));
        pb::Pong { spread_ms, alternatives, cuts: self.cuts(now, None) }
    }

    /// What the client is to be told now; nothing if it was told a moment ago.
    fn cuts(&mut self, now: Timestamp, instance: Option<InstanceCut>) -> Vec<pb::ResolvedCut> {
        let told = self.standing.as_ref().and_then(|standing| standing.told);
        if told.is_some_and(|told| now.since(told) < TELL_EVERY) {
            return Vec::new();
        }
        let table = self.worker.table();
        let levels = self.levels(&table, now);
        let cuts = self.worker.gateway.resolved_cuts(&self.connection, levels, &table, instance);
        if !cuts.is_empty() {
            self.standing.get_or_insert_default().told = Some(now);
        }
        cuts
    }

    /// The gateway's own cut has refused this: refusing costs a third of serving, and this process has no time to lose. If
    /// it would refuse even the most important that this client may send, nothing is read from it for a moment. What it
    /// sends meanwhile is then refused in one go.
    pub(super) fn pause_if_shut_out(&mut self, refusal: &Refusal, cx: &mut Context<'_>) {
        let table = self.worker.table();
        let best = table.claimable(self.connection.tier).map(|business| business.priority).min();
        let value = |priority| Value::new(Level::new(priority, refusal.value.level().user()), 0);
        if self.phase != Phase::Serving || best.is_none_or(|priority| refusal.cut.admits(value(priority))) {
            return;
        }
        let tolerance = table.policy.connections.heartbeat_tolerance;
        let until = self.worker.clock.now() + LONGEST_PAUSE.min(tolerance / PAUSES_IN_TOLERANCE);
        self.timer = Some(Box::new(self.worker.deadlines.at(until)));
        // So that its end wakes this session.
        let _begun = self.is_paused(cx);
    }

    /// Whether nothing is to be read for now.
    pub(super) fn is_paused(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(timer) = &mut self.timer else { return false };
        let paused = Pin::new(&mut **timer).poll(cx).is_pending();
        if !paused {
            self.timer = None;
        }
        paused
    }
}
