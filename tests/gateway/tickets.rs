//! What a ticket is good for, and that a bad one costs nothing but that.

use std::fs;

use dagor::{
    admission::{Cut, Level},
    clock::unix_millis,
    id::Epoch,
    pb::client::{self as pb, ConnectReason},
    ticket::{Fault, Keys, Ticket},
    wire::{Kind, MAGIC, Reason},
};

use super::{
    site::{MESSAGE, Plan, Site, until},
    talker::{Talker, control, hello},
};

const TIERS: &str = "[[tier]]\nname = \"all\"\nlevels = [16, 127]\n[[tier]]\nname = \"vip\"\nlevels = [0, 15]\n";

async fn site(lines: &'static str) -> Site {
    Site::with(Plan { moments: lines, ..Plan::default() }).await
}

async fn login(site: &Site, hello: &pb::Hello) -> Talker {
    Talker::silent(site.clients()).await.greet(hello).await
}

/// Reads no ticket but the one that it gives to a new client, which then comes back.
async fn ticket_of(site: &Site, user: &str) -> bytes::Bytes {
    let talker = site.talker(user).await;
    let ticket = talker.welcome.ticket.clone();
    drop(talker);
    until("it is gone", || site.gateway().roster.is_empty()).await;
    ticket
}

#[tokio::test]
async fn a_client_gets_a_ticket_that_counts_for_it_alone() {
    let site = site("").await;
    let ticket = ticket_of(&site, "alice").await;
    let tickets = &site.gateway().tickets;
    let back = login(&site, &pb::Hello { ticket: ticket.clone(), ..hello("alice") }).await;
    assert_eq!(tickets.valid_total(), 1);
    let bob = login(&site, &pb::Hello { ticket: ticket.clone(), ..hello("bob") }).await;
    assert_eq!((tickets.valid_total(), tickets.fault_total(Fault::Foreign)), (1, 1), "bob is let in all the same");
    let mut forged = ticket.to_vec();
    *forged.last_mut().unwrap() ^= 1;
    let carol = login(&site, &pb::Hello { ticket: forged.into(), ..hello("alice") }).await;
    assert_eq!(tickets.fault_total(Fault::Forged), 1);
    let dave = login(&site, &pb::Hello { ticket: vec![9; 200].into(), ..hello("dave") }).await;
    assert_eq!(tickets.fault_total(Fault::Malformed), 1);
    drop((back, bob, carol, dave));
    site.end().await;
}

#[tokio::test]
async fn keys_come_from_a_file_and_a_new_file_is_taken_in() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("keys");
    let [old, new] = ["11".repeat(16), "22".repeat(16)];
    fs::write(&file, &old).unwrap();
    let lines = format!("{TIERS}[tickets]\nkeys_file = \"{}\"\n", file.display());
    let site = site(Box::leak(lines.into_boxed_str())).await;
    let far = unix_millis() + 1_000_000_000;
    let minted = Ticket {
        user: "alice".into(),
        device: "default".into(),
        last_epoch: Epoch(far),
        tier: "vip".into(),
        mark: None,
        redirect: None,
        expires_unix_ms: unix_millis() + 60_000,
    };
    let mint = |key: &str| Keys::parse(key).unwrap().issue(minted.clone());
    let mut alice = login(&site, &pb::Hello { ticket: mint(&old).into(), ..hello("alice") }).await;
    assert_eq!(alice.welcome.connection_epoch, far + 1, "above what the client has had");
    let level: u8 = String::from_utf8(alice.ask(MESSAGE, 1, "level").await.payload.to_vec()).unwrap().parse().unwrap();
    assert!(level < 16, "{level} is none of the tier's");
    drop(alice);

    fs::write(&file, "no key").unwrap();
    until("the faulty file is noticed", || site.gateway().tickets.is_failing()).await;
    let counted = site.gateway().tickets.valid_total();
    drop(login(&site, &pb::Hello { ticket: mint(&old).into(), ..hello("alice") }).await);
    assert_eq!(site.gateway().tickets.valid_total(), counted + 1, "the last good keys stay");

    fs::write(&file, format!("{new}\n{old}\n")).unwrap();
    until("the new keys are in force", || !site.gateway().tickets.is_failing()).await;
    for key in [&old, &new] {
        let counted = site.gateway().tickets.valid_total();
        drop(login(&site, &pb::Hello { ticket: mint(key).into(), ..hello("alice") }).await);
        assert_eq!(site.gateway().tickets.valid_total(), counted + 1);
    }
    site.end().await;
}

#[tokio::test]
async fn who_comes_back_with_a_ticket_is_let_in_before_others() {
    let site = site("").await;
    let ticket = ticket_of(&site, "alice").await;
    let through = |user| site.gateway().own_gate.gate().set_manager_cap(Cut::through(Level::new(0, user)));
    let with = |reason: ConnectReason, ticket: &bytes::Bytes| pb::Hello {
        reason: reason.into(),
        ticket: ticket.clone(),
        ..hello("alice")
    };
    let none = bytes::Bytes::new();
    // Each cut lets in one class less.
    through(95);
    refused(&site, &with(ConnectReason::Network, &none)).await;
    drop(login(&site, &with(ConnectReason::New, &ticket)).await);
    through(63);
    refused(&site, &with(ConnectReason::New, &ticket)).await;
    drop(login(&site, &with(ConnectReason::Redirected, &ticket)).await);
    through(31);
    refused(&site, &with(ConnectReason::Redirected, &ticket)).await;
    drop(login(&site, &with(ConnectReason::Restart, &ticket)).await);
    site.end().await;
}

async fn refused(site: &Site, hello: &pb::Hello) {
    let mut talker = Talker::silent(site.clients()).await;
    talker.say(&[&MAGIC[..], &control(Kind::Hello, hello)].concat()).await;
    assert_eq!(talker.refused().await.reason, Reason::ManagerCap.code());
}

#[tokio::test]
async fn who_stays_gets_a_new_ticket_before_the_old_one_ends() {
    let site = site("[tickets]\nvalidity = \"1s\"\n").await;
    let mut alice = site.talker("alice").await;
    let mut id = 0;
    let renewed = super::site::within("a new ticket", async {
        loop {
            id += 1;
            let reply = alice.ask(MESSAGE, id, "x").await;
            if !reply.ticket.is_empty() {
                break reply.ticket;
            }
        }
    })
    .await;
    assert_ne!(renewed, alice.welcome.ticket);
    drop(alice);
    let back = login(&site, &pb::Hello { ticket: renewed, ..hello("alice") }).await;
    assert_eq!(site.gateway().tickets.valid_total(), 1);
    drop(back);
    site.end().await;
}

#[tokio::test]
async fn an_expired_ticket_is_none() {
    let site = site("[tickets]\nvalidity = \"1s\"\n").await;
    let ticket = ticket_of(&site, "alice").await;
    let until_then = unix_millis() + 1000;
    until("it has expired", || unix_millis() > until_then).await;
    drop(login(&site, &pb::Hello { ticket, ..hello("alice") }).await);
    assert_eq!(site.gateway().tickets.fault_total(Fault::Expired), 1);
    site.end().await;
}
