//! The entry: what passes, what is refused and how, and when places are free again.

use http::StatusCode;

use super::*;
use crate::{
    admission::{Cause, Cut, Level},
    layer::{
        http::{
            Driver, GatehouseSettings, Origin, Signer, SigningKey, Verifier,
            sign::Signed,
            testing::{Frames, Server, next_frame},
        },
        testing::Task,
    },
};

const PRIORITY_KEY: PriorityKey = PriorityKey(*b"0123456789abcdef");
const SIGNING_KEY: SigningKey = SigningKey::new([9; 16]);

fn classify(head: &Parts) -> Claim {
    Claim::business(if head.uri.path() == "/pay" { 1 } else { 9 }).user("ann")
}

type Classifier = fn(&Parts) -> Claim;

/// A server with one place behind an entry.
struct Site {
    server: Server,
    layer: EntryLayer<Classifier>,
    gatehouse: Gatehouse,
    driver: Driver,
    clock: Clock,
}

fn site() -> Site {
    let clock = Clock::manual(Timestamp::from_nanos(1_000_000_000));
    let (gatehouse, driver) = Gatehouse::pair(GatehouseSettings::for_workers(1), clock.clone());
    let layer = EntryLayer::new(PRIORITY_KEY, classify as Classifier).gated(gatehouse.clone());
    Site { server: Server::default(), layer, gatehouse, driver, clock }
}

type Answered = Poll<Result<Response<HeldBody<Frames>>, &'static str>>;
type Asked = Task<ResponseFuture<Server, (), Frames>>;

impl Site {
    fn ask(&self, request: Request<()>) -> Asked {
        Task::new(self.layer.layer(self.server.clone()).call(request))
    }

    fn get(&self, path: &str) -> Asked {
        self.ask(Request::get(path).body(()).unwrap())
    }

    fn shut_all_but_payments(&self) {
        self.gatehouse.gate().set_manager_cap(Cut::through(Level::new(5, 127)));
    }

    fn in_flight(&self) -> usize {
        self.gatehouse.queue().in_flight()
    }
}

fn answered(answered: Answered) -> Response<HeldBody<Frames>> {
    let Poll::Ready(Ok(response)) = answered else { panic!("no answer: {answered:?}") };
    response
}

fn refused(answered: Answered) -> Cause {
    let response = self::answered(answered);
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    response.extensions().get::<Refusal>().unwrap().cause
}

#[test]
fn a_request_passes_through_in_its_context() {
    let site = site();
    let request = Request::get("/pay").header("dagor-level", "0").header("dagor-user", "root").body(()).unwrap();
    let response = answered(site.ask(request).poll());
    assert_eq!(response.headers()["dagor-cut"], "4294967295");
    let (head, current) = site.server.latest();
    let context = head.extensions.get::<Context>().unwrap();
    assert_eq!((context.value().level().business(), context.user()), (1, Some("ann")));
    assert_eq!(context.origin(), Origin::Claimed);
    assert_eq!(current.unwrap().value(), context.value());
    assert!(head.headers.is_empty(), "what was not believed is not handed on");
    assert!(Context::current().is_none());
}

#[test]
fn what_the_gate_refuses_never_reaches_the_service() {
    let site = site();
    site.shut_all_but_payments();
    assert_eq!(refused(site.get("/timeline").poll()), Cause::ManagerCap);
    assert_eq!((site.server.calls(), *site.server.polled_ready.lock().unwrap()), (0, 0));
    assert!(answered(site.get("/pay").poll()).status().is_success());
}

#[test]
fn a_refusal_speaks_the_callers_dialect() {
    let site = site();
    site.shut_all_but_payments();
    let request = Request::post("/timeline").header("content-type", "application/grpc").body(()).unwrap();
    let response = answered(site.ask(request).poll());
    assert_eq!((response.status(), &response.headers()["grpc-status"]), (StatusCode::OK, &HeaderValue::from(8)));
    assert!(response.body().is_end_stream());
}

#[test]
fn the_place_is_held_until_the_body_ends() {
    let site = site();
    site.server.answer_with(Frames::of([Ok("a"), Ok("b")]));
    let mut first = answered(site.get("/a").poll()).into_body();
    let mut second = site.get("/b");
    assert!(second.poll().is_pending(), "the headers alone release nothing");
    assert_eq!(next_frame(&mut first), Poll::Ready(Some(true)));
    assert_eq!((site.in_flight(), second.wakes()), (1, 0));
    assert_eq!(next_frame(&mut first), Poll::Ready(Some(true)));
    assert_eq!(second.wakes(), 1, "a body of known length is not polled again after its last frame");
    assert!(second.poll().is_ready());
    assert_eq!((site.in_flight(), site.gatehouse.snapshot().completed_total), (0, 2));
}

#[test]
fn a_body_that_is_dropped_or_fails_releases_its_place_and_is_not_completed() {
    let site = site();
    site.server.answer_with(Frames::endless());
    let mut stream = answered(site.get("/a").poll()).into_body();
    assert!(next_frame(&mut stream).is_pending());
    assert_eq!(site.in_flight(), 1);
    drop(stream);
    assert_eq!(site.in_flight(), 0);
    site.server.answer_with(Frames { frames: [Err("lost")].into(), endless: true });
    let mut broken = answered(site.get("/a").poll()).into_body();
    assert_eq!(next_frame(&mut broken), Poll::Ready(Some(false)));
    assert_eq!((site.in_flight(), site.gatehouse.snapshot().completed_total), (0, 0));
}

#[test]
fn dropping_the_future_or_an_inner_error_releases_the_place() {
    let mut site = site();
    site.server.answer(|| Err("broken"));
    assert!(matches!(site.get("/a").poll(), Poll::Ready(Err("broken"))));
    assert_eq!(site.in_flight(), 0);
    site.server.never_answers = true;
    let (mut running, mut waiting) = (site.get("/a"), site.get("/b"));
    assert!(running.poll().is_pending() && waiting.poll().is_pending());
    drop(waiting);
    assert_eq!((site.in_flight(), site.gatehouse.queue().waiting()), (1, 0));
    drop(running);
    assert_eq!(site.in_flight(), 0);
}

#[test]
fn an_idle_clone_holds_nothing() {
    let site = site();
    let mut idle = site.layer.layer(site.server.clone());
    let cx = &mut task::Context::from_waker(task::Waker::noop());
    assert!(Service::<Request<()>>::poll_ready(&mut idle, cx).is_ready());
    assert_eq!((site.in_flight(), *site.server.polled_ready.lock().unwrap()), (0, 0));
    assert!(answered(site.get("/a").poll()).status().is_success());
}

#[test]
fn the_more_important_of_two_that_wait_goes_first() {
    let site = site();
    site.server.answer_with(Frames::endless());
    let running = answered(site.get("/a").poll());
    let (mut timeline, mut payment) = (site.get("/timeline"), site.get("/pay"));
    assert!(timeline.poll().is_pending() && payment.poll().is_pending());
    drop(running);
    assert!(payment.poll().is_ready());
    assert!(timeline.poll().is_ready());
    assert_eq!(site.server.seen.lock().unwrap()[1].0.uri.path(), "/pay");
}

#[test]
fn what_waits_past_its_time_is_refused() {
    let mut site = site();
    site.server.never_answers = true;
    let mut running = site.get("/a");
    assert!(running.poll().is_pending());
    let request = Request::get("/b").header("dagor-timeout", "100").body(()).unwrap();
    let (mut brief, mut patient) = (site.ask(request), site.get("/c"));
    assert!(brief.poll().is_pending() && patient.poll().is_pending());
    site.clock.advance(Duration::from_millis(100));
    site.driver.round();
    assert_eq!((brief.wakes(), patient.wakes()), (1, 0));
    assert_eq!(refused(brief.poll()), Cause::Expired);
    site.clock.advance(Duration::from_millis(400));
    site.driver.round();
    assert_eq!(refused(patient.poll()), Cause::Expired);
}

#[test]
fn nobody_gets_more_time_than_the_server_gives() {
    let site = site();
    let request = Request::get("/a").header("dagor-timeout", "60000").body(()).unwrap();
    answered(site.ask(request).poll());
    assert_eq!(site.server.latest().1.unwrap().remaining(), TIMEOUT);
}

#[test]
fn a_signed_level_counts_once_and_a_forged_one_never() {
    let mut site = site();
    site.layer = site.layer.trust(Trust::signed(Verifier::new(SIGNING_KEY, "timeline")));
    let value = Value::new(Level::new(2, 3), 4);
    let signature = Signer::new(SIGNING_KEY, "timeline").sign(Signed { value, user: Some("bob") }, unix_millis());
    let come = |value: Value| {
        let request = Request::get("/timeline")
            .header("dagor-level", value.bits())
            .header("dagor-user", "bob")
            .header("dagor-signature", &signature);
        answered(site.ask(request.body(()).unwrap()).poll());
        let context = site.server.latest().1.unwrap();
        (context.origin(), context.value().level().business(), context.user().unwrap().to_owned())
    };
    assert_eq!(come(Value::default()), (Origin::Claimed, 9, "ann".to_owned()), "forged");
    assert_eq!(come(value), (Origin::Signed, 2, "bob".to_owned()));
    assert_eq!(come(value), (Origin::Claimed, 9, "ann".to_owned()), "replayed");
}

#[test]
fn probes_are_never_shed() {
    let mut site = site();
    site.gatehouse.gate().set_manager_cap(Cut::CLOSED);
    assert_eq!(refused(site.get("/pay").poll()), Cause::ManagerCap);
    assert!(answered(site.get("/live").poll()).status().is_success());
    site.gatehouse.gate().set_manager_cap(Cut::OPEN);
    site.server.never_answers = true;
    let mut running = site.get("/a");
    assert!(running.poll().is_pending());
    site.server.never_answers = false;
    assert!(answered(site.get("/grpc.health.v1.Health/Check").poll()).status().is_success(), "no place is free");
    assert_eq!(site.gatehouse.snapshot().admitted_total, 2 - 1, "a probe is no load of the gate");
}

#[test]
fn a_flood_of_probes_is_the_most_important_load_and_no_more() {
    let mut site = site();
    site.layer = site.layer.exempt(Exempt::probes().budget(1.0, 1));
    site.gatehouse.gate().set_manager_cap(Cut::CLOSED);
    assert!(answered(site.get("/live").poll()).status().is_success());
    assert_eq!(refused(site.get("/live").poll()), Cause::ManagerCap);
    site.gatehouse.gate().set_manager_cap(Cut::through(Level::MOST_IMPORTANT));
    assert!(answered(site.get("/live").poll()).status().is_success());
}

#[test]
fn without_a_gatehouse_everything_passes_with_its_context() {
    let server = Server::default();
    let layer = EntryLayer::new(PRIORITY_KEY, classify as Classifier);
    let mut task = Task::new(layer.layer(server.clone()).call(Request::get("/pay").body(()).unwrap()));
    let response = answered(task.poll());
    assert!(!response.headers().contains_key("dagor-cut"), "there is none");
    assert_eq!(server.latest().1.unwrap().value().level().business(), 1);
}
