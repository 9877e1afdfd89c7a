//! Whoever is refused learns what the cuts mean for it; whoever is shut out altogether is not read from for a moment; and
//! whoever was served far more than the others stands behind them.

use std::time::Duration;

use dagor::{
    admission::{ControllerKind, Cut, GateSettings, Level},
    client::RequestError,
    clock::Clock,
    pb::client::{self as pb, Outcome},
    wire::{Kind, Reason},
};

use super::{
    site::{MESSAGE, MOMENTS, PAYMENT, Plan, Site, within},
    talker::{BINARY, Talker, control, ending, masked, request},
};

/// Admits priorities up to 20 whole and nothing of the others.
fn cap(site: &Site) {
    site.gateway().gates[0].set_manager_cap(Cut::through(Level::new(20, 127)));
}

fn shut(cuts: &[pb::ResolvedCut]) -> Vec<(u32, u32)> {
    cuts.iter().map(|cut| (cut.business, cut.open_permille)).collect()
}

#[tokio::test]
async fn a_client_is_told_with_a_welcome_a_refusal_or_a_pong_and_not_again_within_a_second() {
    let site = Site::new().await;
    let (mut alice, mut bob) = (site.talker("alice").await, site.talker("bob").await);
    cap(&site);
    let clock = Clock::system();
    let told = clock.now();
    let refused = alice.ask(MOMENTS, 1, "x").await;
    assert_eq!((ending(&refused), shut(&refused.cuts)), ((Outcome::Refused, Some(Reason::ManagerCap)), vec![(30, 0)]));
    assert_eq!(refused.cuts[0].valid_ms, 1000, "no level of this business is open");
    let again = alice.ask(MOMENTS, 2, "x").await;
    assert!(again.cuts.is_empty() || clock.now().since(told) >= Duration::from_secs(1));

    bob.say(&control(Kind::Ping, &pb::Ping::default())).await;
    let pong: pb::Pong = bob.expect(Kind::Pong).await.message().unwrap();
    assert_eq!(shut(&pong.cuts), [(30, 0)]);

    let told = clock.now();
    let mut carol = site.talker("carol").await;
    assert_eq!(shut(&carol.welcome.cuts), [(30, 0)]);
    let refused = carol.ask(MOMENTS, 1, "x").await;
    assert!(refused.cuts.is_empty() || clock.now().since(told) >= Duration::from_secs(1));
    drop((alice, bob, carol));
    site.end().await;
}

#[tokio::test]
async fn the_sdk_holds_back_what_it_was_told_and_sends_the_rest() {
    let site = Site::new().await;
    cap(&site);
    let (alice, _pushes) = site.client("alice").await;
    let mut held_back = 0;
    for _ in 0..20 {
        match within("an answer", alice.request(MOMENTS, "x".into(), None)).await {
            Err(RequestError::HeldBack { retry_after, .. }) => {
                assert!(retry_after > Duration::ZERO);
                held_back += 1;
            }
            Err(RequestError::Refused(_)) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(held_back > 0, "nothing was held back");
    assert_eq!(within("reply", alice.request(MESSAGE, "y".into(), None)).await.unwrap().payload, "y");
    assert_eq!(site.script().started(), ["y"]);
    drop(alice);
    site.end().await;
}

#[tokio::test]
async fn refusals_of_one_read_are_written_together() {
    let site = Site::new().await;
    let mut alice = Talker::login_on_websocket(site.clients(), "alice").await;
    cap(&site);
    let before = alice.messages();
    let frames: Vec<_> = (1..=50).flat_map(|id| request(MOMENTS, id, 0, b"x")).collect();
    alice.say(&masked(BINARY, &frames)).await;
    for _ in 1..=50 {
        assert_eq!(alice.expect(Kind::Reply).await.message::<pb::Reply>().unwrap().outcome(), Outcome::Refused);
    }
    assert_eq!(alice.messages() - before, 1);
    drop(alice);
    site.end().await;
}

/// Makes the gateway believe that its worker is an hour late, until it refuses even this client's payments.
async fn shut_out(site: &Site, alice: &mut Talker) {
    let own = &site.gateway().own_gate;
    let controller = ControllerKind::DagorV3;
    let window =
        |window| GateSettings { controller, target: Duration::from_secs(10), window, ..GateSettings::default() };
    own.reconfigure(window(Duration::from_millis(20)));
    for id in 1.. {
        own.lateness(0, Duration::from_secs(3600));
        if ending(&alice.ask(PAYMENT, id, "x").await).1 == Some(Reason::GatewayCut) {
            break;
        }
    }
    // The cut stays where it is.
    own.reconfigure(window(Duration::from_secs(3600)));
}

#[tokio::test]
async fn a_client_whose_best_request_is_refused_is_not_read_from_for_a_moment_and_its_pings_are_answered() {
    let site = Site::new().await;
    let mut alice = site.talker("alice").await;
    within("the gateway refuses everything", shut_out(&site, &mut alice)).await;
    let clock = Clock::system();
    let began = clock.now();
    let mut waits = Vec::new();
    for id in 1000..1003 {
        let ping = control(Kind::Ping, &pb::Ping::default());
        alice.say(&[ping, request(PAYMENT, id, 0, b"x")].concat()).await;
        alice.expect(Kind::Pong).await;
        let reply = alice.replied(id).await;
        assert_eq!(ending(&reply), (Outcome::Refused, Some(Reason::GatewayCut)));
        waits.push(clock.now().since(began));
    }
    // Before each of the last two lies a pause that began after the first.
    assert!(waits[2] >= 2 * Duration::from_millis(250), "{waits:?}");
    drop(alice);
    site.end().await;
}

#[tokio::test]
async fn who_was_served_far_more_than_the_others_stands_behind_them() {
    let site = Site::with(Plan { connections: "max_in_flight = 1024", ..Plan::default() }).await;
    let mut others = Vec::new();
    for number in 0..30 {
        let mut other = site.talker(&format!("user-{number}")).await;
        other.ask(MESSAGE, 1, "x").await;
        others.push(other);
    }
    let mut heavy = site.talker("heavy").await;
    let frames: Vec<_> = (1..=1000).flat_map(|id| request(MESSAGE, id, 0, b"x")).collect();
    heavy.say(&frames).await;
    for _ in 1..=1000 {
        heavy.expect(Kind::Reply).await;
    }
    let level = String::from_utf8(heavy.ask(MESSAGE, 2000, "level").await.payload.to_vec()).unwrap();
    // 1000 requests are 7.5 times four fair shares: 2.9 doublings, of which each takes a quarter of the levels.
    assert!(level.parse::<u8>().unwrap() >= 80, "{level}");
    drop((heavy, others));
    site.end().await;
}
