//! The gate and the queue of one process, for as many threads as a runtime has, and the driver that moves their time.
//!
//! The gate counts in cells that have one writer at a time. A worker of the gateway owns its cells; here any thread may
//! decide, so each has a slot behind a lock that is its own as long as there are no more threads than slots.

use std::{
    cell::Cell,
    fmt,
    future::Future,
    io,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use tower_layer::Layer;

use crate::{
    admission::{Admission, Cost, Cut, Gate, GateSettings, GateSnapshot, Refusal, Value},
    clock::{Clock, Timestamp},
    layer::{PlacedQueueLayer, QueueHandle, QueueSettings, queue::Queue},
};

/// How often the driver has to come round.
pub const ROUND: Duration = Duration::from_millis(10);

/// More threads than this share slots, which costs them a wait of nanoseconds. Each slot takes 64 KiB.
const MOST_SLOTS: usize = 16;

/// How a process admits.
#[derive(Clone, Debug, PartialEq)]
pub struct GatehouseSettings {
    /// How the cut moves.
    pub gate: GateSettings,
    /// How many requests may wait.
    pub queue: usize,
    /// How many requests run at once; without a number it is found out from what is answered. What runs beyond what the
    /// service can work on waits where nobody orders it by importance, so it should be little more than its workers.
    pub max_in_flight: Option<usize>,
}

/// What waits is bounded by its time as well, so this is only a bound on memory.
const MOST_WAITING: usize = 1000;

impl Default for GatehouseSettings {
    /// The usual gate; 1,000 requests may wait; how many run at once is found out.
    fn default() -> Self {
        Self { gate: GateSettings::default(), queue: MOST_WAITING, max_in_flight: None }
    }
}

impl GatehouseSettings {
    /// The same for a service of which it is known how many requests it works on at a time.
    pub fn for_workers(max_in_flight: usize) -> Self {
        Self { max_in_flight: Some(max_in_flight), ..Self::default() }
    }
}

/// Decides which requests run, and when. Clones are the same gate and the same queue.
#[derive(Clone)]
pub struct Gatehouse(Arc<Shared>);

struct Shared {
    gate: Arc<Gate>,
    slots: Box<[Mutex<()>]>,
    queue: PlacedQueueLayer,
    handle: QueueHandle,
    clock: Clock,
}

impl Gatehouse {
    /// A gatehouse, and what has to drive it: without its [`Driver`] no window ends and nothing that waits expires.
    pub fn pair(settings: GatehouseSettings, clock: Clock) -> (Self, Driver) {
        let slots = thread::available_parallelism().map_or(1, usize::from).min(MOST_SLOTS);
        // The queue counts under its own lock, and so in cells of its own.
        let gate = Arc::new(Gate::new(settings.gate, slots + 1));
        let max_in_flight = settings.max_in_flight.unwrap_or_default();
        let sizes = QueueSettings { capacity: settings.queue, max_in_flight };
        let (queue, handle) = PlacedQueueLayer::pair(sizes, gate.clone(), slots, clock.clone());
        if settings.max_in_flight.is_none() {
            handle.find_places();
        }
        let slots = (0..slots).map(|_| Mutex::new(())).collect();
        let shared = Arc::new(Shared { gate, slots, queue, handle, clock });
        let driver = Driver(Arc::downgrade(&shared));
        (Self(shared), driver)
    }

    /// The gate, for a manual cap and for settings that change.
    pub fn gate(&self) -> &Arc<Gate> {
        &self.0.gate
    }

    /// The queue, for another number of places and for what is seen of it.
    pub fn queue(&self) -> &QueueHandle {
        &self.0.handle
    }

    /// The gate at this moment, for metrics.
    pub fn snapshot(&self) -> GateSnapshot {
        self.0.gate.snapshot()
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.0.clock
    }

    pub(super) fn cut(&self) -> Cut {
        self.0.gate.effective_cut()
    }

    pub(super) fn decide(&self, now: Timestamp, value: Value, cost: Cost) -> Result<Admission, Refusal> {
        let slot = slot_of_thread(self.0.slots.len());
        // It protects cells of the gate, which are whole at any moment.
        let _alone = self.0.slots[slot].lock().unwrap_or_else(PoisonError::into_inner);
        self.0.gate.decide(slot, now, value, cost)
    }

    pub(super) fn queued<S>(&self, inner: S) -> Queue<S> {
        self.0.queue.layer(inner)
    }
}

impl fmt::Debug for Gatehouse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gatehouse").field("gate", &self.0.gate).field("queue", &self.0.handle).finish()
    }
}

/// Threads are numbered in the order in which they first decide.
fn slot_of_thread(slots: usize) -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static NUMBER: Cell<Option<usize>> = const { Cell::new(None) };
    }
    let number = NUMBER.get().unwrap_or_else(|| {
        let number = THREADS.fetch_add(1, Relaxed);
        NUMBER.set(Some(number));
        number
    });
    number % slots
}

/// Ends the gate's windows and lets expire what has waited too long. Ends by itself when the last layer, service and
/// response of its [`Gatehouse`] are gone.
#[must_use = "without its driver a gatehouse stands still"]
pub struct Driver(Weak<Shared>);

impl Driver {
    /// Drives on a thread of its own, which nothing in the process delays: the best choice where a thread may be had.
    ///
    /// # Errors
    ///
    /// If the system has no thread for it.
    pub fn start_thread(self) -> io::Result<()> {
        let work = move || {
            while self.round() {
                // Nobody wakes this thread, so this is a pause; one that ends early does no harm.
                thread::park_timeout(ROUND);
            }
        };
        thread::Builder::new().name("dagor-gate".to_owned()).spawn(work).map(drop)
    }

    /// Drives as a task of any runtime whose `sleep` this is.
    ///
    /// ```
    /// # use dagor::{clock::Clock, layer::http::{Gatehouse, GatehouseSettings}};
    /// # let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    /// # runtime.block_on(async {
    /// let (gatehouse, driver) = Gatehouse::pair(GatehouseSettings::for_workers(8), Clock::system());
    /// let driving = tokio::spawn(driver.run(tokio::time::sleep));
    /// drop(gatehouse);
    /// driving.await.unwrap(); // it has ended
    /// # });
    /// ```
    pub async fn run<W: Future>(self, mut sleep: impl FnMut(Duration) -> W) {
        while self.round() {
            sleep(ROUND).await;
        }
    }

    /// One round, for whoever has a timer of its own that fires every [`ROUND`]. False once nobody needs it any more.
    pub fn round(&self) -> bool {
        let Some(shared) = self.0.upgrade() else { return false };
        let now = shared.clock.now();
        shared.handle.expire(now);
        shared.gate.tick(now, Some(shared.handle.backlog(now)));
        true
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Driver")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THREADS: u64 = 8;
    const EACH: u64 = 2000;

    #[test]
    fn no_decision_is_lost_with_more_threads_than_slots() {
        let (gatehouse, driver) = Gatehouse::pair(GatehouseSettings::for_workers(8), Clock::manual(Timestamp::ZERO));
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    (0..EACH)
                        .for_each(|_| assert!(gatehouse.decide(Timestamp::ZERO, Value::default(), Cost::ONE).is_ok()))
                });
            }
        });
        assert!(driver.round());
        assert_eq!(gatehouse.snapshot().admitted_total, THREADS * EACH);
    }

    #[test]
    fn there_are_places_whether_their_number_is_known_or_not() {
        let places = |settings| Gatehouse::pair(settings, Clock::manual(Timestamp::ZERO)).0.queue().places();
        assert_eq!(places(GatehouseSettings::for_workers(3)), 3);
        assert!(places(GatehouseSettings::default()) > 0);
    }

    #[test]
    fn the_driver_ends_with_the_last_that_needs_it() {
        let (gatehouse, driver) = Gatehouse::pair(GatehouseSettings::for_workers(8), Clock::system());
        let service = gatehouse.queued(());
        drop(gatehouse.clone());
        assert!(driver.round());
        drop(gatehouse);
        assert!(!driver.round(), "a queue alone has nobody that decides");
        drop(service);
    }
}
