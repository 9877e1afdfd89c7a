//! What an app listens to: pushes, and what its client goes through.

use std::{future::poll_fn, sync::Arc};

use super::{ClientEvent, Push, latest::Latest};

/// The pushes of a client, in the order of their arrival. At most
/// [`ClientConfig::push_capacity`](super::ClientConfig::push_capacity) wait; one more drops the oldest. Dropping this
/// discards them all; it does not keep the client open.
#[derive(Debug)]
pub struct Pushes(Arc<Latest<Push>>);

/// What a client goes through, but for pushes, in the order in which it happened. At most
/// [`ClientConfig::event_capacity`](super::ClientConfig::event_capacity) wait; one more drops the oldest. Dropping this
/// discards them all; it does not keep the client open.
#[derive(Debug)]
pub struct Events(Arc<Latest<ClientEvent>>);

macro_rules! listener {
    ($name:ident of $item:ty) => {
        impl $name {
            pub(super) fn new(queue: Arc<Latest<$item>>) -> Self {
                Self(queue)
            }

            /// The next one; `None` when the client has ended and none is left.
            pub async fn recv(&mut self) -> Option<$item> {
                poll_fn(|cx| self.0.poll(cx)).await
            }

            /// How many were dropped because too many waited.
            pub fn dropped(&self) -> u64 {
                self.0.dropped()
            }
        }

        impl Drop for $name {
            fn drop(&mut self) {
                self.0.discard();
            }
        }
    };
}

listener!(Pushes of Push);
listener!(Events of ClientEvent);
