//! When a command that runs for good ends: at the first SIGTERM or Ctrl-C it is asked to, at the second it does at once.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::Error;

const INTERRUPTED: i32 = 130;

/// A token that the first signal cancels. Must be called within a runtime.
///
/// # Errors
///
/// If the process cannot listen for signals.
pub(super) fn on_signal() -> Result<CancellationToken, Error> {
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::failed)?;
    let stop = CancellationToken::new();
    let told = stop.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if told.is_cancelled() {
                std::process::exit(INTERRUPTED);
            }
            told.cancel();
        }
    });
    Ok(stop)
}
