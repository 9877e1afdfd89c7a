//! Where connections wait for their first words: one task per worker accepts, and holds every connection until it is a
//! session or gone. A silent one costs its socket and a place in a set, and no task of its own.

use std::{pin::Pin, sync::Arc, time::Duration};

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::{net::TcpListener, time::Sleep};
use tower_service::Service;

use super::{
    greet::{Accepted, Rejection, refuse_at_the_door},
    stack,
    worker::Worker,
};

/// Connections that are on their way to their `Welcome` at one worker; more wait in the kernel's queue.
const MAX_WAITING: usize = 65_536;

/// How long to wait after the system had no file descriptor left.
const OUT_OF_DESCRIPTORS_PAUSE: Duration = Duration::from_millis(50);

/// How long the first clients wait in the kernel's queue for the links to the services.
const LINKS_WITHIN: Duration = Duration::from_secs(1);

/// Connections accepted in a row. In a storm there is always another one, and without a break the worker would look at
/// its other sockets only after thousands.
const ACCEPTS_IN_A_ROW: u32 = 16;

/// Accepts until the task is dropped. While nothing can be accepted, those who wait are served as ever.
pub(super) async fn open(worker: Arc<Worker>, listener: TcpListener) {
    worker.links_tried(LINKS_WITHIN).await;
    let mut stack = stack::connection_stack(&worker);
    let mut waiting = FuturesUnordered::new();
    let mut pause = Pause::default();
    let mut accepts = 0;
    loop {
        if accepts >= ACCEPTS_IN_A_ROW {
            accepts = 0;
            tokio::task::yield_now().await;
        }
        tokio::select! {
            accepted = listener.accept(), if waiting.len() < MAX_WAITING && !pause.is_on() => match accepted {
                Ok((socket, peer)) => {
                    pause.accepted();
                    accepts += 1;
                    // A reply is written once and whole; holding it back for more would only delay it.
                    let _ = socket.set_nodelay(true);
                    waiting.push(stack.call(Accepted { socket, peer, arrived: worker.clock.now() }));
                }
                Err(error) => pause.not_accepted(&error),
            },
            () = pause.over(), if pause.is_on() => {}
            Some(ended) = waiting.next() => {
                if let Err(rejection) = ended {
                    rejected(&worker, rejection);
                }
            }
        }
    }
}

/// Holds accepting back after a failure, which would otherwise come again at once and without end.
#[derive(Default)]
struct Pause {
    until: Option<Pin<Box<Sleep>>>,
    /// Nothing was accepted since the last failure: it has been told already.
    told: bool,
}

impl Pause {
    const fn is_on(&self) -> bool {
        self.until.is_some()
    }

    fn not_accepted(&mut self, error: &std::io::Error) {
        if !std::mem::replace(&mut self.told, true) {
            tracing::warn!(%error, "connections are not accepted for now");
        }
        self.until = Some(Box::pin(tokio::time::sleep(OUT_OF_DESCRIPTORS_PAUSE)));
    }

    const fn accepted(&mut self) {
        self.told = false;
    }

    async fn over(&mut self) {
        if let Some(until) = &mut self.until {
            until.await;
            self.until = None;
        }
    }
}

fn rejected(worker: &Arc<Worker>, rejection: Rejection) {
    if let Some(reason) = rejection.reason() {
        worker.gateway.count_closed(reason);
        tracing::debug!(%rejection, "not welcome");
    }
    if let (Some(told), Rejection::AtTheDoor(refused)) = (rejection.told(), rejection) {
        refuse_at_the_door(worker, refused, &told);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_told_once_until_something_is_accepted_and_its_pause_ends() {
        let mut pause = Pause::default();
        for _ in 0..2 {
            pause.not_accepted(&std::io::ErrorKind::Other.into());
            assert!(pause.is_on() && pause.told);
            pause.over().await;
            assert!(!pause.is_on());
        }
        pause.accepted();
        assert!(!pause.told);
    }
}
