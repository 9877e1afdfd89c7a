//! A model of the transport: each connection is two queues of chunks with a time of arrival. Within one nothing overtakes;
//! between two anything does. Chunks end anywhere in a frame; a break keeps what was on its way up to any byte.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use dagor::{client::LinkId, clock::Timestamp};
use fastrand::Rng;

use crate::world::{Event, World};

/// Bytes that a socket takes before its reader has read some.
pub(crate) const SOCKET_BYTES: usize = 300;

/// What arrives.
#[derive(Debug)]
pub(crate) enum Item {
    Bytes(Bytes),
    End,
}

/// One direction of a connection.
#[derive(Debug, Default)]
pub(crate) struct Pipe {
    items: VecDeque<(Timestamp, Item)>,
    pub(crate) in_transit: usize,
    last: Timestamp,
    /// Nothing is read before.
    pub(crate) blocked_until: Timestamp,
    scheduled: bool,
    /// Takes nothing more.
    pub(crate) broken: bool,
}

/// A connection between one run of a client and one of a gateway.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) client: usize,
    pub(crate) client_run: u32,
    pub(crate) id: LinkId,
    pub(crate) gateway: usize,
    pub(crate) gateway_run: u32,
    pub(crate) open: bool,
    pub(crate) up: Pipe,
    pub(crate) down: Pipe,
}

impl Link {
    pub(crate) fn pipe(&mut self, up: bool) -> &mut Pipe {
        if up { &mut self.up } else { &mut self.down }
    }
}

impl Pipe {
    fn put(&mut self, at: Timestamp, item: Item) {
        self.last = self.last.max(at);
        if let Item::Bytes(bytes) = &item {
            self.in_transit += bytes.len();
        }
        self.items.push_back((self.last, item));
    }

    pub(crate) fn room(&self) -> usize {
        if self.broken { usize::MAX } else { SOCKET_BYTES.saturating_sub(self.in_transit) }
    }

    /// Keeps a prefix of what is on its way.
    fn tear(&mut self, random: &mut Rng) {
        let mut kept = random.usize(0..=self.in_transit);
        for (_, item) in &mut self.items {
            if let Item::Bytes(bytes) = item {
                bytes.truncate(kept);
                kept -= bytes.len();
            }
        }
        self.items.retain(|(_, item)| matches!(item, Item::Bytes(bytes) if !bytes.is_empty()));
        self.in_transit =
            self.items.iter().map(|(_, item)| if let Item::Bytes(bytes) = item { bytes.len() } else { 0 }).sum();
        self.broken = true;
    }

    /// What is there now.
    fn take(&mut self, now: Timestamp) -> Option<Item> {
        let (_, item) = self.items.pop_front_if(|(at, _)| *at <= now)?;
        if let Item::Bytes(bytes) = &item {
            self.in_transit -= bytes.len();
        }
        Some(item)
    }
}

impl World {
    /// How long one thing takes on a network: mostly little, now and then seconds.
    pub(crate) fn delay(&mut self) -> Duration {
        let slow = if self.calm { 0 } else { 1 };
        match self.random.u32(0..100) {
            draw if draw < slow => self.millis(1_000, 9_000),
            draw if draw < 10 => self.millis(50, 500),
            _ => self.millis(1, 20),
        }
    }

    pub(crate) fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_micros(self.random.u64(1000 * from..1000 * to))
    }

    pub(crate) fn send(&mut self, link: usize, up: bool, mut bytes: Bytes) {
        if self.links[link].pipe(up).broken || bytes.is_empty() {
            return;
        }
        if bytes.len() > 1 && self.random.u32(0..4) == 0 {
            let first = bytes.split_to(self.random.usize(1..bytes.len()));
            self.put(link, up, Item::Bytes(first));
        }
        self.put(link, up, Item::Bytes(bytes));
    }

    /// The sender closes this direction behind what it has sent.
    pub(crate) fn end(&mut self, link: usize, up: bool) {
        if !self.links[link].pipe(up).broken {
            self.put(link, up, Item::End);
            self.links[link].pipe(up).broken = true;
        }
    }

    fn put(&mut self, link: usize, up: bool, item: Item) {
        let at = self.now + self.delay();
        self.links[link].pipe(up).put(at, item);
        self.listen(link, up);
    }

    /// Makes the head of a pipe arrive when it is due.
    pub(crate) fn listen(&mut self, link: usize, up: bool) {
        let (client, gateway) = (self.links[link].client, self.links[link].gateway);
        let open_at = self.partitions[client][gateway][usize::from(up)];
        let now = self.now;
        let pipe = self.links[link].pipe(up);
        let Some(&(at, _)) = pipe.items.front().filter(|_| !pipe.scheduled) else { return };
        pipe.scheduled = true;
        let at = at.max(pipe.blocked_until).max(open_at).max(now);
        self.schedule(at, Event::Arrive { link, up });
    }

    /// The head of a pipe may have arrived.
    pub(crate) fn arrive(&mut self, link: usize, up: bool) {
        let (client, gateway) = (self.links[link].client, self.links[link].gateway);
        let open_at = self.partitions[client][gateway][usize::from(up)];
        let now = self.now;
        let pipe = self.links[link].pipe(up);
        pipe.scheduled = false;
        if pipe.blocked_until.max(open_at) > now {
            return self.listen(link, up);
        }
        if up && !self.gateway_reads(link) {
            // Heard again when the gateway has got rid of what it holds.
            return;
        }
        if let Some(item) = self.links[link].pipe(up).take(now) {
            if up { self.gateway_receives(link, item) } else { self.client_receives(link, item) }
        }
        self.listen(link, up);
    }

    /// A connection breaks. Each side keeps a part of what was on its way to it, and is told soon, or never.
    pub(crate) fn cut(&mut self, link: usize, told: [bool; 2]) {
        for (up, told) in [false, true].into_iter().zip(told) {
            let pipe = if up { &mut self.links[link].up } else { &mut self.links[link].down };
            pipe.tear(&mut self.random);
            if told {
                self.put(link, up, Item::End);
            } else {
                self.trace.count(crate::trace::Count::HalfOpen);
            }
        }
        self.links[link].open = false;
    }
}
