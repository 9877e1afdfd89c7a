//! Where connections wait for their first words: one task per worker accepts, and holds every connection until it is a
//! session or gone. A silent one costs its socket and a place in a set, and no task of its own.

use std::sync::Arc;

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::net::TcpListener;
use tower_service::Service;

use super::{
    greet::{Accepted, Rejection, refuse_at_the_door},
    stack,
    worker::Worker,
};

/// Connections that are on their way to their `Welcome` at one worker; more wait in the kernel's queue.
const MAX_WAITING: usize = 65_536;

/// How long to wait after the system had no file descriptor left.
const OUT_OF_DESCRIPTORS_PAUSE: std::time::Duration = std::time::Duration::from_millis(50);

/// Accepts until the task is dropped.
pub(super) async fn open(worker: Arc<Worker>, listener: TcpListener) {
    let mut stack = stack::connection_stack(&worker);
    let mut waiting = FuturesUnordered::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if waiting.len() < MAX_WAITING => match accepted {
                Ok((socket, peer)) => {
                    // A reply is written once and whole; holding it back for more would only delay it.
                    let _ = socket.set_nodelay(true);
                    waiting.push(stack.call(Accepted { socket, peer, arrived: worker.clock.now() }));
                }
                Err(error) => not_accepted(&error).await,
            },
            Some(ended) = waiting.next() => {
                if let Err(rejection) = ended {
                    rejected(&worker, rejection);
                }
            }
        }
    }
}

async fn not_accepted(error: &std::io::Error) {
    tracing::warn!(%error, "a connection was not accepted");
    tokio::time::sleep(OUT_OF_DESCRIPTORS_PAUSE).await;
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
