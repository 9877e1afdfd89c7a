//! A logic service moves a client to other user levels, as far as the policy lets it, and the client takes that along.

use std::{fs, path::Path};

use dagor::{
    admission::{Cut, Level},
    clock::unix_millis,
    gateway::marks::MarkFault,
    id::BusinessCode,
    pb::client::{self as pb, Outcome},
    service::{Mark, Push},
    wire::{Flags, Kind, Reason},
};

use super::{
    admin::get,
    site::{MESSAGE, PAYMENT, Plan, Site, policy, until, within},
    talker::{Message, Talker, ending, hello},
};

/// Ordinary users stand behind 15; the service may put them before.
const ALLOWED: &str = "[service.marks]\nlevels = [0, 15]\n";
const TIERS: &str = "[[tier]]\nname = \"all\"\nlevels = [16, 127]\n[[tier]]\nname = \"vip\"\nlevels = [0, 15]\n";

fn plan(tail: String) -> Plan {
    Plan { queue: ALLOWED, moments: Box::leak(format!("{TIERS}{tail}").into_boxed_str()), ..Plan::default() }
}

async fn site() -> Site {
    Site::with(plan(String::new())).await
}

/// Signs tickets as every gateway with this file does.
async fn site_with_keys(keys: &Path) -> Site {
    Site::with(plan(format!("[tickets]\nkeys_file = \"{}\"\n", keys.display()))).await
}

/// Admits payments, and messages of those who stand before 16.
fn cap(site: &Site) {
    site.gateway().gates[0].set_manager_cap(Cut::through(Level::new(20, 15)));
}

async fn reason(talker: &mut Talker, business: BusinessCode, id: u64, payload: &str) -> Option<Reason> {
    ending(&talker.ask(business, id, payload).await).1
}

/// The user level that this request was given.
async fn level(talker: &mut Talker, id: u64) -> u8 {
    let reply = talker.ask(PAYMENT, id, "level").await;
    String::from_utf8(reply.payload.to_vec()).unwrap().parse().unwrap()
}

async fn login(site: &Site, hello: &pb::Hello) -> Talker {
    Talker::silent(site.clients()).await.greet(hello).await
}

#[tokio::test]
async fn a_mark_lets_a_session_pass_a_cut_that_refused_it_also_at_another_gateway() {
    let directory = tempfile::tempdir().unwrap();
    let keys = directory.path().join("keys");
    fs::write(&keys, "11".repeat(16)).unwrap();
    let (one, other) = (site_with_keys(&keys).await, site_with_keys(&keys).await);
    [&one, &other].into_iter().for_each(cap);
    let mut alice = one.talker("alice").await;
    assert_eq!(reason(&mut alice, MESSAGE, 1, "x").await, Some(Reason::ManagerCap));
    let marked = alice.ask(PAYMENT, 2, "mark 3 12").await;
    assert_eq!((marked.outcome(), &marked.payload[..]), (Outcome::Replied, &b"marked"[..]));
    let ticket = marked.ticket;
    assert!(!ticket.is_empty() && ticket != alice.welcome.ticket, "what the client has to show has changed");
    assert_eq!(reason(&mut alice, MESSAGE, 3, "x").await, None);
    assert!((3..=12).contains(&level(&mut alice, 4).await));
    drop(alice);

    let mut alice = login(&other, &pb::Hello { ticket: ticket.clone(), ..hello("alice") }).await;
    assert_eq!(reason(&mut alice, MESSAGE, 5, "x").await, None, "it is the same session");
    let carried = alice.welcome.ticket.clone();
    drop(alice);
    let mut alice = login(&one, &pb::Hello { ticket: carried, ..hello("alice") }).await;
    assert_eq!(reason(&mut alice, MESSAGE, 6, "x").await, None, "each gateway hands it on");
    drop(alice);

    let mut alice = login(&other, &pb::Hello { ticket, outbox: 2, ..hello("alice") }).await;
    assert_eq!(reason(&mut alice, MESSAGE, 7, "x").await, Some(Reason::ManagerCap), "another outbox, another session");
    drop(alice);
    one.end().await;
    other.end().await;
}

#[tokio::test]
async fn a_mark_out_of_bounds_is_refused_and_counted_and_its_reply_goes_out() {
    let site = site().await;
    cap(&site);
    let mut alice = site.talker("alice").await;
    let far = unix_millis() + 24 * 3_600_000;
    for (id, order) in (1..).zip(["mark 0 16", "mark 9 3", &format!("mark 0 15 {far}"), "mark 0 15 1"]) {
        let reply = alice.ask(PAYMENT, id, order).await;
        assert_eq!((reply.outcome(), &reply.payload[..]), (Outcome::Replied, &b"marked"[..]), "{order}");
        assert!(reply.ticket.is_empty(), "nothing has changed by {order}");
    }
    assert_eq!(reason(&mut alice, MESSAGE, 9, "x").await, Some(Reason::ManagerCap));
    let marks = &site.gateway().marks;
    let refused = [MarkFault::Levels, MarkFault::TooLong, MarkFault::Past].map(|fault| marks.refused_total(fault));
    assert_eq!((refused, marks.taken_total()), ([2, 1, 1], 0));
    let admin = site.running.addresses.admin;
    let status: serde_json::Value = serde_json::from_str(&get(admin, "/v1/status").await.1).unwrap();
    assert_eq!((&status["marks"]["refused_total"]["levels"], &status["marks"]["taken_total"]), (&2.into(), &0.into()));
    let metrics = get(admin, "/metrics").await.1;
    assert!(metrics.contains("dagor_marks_total{result=\"too_long\"} 1"), "{metrics}");
    drop(alice);
    site.end().await;
}

#[tokio::test]
async fn a_mark_with_a_time_ends_with_it_and_one_that_is_lifted_at_once() {
    let site = site().await;
    let mut alice = site.talker("alice").await;
    let end = unix_millis() + 500;
    alice.ask(PAYMENT, 1, &format!("mark 0 15 {end}")).await;
    let given = level(&mut alice, 2).await;
    assert!(given < 16 || unix_millis() >= end, "{given}");
    until("its time has passed", || unix_millis() >= end).await;
    assert!(level(&mut alice, 3).await >= 16);

    alice.ask(PAYMENT, 4, "mark 0 15").await;
    assert!(level(&mut alice, 5).await < 16);
    let lifted = alice.ask(PAYMENT, 6, "mark").await.ticket;
    assert!(level(&mut alice, 7).await >= 16);
    drop(alice);
    let mut alice = login(&site, &pb::Hello { ticket: lifted, ..hello("alice") }).await;
    assert!(level(&mut alice, 8).await >= 16);
    drop(alice);
    site.end().await;
}

#[tokio::test]
async fn a_push_marks_whom_it_reaches_and_the_next_reply_has_the_ticket() {
    let site = site().await;
    let (mut alice, mut bob) = (site.talker("alice").await, site.talker("bob").await);
    let push = Push::to_user("alice", "message", "news").mark(Mark::session(0..=15));
    within("result", site.pusher().push(push)).await.unwrap();
    alice.expect(Kind::Push).await;
    // Nobody reads a reply that nobody wants: the ticket waits for one that is read.
    let silent = Message { id: 1, oldest: 1, flags: Flags::NO_REPLY_WANTED, payload: "x", ..Message::default() };
    alice.say(&silent.to(PAYMENT)).await;
    alice.expect(Kind::Settled).await;
    let reply = alice.ask(PAYMENT, 2, "level").await;
    assert!(String::from_utf8(reply.payload.to_vec()).unwrap().parse::<u8>().unwrap() < 16);
    assert!(!reply.ticket.is_empty());
    assert!(alice.ask(PAYMENT, 3, "x").await.ticket.is_empty(), "once");
    assert!(level(&mut bob, 1).await >= 16);
    drop((alice, bob));
    site.end().await;
}

#[tokio::test]
async fn a_policy_that_takes_the_permission_back_ends_the_marks_in_force() {
    let site = site().await;
    let mut alice = site.talker("alice").await;
    alice.ask(PAYMENT, 1, "mark 0 15").await;
    assert!(level(&mut alice, 2).await < 16);
    let revision = site.gateway().store.current().revision;
    let without = Plan { queue: "", ..plan(String::new()) };
    fs::write(site.policy_path(), policy(&without, [10, 20, 30])).unwrap();
    let tables = || site.gateway().worker_list().iter().map(|worker| worker.table().policy.revision);
    until("the new policy is in force", || tables().all(|inforce| inforce != revision)).await;
    assert!(level(&mut alice, 3).await >= 16);
    alice.ask(PAYMENT, 4, "mark 0 15").await;
    assert_eq!(site.gateway().marks.refused_total(MarkFault::NotAllowed), 1);
    drop(alice);
    site.end().await;
}
