//! What a task carries from hop to hop: its importance, the time that is left, and for whom it is run. It is current in
//! whatever runs inside [`Context::scope`], and nowhere else: a task that is spawned takes it along by hand.
//!
//! No runtime is needed: the scope makes its context current for the duration of each poll.

use std::{
    cell::RefCell,
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    task::{self, Poll},
    time::Duration,
};

use pin_project::pin_project;

use super::claim::Origin;
use crate::{
    admission::{Cost, GRAIN_BITS, Value},
    clock::{Clock, Timestamp},
    request::{Prioritized, Timed},
};

thread_local! {
    static CURRENT: RefCell<Option<Context>> = const { RefCell::new(None) };
}

/// The context of a task. Clones are the same task.
///
/// ```
/// use std::time::Duration;
/// use dagor::{admission::{Level, Value}, clock::Clock, layer::http::Context};
///
/// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
/// # runtime.block_on(async {
/// let nightly = Context::new(Value::new(Level::new(60, 0), 0), Duration::from_secs(30), &Clock::system());
/// nightly.scope(async {
///     // Calls through a `CallLayer` carry the level 60/0 from here on. A spawned task has to be told:
///     let context = Context::current().unwrap();
///     tokio::spawn(context.scope(async { assert!(Context::current().is_some()) })).await.unwrap();
/// }).await;
/// assert!(Context::current().is_none());
/// # });
/// ```
#[derive(Clone)]
pub struct Context(Arc<Task>);

#[derive(Clone)]
struct Task {
    value: Value,
    user: Option<Arc<str>>,
    origin: Origin,
    cost: Cost,
    arrived: Timestamp,
    deadline: Timestamp,
    clock: Clock,
    finish_begun: bool,
    served: Served,
}

/// How many calls of the task were answered. A copy begins at zero.
#[derive(Default)]
struct Served(AtomicU32);

impl Clone for Served {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Context {
    /// A task that begins here and now, such as a background job; its answers are of use for `timeout`.
    pub fn new(value: Value, timeout: Duration, clock: &Clock) -> Self {
        Self::begin(value, clock.now(), timeout, clock)
    }

    /// A task that arrived at some time of this clock.
    pub(super) fn begin(value: Value, arrived: Timestamp, timeout: Duration, clock: &Clock) -> Self {
        Self(Arc::new(Task {
            value,
            user: None,
            origin: Origin::Claimed,
            cost: Cost::ONE,
            arrived,
            deadline: arrived + timeout,
            clock: clock.clone(),
            finish_begun: false,
            served: Served::default(),
        }))
    }

    /// The same for a user.
    #[must_use]
    pub fn with_user(self, user: impl Into<Arc<str>>) -> Self {
        self.for_user(Some(user.into()))
    }

    pub(super) fn for_user(self, user: Option<Arc<str>>) -> Self {
        self.with(|task| task.user = user)
    }

    /// Moves the task's later calls up within their level, so that what was begun is finished: each call that was
    /// answered halves the grain of those that follow, here and at every hop behind them. A task that was admitted is
    /// refused half-way only if the cut falls faster than that. Levels stay as they are, and so does the grain of a
    /// retry, because a refusal is no answer.
    ///
    /// Off unless asked for, because a service then sees begun tasks before new ones of the same level, whoever
    /// sends them.
    #[must_use]
    pub fn finish_begun(self, on: bool) -> Self {
        self.with(|task| task.finish_begun = on)
    }

    pub(super) fn with_origin(self, origin: Origin) -> Self {
        self.with(|task| task.origin = origin)
    }

    pub(super) fn with_cost(self, cost: Cost) -> Self {
        self.with(|task| task.cost = cost)
    }

    fn with(mut self, change: impl FnOnce(&mut Task)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }

    /// The context in which the caller runs.
    pub fn current() -> Option<Self> {
        CURRENT.with_borrow(Clone::clone)
    }

    /// The task's importance.
    pub fn value(&self) -> Value {
        self.0.value
    }

    /// The importance of the task's next call. That of the task itself, unless it finishes what was begun.
    pub fn value_of_next_call(&self) -> Value {
        let Task { value, finish_begun, ref served, .. } = *self.0;
        let served = if finish_begun { served.0.load(Relaxed).min(GRAIN_BITS) } else { 0 };
        Value::new(value.level(), value.grain() >> served)
    }

    /// For whom the task is run.
    pub fn user(&self) -> Option<&str> {
        self.0.user.as_deref()
    }

    /// Who says so.
    pub fn origin(&self) -> Origin {
        self.0.origin
    }

    /// The time for which an answer is still of use.
    pub fn remaining(&self) -> Duration {
        self.0.deadline.since(self.0.clock.now())
    }

    /// A call of the task was answered, and not with a refusal.
    pub(super) fn note_served(&self) {
        self.0.served.0.fetch_add(1, Relaxed);
    }

    /// Runs `work` with this context as the current one.
    pub fn enter<T>(&self, work: impl FnOnce() -> T) -> T {
        let _restored = Restore(CURRENT.replace(Some(self.clone())));
        work()
    }

    /// A future that runs with this context as the current one.
    pub fn scope<F>(&self, future: F) -> Scoped<F> {
        Scoped { future, context: self.clone() }
    }
}

/// Puts back the context from before, also after a panic.
struct Restore(Option<Context>);

impl Drop for Restore {
    fn drop(&mut self) {
        CURRENT.set(self.0.take());
    }
}

impl Prioritized for Context {
    fn value(&self) -> Value {
        self.0.value
    }
}

impl Timed for Context {
    fn arrived(&self) -> Timestamp {
        self.0.arrived
    }

    fn deadline(&self) -> Timestamp {
        self.0.deadline
    }

    fn cost(&self) -> Cost {
        self.0.cost
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Task { value, user, origin, .. } = &*self.0;
        f.debug_struct("Context").field("value", value).field("user", user).field("origin", origin).finish()
    }
}

/// The future of [`Context::scope`].
#[pin_project]
#[derive(Clone, Debug)]
pub struct Scoped<F> {
    #[pin]
    future: F,
    context: Context,
}

impl<F: Future> Future for Scoped<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        this.context.enter(|| this.future.poll(cx))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::Level;

    fn context(grain: u32) -> (Context, Clock) {
        let clock = Clock::manual(Timestamp::from_nanos(5));
        (Context::new(Value::new(Level::new(3, 4), grain), Duration::from_millis(500), &clock), clock)
    }

    #[test]
    fn scopes_nest_and_end_with_each_poll() {
        let ((outer, _), (inner, _)) = (context(1), context(2));
        let grain = || Context::current().map(|context| context.value().grain());
        outer.enter(|| {
            assert_eq!(inner.enter(grain), Some(2));
            assert_eq!(grain(), Some(1));
        });
        assert_eq!(grain(), None);
    }

    #[test]
    fn a_panic_leaves_no_context_behind() {
        let (context, _) = context(1);
        let work = std::panic::AssertUnwindSafe(|| context.enter(|| panic!("on purpose")));
        assert!(std::panic::catch_unwind(work).is_err());
        assert!(Context::current().is_none());
    }

    #[test]
    fn the_remaining_time_is_counted_down_to_zero() {
        let (context, clock) = context(1);
        assert_eq!(context.remaining(), Duration::from_millis(500));
        clock.advance(Duration::from_millis(380));
        assert_eq!(context.remaining(), Duration::from_millis(120));
        clock.advance(Duration::from_secs(1));
        assert_eq!(context.remaining(), Duration::ZERO);
    }

    #[test]
    fn answered_calls_move_the_next_ones_up_within_their_level() {
        let (context, _) = context(0x7_0000);
        let still = context.clone();
        still.note_served();
        assert_eq!(still.value_of_next_call(), still.value(), "off unless asked for");
        let begun = context.finish_begun(true);
        let grains: Vec<_> = std::iter::from_fn(|| {
            let grain = begun.value_of_next_call().grain();
            begun.note_served();
            Some(grain)
        })
        .take(25)
        .collect();
        assert_eq!(grains[..3], [0x7_0000, 0x3_8000, 0x1_C000]);
        assert_eq!(grains[24], 0);
        assert_eq!(begun.value_of_next_call().level(), begun.value().level());
    }
}
