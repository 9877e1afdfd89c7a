//! Where to go and when, after a connection or a login has ended: the range of the gateway's reason says it, its hint
//! beats every formula, and what was lost without a word is tried again elsewhere.

use std::time::Duration;

use super::{
    Agent, ClientEvent, StopReason,
    backoff::{MAX_REDIRECTS, hinted},
    links::Line,
};
use crate::{
    client::{Alternative, CloseReason, Goaway, Verdict},
    clock::Timestamp,
    pb::client::ConnectReason,
    wire::{Reason, reason::Advice},
};

/// For so long after a login that was left without an answer, being replaced may be that login's doing.
const ABANDONED_FOR: Duration = Duration::from_secs(60);

impl Agent {
    pub(super) fn plan_after(&mut self, line: &Line, reason: CloseReason, now: Timestamp) {
        match &reason {
            CloseReason::Kicked(verdict) => self.stop(StopReason::Kicked(verdict.clone())),
            CloseReason::Refused { verdict, alternatives } => {
                let (verdict, alternatives) = (verdict.clone(), alternatives.clone());
                self.plan_after_refusal(line, reason, &verdict, &alternatives, now);
            }
            CloseReason::HeartbeatLost
            | CloseReason::LoginTimedOut
            | CloseReason::Disconnected
            | CloseReason::Io(_)
            | CloseReason::Unreachable(_)
            | CloseReason::Protocol(_)
            | CloseReason::Local => self.plan_elsewhere(line, reason, None, &[], now),
        }
    }

    fn plan_after_refusal(
        &mut self,
        line: &Line,
        reason: CloseReason,
        verdict: &Verdict,
        alternatives: &[Alternative],
        now: Timestamp,
    ) {
        self.gateways.learn(alternatives);
        match verdict.advice() {
            Advice::Stop => self.plan_after_stop(line, reason, verdict, now),
            Advice::BackOff => {
                let delay = self.hint_or_backoff(verdict);
                self.wait(reason, line.address.clone(), delay, now);
            }
            Advice::Reconnect => self.plan_elsewhere(line, reason, verdict.retry_after, alternatives, now),
            Advice::GoElsewhere => self.plan_redirect(line, reason, verdict, alternatives, now),
        }
    }

    /// No further try can help, but for two cases: while the connection before still serves, its gateway's word counts;
    /// and a login that was left without an answer may have come late and replaced this one.
    fn plan_after_stop(&mut self, line: &Line, reason: CloseReason, verdict: &Verdict, now: Timestamp) {
        let own_doing = self.abandoned.is_some_and(|at| now.since(at) < ABANDONED_FOR);
        let replaced = verdict.reason() == Some(Reason::Replaced);
        if self.current.is_some() || (replaced && own_doing) {
            let delay = self.backoff.after_failure(&mut self.random);
            self.wait(reason, line.address.clone(), delay, now);
        } else if replaced {
            self.stop(StopReason::Replaced);
        } else {
            self.stop(StopReason::Refused(verdict.clone()));
        }
    }

    /// Tries another gateway, if there is one, after the hint or the formula.
    fn plan_elsewhere(
        &mut self,
        line: &Line,
        reason: CloseReason,
        hint: Option<Duration>,
        alternatives: &[Alternative],
        now: Timestamp,
    ) {
        let asked_to = matches!(reason, CloseReason::Refused { .. });
        let formula = match line.welcomed {
            Some(welcomed) => self.backoff.after_loss(now.since(welcomed), self.spread, &mut self.random),
            None if asked_to => self.backoff.after_loss(Duration::ZERO, self.spread, &mut self.random),
            None => self.backoff.after_failure(&mut self.random),
        };
        let delay = hint.map_or(formula, |hint| hinted(hint, &mut self.random));
        self.gateways.failed(&line.address);
        let address = self.gateways.choose(alternatives, &mut self.random);
        if line.welcomed.is_some() {
            self.connect_reason = ConnectReason::Network;
        }
        self.wait(reason, address, delay, now);
    }

    /// Follows a redirect at once, but neither in circles nor for ever.
    fn plan_redirect(
        &mut self,
        line: &Line,
        reason: CloseReason,
        verdict: &Verdict,
        alternatives: &[Alternative],
        now: Timestamp,
    ) {
        self.redirects = self.redirects.saturating_add(1);
        self.connect_reason = ConnectReason::Redirected;
        self.gateways.failed(&line.address);
        let address = self.gateways.choose(alternatives, &mut self.random);
        let delay = if self.redirects > MAX_REDIRECTS || address == line.address {
            self.hint_or_backoff(verdict)
        } else {
            verdict.retry_after.map_or(Duration::ZERO, |hint| hinted(hint, &mut self.random))
        };
        self.wait(reason, address, delay, now);
    }

    fn hint_or_backoff(&mut self, verdict: &Verdict) -> Duration {
        match verdict.retry_after {
            Some(hint) => hinted(hint, &mut self.random),
            None => self.backoff.after_failure(&mut self.random),
        }
    }

    fn wait(&mut self, reason: CloseReason, address: String, delay: Duration, now: Timestamp) {
        self.redial = Some((now + delay, address.clone()));
        self.events.push_back(ClientEvent::Waiting { reason, address, delay, unsettled: self.outbox.len() });
    }

    /// The gateway wants this client elsewhere: the new connection first, then the old one is left.
    pub(super) fn plan_move(&mut self, goaway: Goaway, now: Timestamp) {
        self.gateways.learn(&goaway.alternatives);
        let Some(line) = &self.current else { return };
        if self.next.is_some() || self.redial.is_some() {
            return;
        }
        let lasted = line.welcomed.map_or(Duration::ZERO, |welcomed| now.since(welcomed));
        let delay = goaway.move_after + self.backoff.before_move(lasted, &mut self.random);
        self.gateways.failed(&line.address);
        let address = self.gateways.choose(&goaway.alternatives, &mut self.random);
        self.connect_reason = ConnectReason::Redirected;
        self.redial = Some((now + delay, address.clone()));
        self.events.push_back(ClientEvent::Moving { reason: goaway.verdict, address, delay });
    }
}
