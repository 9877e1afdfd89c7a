//! The thread that closes the gates' windows: nothing else runs on it, so that nothing delays them.

use std::{io, sync::Arc, thread};

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::{Gateway, worker::TICK};
use crate::admission::Backlog;

/// Starts the thread; it ends with `stop`, and if it ends before, everything else does as well.
///
/// # Errors
///
/// If the system has no thread or no timer for it.
pub(super) fn spawn(gateway: Arc<Gateway>, stop: CancellationToken) -> io::Result<thread::JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    thread::Builder::new().name("gates".to_owned()).spawn(move || {
        let _stops_all = stop.clone().drop_guard();
        runtime.block_on(stop.run_until_cancelled(tick_gates(gateway)));
    })
}

/// One task for all gates, so that each has one owner.
async fn tick_gates(gateway: Arc<Gateway>) {
    let mut interval = interval(TICK);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        let now = gateway.clock.now();
        for (service, gate) in gateway.gates.iter().enumerate() {
            let backlogs = gateway.worker_list().iter().map(|worker| worker.backlog(service, now));
            gate.tick(now, Some(backlogs.fold(Backlog::default(), Backlog::join)));
        }
        gateway.own_gate.tick(now);
    }
}
