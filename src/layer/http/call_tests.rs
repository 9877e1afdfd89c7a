//! Calls: what they carry, what is refused before it is sent, and what is learned from answers.

use std::time::Duration;

use http::StatusCode;
use http_body::Body;

use super::*;
use crate::{
    admission::{GRAIN_BITS, Level, upstream::PROBE_SLICES},
    clock::Timestamp,
    layer::{
        http::{
            SigningKey, Verifier,
            testing::{Frames, Server},
        },
        testing::Task,
    },
};

const KEY: SigningKey = SigningKey::new([9; 16]);
const MILLI: Duration = Duration::from_millis(1);

/// A client of a server, in a task.
struct Caller {
    server: Server,
    layer: CallLayer,
    clock: Clock,
    task: Context,
}

fn caller(layer: CallLayer) -> Caller {
    let clock = Clock::manual(Timestamp::from_nanos(1_000_000_000));
    let value = Value::new(Level::new(9, 3), 0x4_0000);
    // Every call of it stands where its first one does.
    let task = Context::new(value, 500 * MILLI, &clock).with_user("ann").finish_begun(false);
    Caller { server: Server::default(), layer: layer.clock(clock.clone()), clock, task }
}

type Answered = Response<HeldBody<Frames>>;

impl Caller {
    fn call(&self, request: Request<()>) -> Answered {
        let mut client = self.layer.layer(self.server.clone());
        let answered = self.task.enter(|| Task::new(client.call(request)).poll());
        let Poll::Ready(Ok(response)) = answered else { panic!("no answer: {answered:?}") };
        response
    }

    fn get(&self, uri: &str) -> Answered {
        self.call(Request::get(uri).body(()).unwrap())
    }

    /// The next answer carries this cut.
    fn server_sends(&self, cut: Cut) {
        self.server
            .answer(move || Ok(Response::builder().header("dagor-cut", cut.bits()).body(Frames::default()).unwrap()));
    }
}

fn refusal(response: &Answered) -> Option<&Refusal> {
    response.extensions().get()
}

#[test]
fn a_call_carries_value_user_and_the_time_that_is_left() {
    let caller = caller(CallLayer::new());
    caller.clock.advance(120 * MILLI);
    let request = Request::get("/").header("dagor-level", "0").header("dagor-signature", "v1").body(()).unwrap();
    caller.call(request);
    let headers = caller.server.latest().0.headers;
    assert_eq!(headers["dagor-level"], caller.task.value().bits().to_string());
    assert_eq!((&headers["dagor-user"], &headers["dagor-timeout"]), (&"ann".parse().unwrap(), &380.into()));
    assert_eq!(headers.len(), 3, "nothing that the request came with");
}

#[test]
fn the_context_in_the_request_comes_before_the_current_one() {
    let caller = caller(CallLayer::new());
    let other = Context::new(Value::from_bits(5), 500 * MILLI, &caller.clock);
    caller.call(Request::get("/").extension(other).body(()).unwrap());
    assert_eq!(caller.server.latest().0.headers["dagor-level"], "5");
}

#[test]
fn without_a_context_a_call_goes_out_as_it_is() {
    let server = Server::default();
    let mut client = CallLayer::new().layer(server.clone());
    assert!(Task::new(client.call(Request::get("/").body(()).unwrap())).poll().is_ready());
    assert!(server.latest().0.headers.is_empty());
}

#[test]
fn a_signed_call_is_what_its_verifier_takes() {
    let caller = caller(CallLayer::new().sign(Signer::new(KEY, "timeline")));
    let signature = || {
        caller.get("/");
        caller.server.latest().0.headers["dagor-signature"].to_str().unwrap().to_owned()
    };
    let verifier = Verifier::new(KEY, "timeline");
    let claim = Signed { value: caller.task.value(), user: Some("ann") };
    for signature in [signature(), signature()] {
        assert_eq!(verifier.verify(claim, &signature, unix_millis()), Ok(()));
    }
}

#[test]
fn what_the_server_would_refuse_is_not_sent() {
    let caller = caller(CallLayer::new());
    caller.server_sends(Cut::through(Level::new(9, 2)));
    assert!(refusal(&caller.get("/")).is_none());
    let response = caller.get("/");
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refusal(&response).unwrap().cause, Cause::InstanceCut);
    assert!(response.body().is_end_stream());
    assert_eq!((caller.server.calls(), *caller.server.polled_ready.lock().unwrap()), (1, 1));
    caller.clock.advance(1001 * MILLI);
    let later = Caller { task: Context::new(caller.task.value(), 500 * MILLI, &caller.clock), ..caller };
    assert!(refusal(&later.get("/")).is_none(), "the cut has lapsed");
}

#[test]
fn a_probe_brings_back_a_cut_that_was_lifted() {
    let mut caller = caller(CallLayer::new());
    caller.server_sends(Cut::CLOSED);
    caller.server_sends(Cut::OPEN);
    caller.get("/");
    // Tasks of all grains, at the same moment.
    let tasks =
        (0..PROBE_SLICES).map(|slice| Value::new(caller.task.value().level(), (slice << GRAIN_BITS) / PROBE_SLICES));
    let mut refused = 0;
    for value in tasks.collect::<Vec<_>>() {
        caller.task = Context::new(value, 500 * MILLI, &caller.clock);
        refused += usize::from(refusal(&caller.get("/")).is_some());
    }
    assert!((1..PROBE_SLICES as usize).contains(&refused), "{refused}");
    assert_eq!(caller.server.calls(), 1 + PROBE_SLICES as usize - refused, "all behind the probe");
}

#[test]
fn a_call_that_nobody_waits_for_is_not_sent() {
    let caller = caller(CallLayer::new());
    caller.clock.advance(500 * MILLI);
    let request = Request::post("/").header("content-type", "application/grpc").body(()).unwrap();
    let response = caller.call(request);
    assert_eq!((refusal(&response).unwrap().cause, caller.server.calls()), (Cause::Expired, 0));
    assert_eq!(response.headers()["grpc-status"], "8");
}

#[test]
fn each_authority_has_a_cut_of_its_own() {
    let caller = caller(CallLayer::by_authority());
    caller.server_sends(Cut::CLOSED);
    caller.get("http://a:80/");
    assert!(refusal(&caller.get("http://a:80/")).is_some());
    assert!(refusal(&caller.get("http://b:80/")).is_none());
    assert!(refusal(&caller.get("/")).is_none(), "nobody is named");
}

#[test]
fn answers_move_a_begun_task_up_and_refusals_do_not() {
    let mut caller = caller(CallLayer::new());
    caller.task = caller.task.finish_begun(true);
    let sent = |caller: &Caller| {
        caller.get("/");
        Value::from_bits(caller.server.latest().0.headers["dagor-level"].to_str().unwrap().parse().unwrap())
            .level()
            .user()
    };
    caller
        .server
        .answer(|| Ok(Response::builder().header("dagor-refused", "service_cut").body(Frames::default()).unwrap()));
    assert_eq!([sent(&caller), sent(&caller), sent(&caller)], [3, 3, 0]);
}

#[test]
fn an_idle_clone_reserves_nothing_and_errors_come_through() {
    let caller = caller(CallLayer::new());
    let mut client = caller.layer.layer(caller.server.clone());
    let cx = &mut task::Context::from_waker(task::Waker::noop());
    assert!(Service::<Request<()>>::poll_ready(&mut client, cx).is_ready());
    assert_eq!(*caller.server.polled_ready.lock().unwrap(), 0);
    caller.server.answer(|| Err("lost"));
    assert!(matches!(Task::new(client.call(Request::default())).poll(), Poll::Ready(Err("lost"))));
}
