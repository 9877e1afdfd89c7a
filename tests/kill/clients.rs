//! The clients: each submits its messages at its times, whatever becomes of them, and notes what it is told.

use std::time::Duration;

use dagor::client::{Client, ClientConfig, ClientEvent, Events, NewMessage, OutboxLimits};
use tokio::{task::JoinSet, time::Instant};

use crate::{
    KEEP_FOR, Plan,
    book::Told,
    ledger::{MIX, fate, user},
};

/// Runs all clients to the end of their last message.
pub(crate) async fn run(plan: Plan, gateways: Vec<String>) -> Told {
    let mut clients = JoinSet::new();
    let start = Instant::now();
    for number in 0..plan.clients {
        clients.spawn(one(plan, number, gateways.clone(), start));
    }
    let mut told = Told::default();
    while let Some(one) = clients.join_next().await {
        told.add(one.unwrap());
    }
    told
}

async fn one(plan: Plan, number: usize, gateways: Vec<String>, start: Instant) -> Told {
    let config = ClientConfig {
        gateways,
        outbox: OutboxLimits { keep_for: KEEP_FOR, ..OutboxLimits::default() },
        event_capacity: 4096,
        ..ClientConfig::new("", user(number))
    };
    let (client, _pushes, events) = Client::start(config).unwrap();
    let watching = tokio::spawn(watch(events));
    let mut waiting = JoinSet::new();
    // The messages of all clients together come evenly.
    for index in (number..plan.messages).step_by(plan.clients) {
        let at = plan.duration.mul_f64(index as f64 / plan.messages as f64);
        tokio::time::sleep_until(start + at).await;
        let business = MIX[(index / plan.clients) % MIX.len()];
        let text = format!("{} {index}", user(number));
        let receipt = client.submit(NewMessage::new(business, text.clone())).await.unwrap();
        waiting.spawn(fate(number, business, text, receipt));
    }
    let mut messages = Vec::new();
    while let Some(message) = waiting.join_next().await {
        messages.push(message.unwrap());
    }
    assert_eq!(client.close(Duration::ZERO).await, 0, "every message has its fate");
    let mut told = watching.await.unwrap();
    told.messages = messages;
    told
}

/// Counts what a client goes through.
async fn watch(mut events: Events) -> Told {
    let mut told = Told::default();
    while let Some(event) = events.recv().await {
        match event {
            ClientEvent::Connected { .. } => told.logins += 1,
            ClientEvent::Sent { attempt, .. } => {
                told.sent += 1;
                told.resent += u64::from(attempt > 1);
            }
            ClientEvent::Refused { .. } => told.refused += 1,
            ClientEvent::Unknown { .. } => told.unknown += 1,
            ClientEvent::HeldBack { .. } => told.held_back += 1,
            ClientEvent::Connecting { .. }
            | ClientEvent::Waiting { .. }
            | ClientEvent::Moving { .. }
            | ClientEvent::Ended { .. }
            | ClientEvent::Pushed(_)
            | ClientEvent::Stopped(_) => {}
        }
    }
    assert_eq!(events.dropped(), 0, "events were lost, so the counts would be wrong");
    told
}
