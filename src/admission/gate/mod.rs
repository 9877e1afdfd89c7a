//! A gate decides by one comparison with one published cut, and counts each decision once.
//!
//! A request that is admitted costs one atomic load and one cell of its worker. Which cut refused it and when to try
//! again is worked out for refusals only. Everything slower (closing a window, moving the cut) happens in
//! [`Gate::tick`], which one owner calls about every 10 ms.

mod brake;
mod state;

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use self::{brake::Brake, state::State};
use super::{
    Cause, Cost, Cut, GateMode, GateSettings, Level, Refusal, Value,
    cells::{PRIORITIES, Shard},
    controller::Decision,
    dry_run::VirtualQueue,
    places::Backlog,
    retry::{LONGEST_HINT, retry_after},
    window::Window,
};
use crate::clock::Timestamp;

/// Decides which requests go on, from their values; shared by all workers in an [`Arc`].
///
/// Each worker counts in a shard of its own, from 0 to the number given to [`Gate::new`]: two threads that use one shard
/// at the same time lose counts (and nothing else).
///
/// ```
/// use dagor::admission::{Cost, Cut, Gate, GateSettings, Level, Value};
/// use dagor::clock::Timestamp;
///
/// let gate = Gate::new(GateSettings::default(), 1);
/// let message = Value::new(Level::new(2, 100), 7);
/// assert!(gate.decide(0, Timestamp::ZERO, message, Cost::ONE).is_ok());
///
/// gate.set_manager_cap(Cut::through(Level::new(1, 127)));
/// let refusal = gate.decide(0, Timestamp::ZERO, message, Cost::ONE).unwrap_err();
/// assert_eq!(refusal.to_string(), "refused: manager_cap");
/// ```
pub struct Gate {
    cuts: Cuts,
    shards: Box<[Shard]>,
    own_cause: Cause,
    state: Mutex<State>,
}

/// What the workers read, on a cache line that is only written when a cut changes or a window ends.
#[repr(align(128))]
struct Cuts {
    /// The cut that refuses in the upper half, the cut that is counted by in the lower half. They differ in a dry run
    /// only; together they fit one load.
    published: AtomicU64,
    own: AtomicU32,
    gateway: AtomicU32,
    manager: AtomicU32,
    fleet: AtomicU32,
    /// Refuses nothing here: what lies above it, the instances behind this gate refuse.
    instances: AtomicU32,
    window_ends_nanos: AtomicU64,
    /// For each business priority, the value below which it passes above the gate's own cut; read on refusals only.
    floors: [AtomicU32; PRIORITIES],
}

/// How a request came through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It is below the cut.
    Below,
    /// It is not, but its business has a minimum share: in a queue ordered by importance it must not stand behind those
    /// that were let in for theirs.
    Share,
}

impl Admission {
    /// The level at which a request of this value waits.
    pub const fn standing(self, value: Value) -> Level {
        match self {
            Self::Below => value.level(),
            Self::Share => Level::MOST_IMPORTANT,
        }
    }
}

/// A gate at a moment, for metrics, logs and reports.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GateSnapshot {
    /// What the gate's own controller wants.
    pub own: Cut,
    /// What is in force: the strictest of all cuts, without the own one in a dry run.
    pub effective: Cut,
    /// Mean age of what left the queue in the last window. In a dry run: of what would have left the virtual queue.
    pub queuing: Duration,
    /// Whether that was above the target.
    pub overloaded: bool,
    /// Requests let through since the gate was made.
    pub admitted_total: u64,
    /// Requests refused since the gate was made.
    pub refused_total: u64,
    /// Requests let through that would have been refused if this were no dry run.
    pub would_refuse_total: u64,
    /// Requests let through above the cut, by the minimum share of their business.
    pub shared_total: u64,
    /// Requests answered.
    pub completed_total: u64,
    /// Windows closed.
    pub windows: u64,
    /// Requests completed per second while all places were taken, at their mean cost, once known.
    pub capacity_per_second: Option<f64>,
    /// What waits, as of the last window.
    pub backlog: Backlog,
    /// Whether the gate enforces its own cut.
    pub mode: GateMode,
}

impl Gate {
    /// An open gate in front of a logic service, with counters for `shards` workers.
    pub fn new(settings: GateSettings, shards: usize) -> Self {
        Self::with_cause(settings, shards, Cause::ServiceCut)
    }

    /// The same with another cause for what its own cut refuses.
    pub fn with_cause(settings: GateSettings, shards: usize, own_cause: Cause) -> Self {
        let open = || AtomicU32::new(Cut::OPEN.bits());
        Self {
            cuts: Cuts {
                published: AtomicU64::new(u64::MAX),
                own: open(),
                gateway: open(),
                manager: open(),
                fleet: open(),
                instances: open(),
                window_ends_nanos: AtomicU64::new(0),
                floors: [const { AtomicU32::new(0) }; PRIORITIES],
            },
            shards: (0..shards).map(|_| Shard::new()).collect(),
            own_cause,
            state: Mutex::new(State::new(settings, shards)),
        }
    }

    /// Whether a request of this value goes on, counted with its cost in the worker's shard. `now` is when it arrived.
    ///
    /// # Errors
    ///
    /// Refuses what is not below the effective cut and not within the minimum share of its business.
    ///
    /// # Panics
    ///
    /// If there is no such shard.
    #[inline]
    pub fn decide(&self, shard: usize, now: Timestamp, value: Value, cost: Cost) -> Result<Admission, Refusal> {
        let (enforced, counted) = self.published();
        let shard = &self.shards[shard];
        if counted.admits(value) {
            shard.admit(value.level(), cost);
            return Ok(Admission::Below);
        }
        shard.refuse(value.level(), cost);
        self.turn_away(shard, now, value, enforced)
    }

    /// A request of this value and cost goes on whatever the cuts say, and is counted as let through.
    ///
    /// # Panics
    ///
    /// If there is no such shard.
    pub fn let_in(&self, shard: usize, value: Value, cost: Cost) {
        self.shards[shard].admit(value.level(), cost);
    }

    #[inline(never)]
    fn turn_away(&self, shard: &Shard, now: Timestamp, value: Value, enforced: Cut) -> Result<Admission, Refusal> {
        if enforced.admits(value) {
            shard.spare();
            return Ok(Admission::Below);
        }
        let floor = &self.cuts.floors[usize::from(value.level().business())];
        if value.bits() < floor.load(Relaxed) && self.caps().admits(value) {
            shard.share();
            return Ok(Admission::Share);
        }
        Err(Refusal { cut: enforced, ..self.refusal(self.cause(value), now, value) })
    }

    /// Whether a request of this value would be let through at present; counts nothing.
    #[inline]
    pub fn admits(&self, value: Value) -> bool {
        self.published().0.admits(value)
    }

    /// A refusal for something other than the cuts, such as a full queue, with this gate's hint for a retry. The hint
    /// never lies before the end of the present window, because the cut does not move until then.
    pub fn refusal(&self, cause: Cause, now: Timestamp, value: Value) -> Refusal {
        let cut = self.effective_cut();
        let window_ends = Timestamp::from_nanos(self.cuts.window_ends_nanos.load(Relaxed));
        let retry_after = retry_after(value, cut).max(window_ends.since(now)).min(LONGEST_HINT);
        Refusal { cause, value, cut, retry_after }
    }

    /// Something left the queue after this time in it: dispatched, expired or pushed out.
    ///
    /// # Panics
    ///
    /// If there is no such shard.
    pub fn sample(&self, shard: usize, queuing: Duration) {
        self.shards[shard].sample(queuing);
    }

    /// A request of this cost was answered; what expired or was lost is not. `at_limit` tells whether all places behind
    /// this gate were taken: completions tell the capacity only then.
    ///
    /// # Panics
    ///
    /// If there is no such shard.
    pub fn completed(&self, shard: usize, cost: Cost, at_limit: bool) {
        self.shards[shard].complete(cost, at_limit);
    }

    /// All places behind this gate were taken for so long, since this was last told.
    ///
    /// # Panics
    ///
    /// If there is no such shard.
    pub fn limited(&self, shard: usize, time: Duration) {
        self.shards[shard].limited(time);
    }

    /// Puts the gateway's own cut in force here.
    pub fn set_gateway_cut(&self, cut: Cut) {
        self.set(&self.cuts.gateway, cut);
    }

    /// Puts the manager's cap in force here.
    pub fn set_manager_cap(&self, cut: Cut) {
        self.set(&self.cuts.manager, cut);
    }

    /// Puts the fleet's cut in force here: what every gateway of the fleet lets in. It is the base of the own cut, which is
    /// stricter only while far more waits than that can have meant, and does not grow beyond it. Minimum shares pass it as
    /// they pass the own.
    pub fn set_fleet_cut(&self, cut: Cut) {
        self.set(&self.cuts.fleet, cut);
    }

    /// The fleet's cut in force.
    pub fn fleet_cut(&self) -> Cut {
        load(&self.cuts.fleet)
    }

    /// Says what none of the instances behind this gate takes. It refuses nothing here; but letting more in than that
    /// would fill nobody's queue and teach nothing, so the own cut does not grow while it binds.
    pub fn set_instance_cut(&self, cut: Cut) {
        self.cuts.instances.store(cut.bits(), Relaxed);
    }

    /// The cut that refuses at present.
    pub fn effective_cut(&self) -> Cut {
        self.published().0
    }

    /// The cut that refuses requests of this business priority at present: the effective one, or a looser one up to which
    /// a minimum share lets them through.
    ///
    /// # Panics
    ///
    /// If there is no such priority.
    pub fn cut_of(&self, business: u8) -> Cut {
        let shared = load(&self.cuts.floors[usize::from(business)]).min(self.caps());
        Ord::max(self.effective_cut(), shared)
    }

    /// What the gate's own controller wants.
    pub fn own_cut(&self) -> Cut {
        load(&self.cuts.own)
    }

    /// Takes new settings. The cut stays where it is and the present window starts over; with the same settings as
    /// before nothing changes.
    pub fn reconfigure(&self, settings: GateSettings) {
        let mut state = self.state();
        if state.settings == settings {
            return;
        }
        state.count(&self.shards, settings.window);
        state.controller = settings.controller.build();
        state.settings = settings;
        state.window = Window::default();
        state.virtual_queue = VirtualQueue::default();
        self.publish(&state);
    }

    /// Closes the window if it is due and moves the cut. `backlog` is what waits now; where nobody counts that, it is
    /// told from the queuing times. One owner calls this about every 10 ms.
    pub fn tick(&self, now: Timestamp, backlog: Option<Backlog>) {
        let mut state = self.state();
        let samples = state.seen.samples(&self.shards);
        state.step_virtual_queue(now, &self.shards);
        let State { window, settings, .. } = &mut *state;
        let Some(elapsed) = window.due(now, samples, settings) else { return };
        window.reopen(now);
        let window_ends = now + settings.window;
        let Decision { cut, floors } = state.close_window(elapsed, backlog, self);
        let cut = self.based_on_fleet(cut, &mut state);
        self.cuts.own.store(cut.bits(), Relaxed);
        for (floor, published) in floors.into_iter().zip(&self.cuts.floors) {
            published.store(floor, Relaxed);
        }
        self.cuts.window_ends_nanos.store(window_ends.as_nanos(), Relaxed);
        self.publish(&state);
    }

    /// Whether the gate enforces its own cut.
    pub fn mode(&self) -> GateMode {
        self.state().settings.mode
    }

    /// The mean queuing time above which the gate is overloaded.
    pub fn target(&self) -> Duration {
        self.state().settings.target
    }

    /// How long a request that the cut has left behind stays in the queue.
    pub fn patience(&self) -> Duration {
        self.state().settings.patience
    }

    /// The gate at this moment.
    pub fn snapshot(&self) -> GateSnapshot {
        let mut state = self.state();
        let State { tally, watched, totals, seen, .. } = &mut *state;
        let decided = totals.decided + tally.pending(all(&self.shards, watched));
        let period = seen.period(&self.shards, Duration::from_secs(1));
        let completed_total = totals.completed + u64::from(period.completed);
        let shared_total = totals.shared + u64::from(period.shared);
        GateSnapshot {
            own: self.own_cut(),
            effective: self.effective_cut(),
            queuing: state.verdict.queuing,
            overloaded: state.verdict.overloaded,
            admitted_total: decided.admitted + decided.spared + shared_total,
            refused_total: decided.refused.saturating_sub(decided.spared + shared_total),
            would_refuse_total: decided.spared,
            shared_total,
            completed_total,
            windows: state.totals.windows,
            capacity_per_second: state.requests_per_second(),
            backlog: state.backlog,
            mode: state.settings.mode,
        }
    }

    /// Counts the decisions of other gates as load of this one, instead of those of the gates so far.
    pub(super) fn watch(&self, gates: Vec<Arc<Self>>) {
        let mut state = self.state();
        let period = state.settings.window;
        state.count(&self.shards, period);
        state.watched = gates;
        let State { tally, watched, .. } = &mut *state;
        tally.start_from(all(&self.shards, watched));
    }

    /// Puts this gate's own cut in force at the gates that it watches. A dry run has none to put in force.
    pub(super) fn pass_on(&self) {
        let state = self.state();
        let cut = match state.settings.mode {
            GateMode::Enforce => self.own_cut(),
            GateMode::DryRun => Cut::OPEN,
        };
        state.watched.iter().for_each(|gate| gate.set_gateway_cut(cut));
    }

    pub(super) fn shards(&self) -> &[Shard] {
        &self.shards
    }

    fn published(&self) -> (Cut, Cut) {
        let both = self.cuts.published.load(Relaxed);
        (Cut::from_bits((both >> 32) as u32), Cut::from_bits(both as u32))
    }

    fn set(&self, place: &AtomicU32, cut: Cut) {
        if place.swap(cut.bits(), Relaxed) != cut.bits() {
            self.publish(&self.state());
        }
    }

    /// Joins the cuts. Under the state's lock, so that the last change is what stays published.
    fn publish(&self, state: &State) {
        let others = self.others();
        let counted = others.min(self.own_cut());
        let enforced = match state.settings.mode {
            GateMode::Enforce => counted,
            GateMode::DryRun => others,
        };
        let both = u64::from(enforced.bits()) << 32 | u64::from(counted.bits());
        self.cuts.published.store(both, Relaxed);
    }

    /// What holds here whatever the service can do.
    fn caps(&self) -> Cut {
        load(&self.cuts.gateway).min(load(&self.cuts.manager))
    }

    fn others(&self) -> Cut {
        self.caps().min(load(&self.cuts.fleet))
    }

    /// The own cut is no stricter than the fleet's, but for an emergency.
    fn based_on_fleet(&self, own: Cut, state: &mut State) -> Cut {
        match load(&self.cuts.fleet) {
            Cut::OPEN => {
                state.brake = Brake::default();
                own
            }
            fleet if state.brake.on_window(own < fleet, state.backlog.wanted, &state.throughput) => own,
            fleet => Ord::max(own, fleet),
        }
    }

    /// Whether another cut than the own one decides what is served behind this gate.
    fn is_bound(&self) -> bool {
        self.others().min(load(&self.cuts.instances)) < self.own_cut()
    }

    /// The strictest cut is the cause: nothing changes for this value before that one moves.
    fn cause(&self, value: Value) -> Cause {
        let (gateway, own) = (load(&self.cuts.gateway), self.own_cut());
        let (manager, fleet) = (load(&self.cuts.manager), load(&self.cuts.fleet));
        let is_cap = manager < gateway.min(own) && !manager.admits(value);
        let is_fleet = fleet < gateway && fleet <= own && !fleet.admits(value);
        if is_cap || is_fleet {
            Cause::ManagerCap
        } else if !gateway.admits(value) && gateway < own {
            Cause::GatewayCut
        } else {
            self.own_cause
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Counters and cuts stay usable whatever a panicking owner left behind.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn load(cut: &AtomicU32) -> Cut {
    Cut::from_bits(cut.load(Relaxed))
}

/// The gate's own shards and those of the gates it watches.
fn all<'a>(own: &'a [Shard], watched: &'a [Arc<Gate>]) -> impl Iterator<Item = &'a Shard> {
    own.iter().chain(watched.iter().flat_map(|gate| &gate.shards))
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("own", &self.own_cut()).field("effective", &self.effective_cut()).finish()
    }
}

#[cfg(test)]
mod tests;
