//! Gateways attached over gRPC: each sends a report per interval and is sent a directive when one differs from the last,
//! and at least once per interval, so that it never lapses while both live.

use std::{pin::Pin, sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch},
    time::timeout,
};
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tonic::{Request, Response, Status, Streaming};

use super::{
    core::{Decisions, MAX_GATEWAYS, Orders, Report},
    engine::{Engine, Round},
    wire,
};
use crate::{
    clock::{Clock, Timestamp, whole_millis},
    id::Incarnation,
    pb::manager::{self as pb, manager_server::Manager},
};

/// Directives that may wait for a gateway's socket. One that takes none of them for a lease is given up.
const WAITING: usize = 4;
/// Longest message, in bytes: a report with every level of several gates.
pub const MAX_MESSAGE_BYTES: usize = 4 << 20;
/// A gateway that does not take over a policy is offered it again after this time.
const OFFER_AGAIN: Duration = Duration::from_secs(5);

/// The service that gateways attach to.
#[derive(Clone, Debug)]
pub struct Attach {
    engine: Engine,
    clock: Clock,
    places: Arc<Semaphore>,
}

impl Attach {
    /// In front of this engine.
    pub fn new(engine: Engine, clock: Clock) -> Self {
        Self { engine, clock, places: Arc::new(Semaphore::new(MAX_GATEWAYS)) }
    }

    /// How many gateways are attached.
    pub fn attached(&self) -> usize {
        MAX_GATEWAYS - self.places.available_permits()
    }
}

#[tonic::async_trait]
impl Manager for Attach {
    type AttachStream = Pin<Box<dyn Stream<Item = Result<pb::Directive, Status>> + Send>>;

    async fn attach(
        &self,
        request: Request<Streaming<pb::LoadReport>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let place = self.places.clone().try_acquire_owned();
        let place = place.map_err(|_| Status::resource_exhausted("this manager has no place for more gateways"))?;
        let (directives, waiting) = mpsc::channel(WAITING);
        let attached = Attached {
            engine: self.engine.clone(),
            clock: self.clock.clone(),
            directives,
            teller: Teller::default(),
            _place: place,
        };
        tokio::spawn(attached.run(request.into_inner()));
        Ok(Response::new(Box::pin(ReceiverStream::new(waiting))))
    }
}

/// One attached gateway.
struct Attached {
    engine: Engine,
    clock: Clock,
    directives: mpsc::Sender<Result<pb::Directive, Status>>,
    teller: Teller,
    _place: OwnedSemaphorePermit,
}

impl Attached {
    async fn run(mut self, mut reports: Streaming<pb::LoadReport>) {
        let mut rounds = self.engine.rounds();
        let mut known: Option<(String, Incarnation)> = None;
        let mut leaving = false;
        let ended = loop {
            let silence = self.engine.settings().lease;
            tokio::select! {
                report = timeout(silence, reports.message()) => match report {
                    Ok(Ok(Some(message))) => match wire::report(&message) {
                        Ok(report) => {
                            leaving = report.leaving;
                            known = Some(self.introduce(known, &report));
                            self.engine.hear(report, &message);
                        }
                        Err(fault) => break Err(Status::invalid_argument(fault.to_string())),
                    },
                    Ok(Ok(None)) => break Ok("it ended"),
                    Ok(Err(_)) => break Ok("it broke"),
                    Err(_) => break Ok("no report within the lease"),
                },
                changed = rounds.changed() => match (changed, &known) {
                    (Ok(()), Some((gateway, incarnation))) => {
                        if !self.tell(gateway, *incarnation, &mut rounds).await {
                            break Ok("it takes no directives");
                        }
                    }
                    (Ok(()), None) => {}
                    (Err(_), _) => break Err(Status::unavailable("the manager is stopping")),
                },
            }
        };
        let Some((gateway, incarnation)) = known else { return };
        match ended {
            Ok(why) => tracing::info!(gateway, why, "a gateway is not attached any more"),
            Err(status) => {
                tracing::warn!(gateway, %status, "a gateway was turned away");
                let _ = self.directives.try_send(Err(status));
            }
        }
        // Whoever only lost its stream attaches elsewhere; its lease says when it is gone.
        if leaving {
            self.engine.forget(&gateway, incarnation);
        }
    }

    fn introduce(&self, known: Option<(String, Incarnation)>, report: &Report) -> (String, Incarnation) {
        match known {
            Some(known) if known.0 == report.gateway => known,
            _ => {
                let (gateway, addresses) = (&report.gateway, report.addresses.join(", "));
                let incarnation = format!("{:016x}", report.incarnation.0);
                tracing::info!(gateway, incarnation, addresses, "a gateway is attached");
                (report.gateway.clone(), report.incarnation)
            }
        }
    }

    /// `false` if the gateway takes nothing any more.
    async fn tell(
        &mut self,
        gateway: &str,
        incarnation: Incarnation,
        rounds: &mut watch::Receiver<Arc<Round>>,
    ) -> bool {
        let round = rounds.borrow_and_update().clone();
        let settings = *self.engine.settings();
        let Some(directive) = directive_of(&round.decisions, &round.orders, gateway, incarnation, &settings) else {
            return true;
        };
        let policies = round.decisions.gateways.get(gateway).map_or((0, 0), |one| (one.policy, one.refused_policy));
        let policy = self.engine.policy();
        let Some(directive) = self.teller.tell(directive, policy.as_deref(), policies, self.clock.now(), &settings)
        else {
            return true;
        };
        matches!(timeout(settings.lease, self.directives.send(Ok(directive))).await, Ok(Ok(())))
    }
}

/// The directive of one run of a gateway, without a policy; `None` while nothing is decided about it.
fn directive_of(
    decisions: &Decisions,
    orders: &Orders,
    gateway: &str,
    incarnation: Incarnation,
    settings: &super::settings::Settings,
) -> Option<pb::Directive> {
    let decided = decisions.gateways.get(gateway).filter(|decided| decided.incarnation == incarnation)?;
    let mut directive = wire::directive(decided, settings);
    let services =
        decisions.services.iter().map(|one| pb::FleetCut { service: one.service.clone(), cut: one.cut.bits() });
    let logins = decisions.logins.map(|logins| pb::FleetCut { service: String::new(), cut: logins.cut.bits() });
    directive.cuts = services.chain(logins).collect();
    let cap = |cap: &super::core::orders::CapOrder| pb::Cap {
        service: cap.service.clone(),
        cut: cap.cut.bits(),
        left_ms: whole_millis(cap.left),
    };
    directive.caps = orders.caps.iter().map(cap).collect();
    let kick = |kick: &super::core::orders::KickOrder| pb::Kick {
        id: kick.id,
        user: kick.user.clone(),
        device: kick.device.clone(),
    };
    directive.kicks = orders.kicks.iter().map(kick).collect();
    Some(directive)
}

/// Decides when a gateway is told again.
#[derive(Debug, Default)]
struct Teller {
    last: Option<(Timestamp, pb::Directive)>,
    /// The policy that was offered last, and when.
    offered: Option<(Timestamp, u64)>,
}

impl Teller {
    /// The directive, if it is to be sent now: it differs from the last in more than ages, weights and where moves go, or an interval has
    /// passed. `has` are the policies that the gateway has in force, and has refused.
    fn tell(
        &mut self,
        directive: pb::Directive,
        policy: Option<&pb::Policy>,
        has: (u64, u64),
        now: Timestamp,
        settings: &super::settings::Settings,
    ) -> Option<pb::Directive> {
        let essence = essence(&directive);
        let wanted = policy.filter(|policy| policy.revision != has.0 && policy.revision != has.1);
        let offer = wanted.filter(|policy| {
            let offered = self.offered.filter(|&(_, revision)| revision == policy.revision);
            offered.is_none_or(|(at, _)| now.since(at) >= OFFER_AGAIN)
        });
        let is_due = match &self.last {
            Some((at, last)) => *last != essence || now.since(*at) >= settings.interval,
            None => true,
        };
        if !is_due && offer.is_none() {
            return None;
        }
        if let Some(policy) = offer {
            self.offered = Some((now, policy.revision));
        }
        self.last = Some((now, essence));
        Some(pb::Directive { policy: offer.cloned(), ..directive })
    }
}

/// What makes a directive another one.
fn essence(directive: &pb::Directive) -> pb::Directive {
    let mut essence = directive.clone();
    essence.alternatives.iter_mut().for_each(|one| one.weight = 0);
    essence.caps.iter_mut().for_each(|cap| cap.left_ms = 0);
    essence.spare_logins = 0.0;
    if let Some(moves) = &mut essence.moves {
        (moves.per_second, moves.down_to) = (0.0, 0);
        // Of many takers some are drawn, and others with each report: whoever gives is not told each time.
        moves.to.clear();
    }
    if let Some(standing) = &mut essence.standing {
        (standing.for_ms, standing.wait_ms) = (0, 0);
        standing.over.clear();
    }
    essence
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manager::settings::Settings;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_nanos(millis * 1_000_000)
    }

    fn accepting(accept: bool, for_ms: u64) -> pb::Directive {
        let standing = pb::Standing { accepting: accept, for_ms, ..pb::Standing::default() };
        pb::Directive { accept, standing: Some(standing), ..pb::Directive::default() }
    }

    #[test]
    fn a_gateway_is_told_what_is_new_at_once_and_the_same_once_per_interval() {
        let (mut teller, settings) = (Teller::default(), Settings::default());
        let mut told = |directive, millis| teller.tell(directive, None, (0, 0), at(millis), &settings).is_some();
        assert!(told(accepting(true, 0), 0));
        assert!(!told(accepting(true, 200), 200), "only older");
        assert!(told(accepting(false, 0), 400));
        assert!(!told(accepting(false, 900), 1300));
        assert!(told(accepting(false, 1000), 1400));
    }

    #[test]
    fn other_destinations_of_moves_are_told_once_per_interval_and_the_moves_themselves_at_once() {
        let (mut teller, settings) = (Teller::default(), Settings::default());
        let moves = |to: &[&str]| {
            let of =
                |&to: &&str| pb::AlternativeGateway { gateway: to.to_owned(), ..pb::AlternativeGateway::default() };
            pb::Moves { per_second: 5.0, down_to: 100, to: to.iter().map(of).collect() }
        };
        let mut told = |moves, millis| {
            let directive = pb::Directive { moves, ..accepting(true, millis) };
            teller.tell(directive, None, (0, 0), at(millis), &settings)
        };
        assert!(told(None, 0).is_some());
        assert!(told(Some(moves(&["a", "b"])), 200).is_some());
        assert!(told(Some(moves(&["c", "a"])), 400).is_none(), "drawn anew");
        let next = told(Some(moves(&["d"])), 1200).unwrap();
        assert_eq!(next.moves, Some(moves(&["d"])));
        assert!(told(None, 1400).is_some());
    }

    #[test]
    fn a_policy_is_offered_until_it_is_in_force_or_refused_but_not_all_the_time() {
        let (mut teller, settings) = (Teller::default(), Settings::default());
        let policy = pb::Policy { revision: 7, files: Vec::new() };
        let mut offered = |has, millis| {
            let told = teller.tell(accepting(true, 0), Some(&policy), has, at(millis), &settings);
            told.is_some_and(|directive| directive.policy.is_some())
        };
        assert!(offered((1, 0), 0));
        assert!(!offered((1, 0), 1000));
        assert!(offered((1, 0), 5000));
        assert!(!offered((7, 0), 20_000));
        assert!(!offered((1, 7), 40_000));
    }
}
