//! A logic service and the gateway's link to it, on real sockets of the loopback.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod crashes;
mod instance;
mod process;
#[path = "../redis/mod.rs"]
mod redis;
mod store;
mod windows;

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use dagor::{
    admission::{Cause, Cut, Level, Value},
    clock::{Clock, Timestamp},
    gateway::link::LinkEvent,
    pb::service as pb,
    request::Failure,
    service::{Echo, EchoConfig, Handler, HandlerError, Reply, Request, Server},
};
use instance::{Gateway, Scripted, serve};
use tokio::net::TcpListener;
use tokio_stream::{Stream, StreamExt, wrappers::TcpListenerStream};

#[tokio::test]
async fn the_echo_service_answers_with_the_payload() {
    let config = EchoConfig { workers: 2, work: Duration::ZERO };
    let echo = Echo::new(config);
    let counters = echo.counters();
    let instance = serve(echo.into_server()).await;
    let gateway = Gateway::connect(instance.address).await;
    assert_eq!(gateway.ask("hello").await.unwrap(), "hello");
    let calls: Vec<_> = (0..3000).map(|n| gateway.link.dispatch(gateway.call(&n.to_string()), ())).collect();
    for (n, call) in calls.into_iter().enumerate() {
        assert_eq!(call.await.unwrap().payload, n.to_string());
    }
    assert_eq!(counters.served()["message"], 3001);
    assert_eq!(gateway.link.pending(), 0);
}

#[tokio::test]
async fn a_paced_echo_answers_too() {
    let instance = serve(Echo::new(EchoConfig { workers: 2, work: Duration::from_millis(2) }).into_server()).await;
    let gateway = Gateway::connect(instance.address).await;
    let calls: Vec<_> = (0..5).map(|_| gateway.link.dispatch(gateway.call("x"), ())).collect();
    for call in calls {
        assert_eq!(call.await.unwrap().payload, "x");
    }
}

#[tokio::test]
async fn a_slow_call_does_not_hold_up_a_fast_one() {
    let (script, _log) = Scripted::new();
    let instance = serve(Server::new(script.clone())).await;
    let gateway = Gateway::connect(instance.address).await;
    let slow = gateway.link.dispatch(gateway.call("hold"), ());
    assert_eq!(gateway.ask("fast").await.unwrap(), "fast");
    script.open(1);
    assert_eq!(slow.await.unwrap().payload, "hold");
}

#[tokio::test]
async fn what_a_handler_says_reaches_the_gateway_and_a_panic_ends_nothing() {
    let (script, _log) = Scripted::new();
    let instance = serve(Server::new(script)).await;
    let gateway = Gateway::connect(instance.address).await;
    assert_eq!(gateway.ask("fail").await, Err(Failure::Failed { detail: "no such room".into() }));
    assert_eq!(gateway.ask("misplace").await, Err(Failure::Misplaced { detail: "not a guest".into() }));
    let refused = Failure::RefusedByService { detail: "later".into(), retry_after: Duration::from_millis(70) };
    assert_eq!(gateway.ask("refuse").await, Err(refused));
    for _ in 0..20 {
        assert_eq!(gateway.ask("panic").await, Err(Failure::Failed { detail: "the handler panicked".into() }));
    }
    assert_eq!(gateway.ask("fine").await.unwrap(), "fine");
}

/// Counts how many of it run at a time.
#[derive(Clone, Default)]
struct Counting {
    running: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

impl Handler for Counting {
    async fn handle(&self, _: Request) -> Result<Reply, HandlerError> {
        let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(running, Ordering::SeqCst);
        tokio::task::yield_now().await;
        self.running.fetch_sub(1, Ordering::SeqCst);
        Ok(Reply::default())
    }
}

#[tokio::test]
async fn over_all_streams_no_more_handlers_run_than_there_are_workers() {
    let counting = Counting::default();
    let instance = serve(Server::new(counting.clone()).workers(3)).await;
    let gateways = [Gateway::<()>::connect(instance.address).await, Gateway::connect(instance.address).await];
    let calls: Vec<_> = (0..200).map(|n| gateways[n % 2].link.dispatch(gateways[n % 2].call("x"), ())).collect();
    for call in calls {
        call.await.unwrap();
    }
    assert_eq!(counting.most.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn calls_that_wait_run_by_level_then_arrival() {
    let (script, mut log) = Scripted::new();
    let instance = serve(Server::new(script.clone()).workers(1).queue(4)).await;
    let gateway = Gateway::connect(instance.address).await;
    let send = |payload, level| gateway.link.dispatch(gateway.call_of_level(payload, level), ());
    let first = send("hold", 50);
    let waiting = [send("d", 40), send("b", 20), send("a", 10), send("c", 20)];
    let worst = send("e", 60).await.unwrap_err();
    assert!(matches!(worst, Failure::RefusedByService { .. }), "the queue is full: {worst}");
    script.open(1);
    first.await.unwrap();
    for call in waiting {
        call.await.unwrap();
    }
    let order: Vec<String> = (0..5).map(|_| log.try_recv().unwrap()).collect();
    assert_eq!(order, ["hold", "a", "b", "c", "d"]);
}

#[tokio::test]
async fn a_call_whose_time_is_up_before_it_starts_is_not_run() {
    let (script, mut log) = Scripted::new();
    let clock = Clock::manual(Timestamp::ZERO);
    let instance = serve(Server::new(script.clone()).workers(1).queue(1).clock(clock.clone())).await;
    let gateway = Gateway::connect(instance.address).await;
    let first = gateway.link.dispatch(gateway.call("hold"), ());
    let hurried = gateway.link.dispatch(gateway.call_of_level("late", 1), ());
    let full = gateway.link.dispatch(gateway.call_of_level("full", 2000), ());
    full.await.expect_err("by now the other one waits");
    clock.advance(Duration::from_secs(31));
    script.open(1);
    first.await.unwrap();
    let Err(Failure::Refused(refusal)) = hurried.await else { panic!("it expired") };
    assert_eq!((refusal.cause, refusal.value.level().index()), (Cause::Expired, 1));
    assert_eq!(log.try_recv().unwrap(), "hold");
    assert!(log.try_recv().is_err());
}

#[tokio::test]
async fn the_places_of_an_instance_are_split_over_its_streams() {
    let instance = serve(Server::new(Counting::default()).workers(8).buffer(4)).await;
    let mut first = Gateway::<()>::connect(instance.address).await;
    first.until(LinkEvent::Grants(12)).await;
    let mut second = Gateway::<()>::connect(instance.address).await;
    second.until(LinkEvent::Grants(6)).await;
    first.until(LinkEvent::Grants(6)).await;
    assert_eq!((first.link.grants(), second.link.grants()), (Some(6), Some(6)));
    drop(second);
    first.until(LinkEvent::Grants(12)).await;
}

#[tokio::test]
async fn a_backlog_moves_places_to_where_it_waits() {
    let (script, _log) = Scripted::new();
    let clock = Clock::manual(Timestamp::ZERO);
    let instance = serve(Server::new(script).workers(8).buffer(4).clock(clock.clone())).await;
    let mut busy = Gateway::<()>::connect(instance.address).await;
    let idle = Gateway::<()>::connect(instance.address).await;
    busy.until(LinkEvent::Grants(6)).await;
    clock.advance(Duration::from_millis(100));
    busy.link.set_waiting(40);
    busy.link.sweep(busy.clock.now());
    busy.until(LinkEvent::Grants(11)).await;
    assert_eq!(idle.ask("x").await.unwrap(), "x", "one place is left");
}

#[tokio::test]
async fn an_instance_that_gets_more_than_it_granted_refuses_the_least_important_and_says_its_cut() {
    let (script, _log) = Scripted::new();
    let clock = Clock::manual(Timestamp::ZERO);
    let instance = serve(Server::new(script.clone()).workers(1).queue(16).clock(clock.clone())).await;
    let gateway = Gateway::connect(instance.address).await;
    let send = || gateway.link.dispatch(gateway.call_of_level("hold", 100), ());
    let mut waiting: VecDeque<_> = (0..17).map(|_| send()).collect();
    let mut refusal = String::new();
    // The queue is always full, so every call of the least important level is answered at once.
    for _ in 0..100_000 {
        let worst = gateway.link.dispatch(gateway.call_of_level("worst", 5000), ()).await;
        let Err(Failure::RefusedByService { detail, .. }) = worst else { panic!("not refused: {worst:?}") };
        refusal = detail;
        if refusal != "the instance's queue is full" {
            break;
        }
        clock.advance(Duration::from_millis(20));
        script.open(1);
        waiting.pop_front().unwrap().await.unwrap();
        waiting.push_back(send());
    }
    assert_eq!(refusal, "above the instance's cut");
    let cut = gateway.link.instance_cut(gateway.clock.now());
    assert!(!cut.admits(Value::new(Level::from_index(5000), 0)), "{cut}");
    let later = gateway.clock.now() + Duration::from_secs(2);
    assert_eq!(gateway.link.instance_cut(later), Cut::OPEN, "an old cut does not bind");
}

#[tokio::test]
async fn a_lost_instance_loses_its_calls_and_is_dialed_again() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (script, mut log) = Scripted::new();
    let instance = runtime.spawn(serve(Server::new(script.clone()))).await.unwrap();
    let mut gateway = Gateway::connect(instance.address).await;
    let running = gateway.link.dispatch(gateway.call("hold"), ());
    log.recv().await.unwrap();
    runtime.shutdown_background();
    assert_eq!(running.await, Err(Failure::Lost));
    gateway.until(LinkEvent::Lost).await;
    assert_eq!((gateway.link.is_connected(), gateway.link.pending()), (false, 0));

    let Err(Failure::Refused(refusal)) = gateway.ask("meanwhile").await else { panic!("nobody is there") };
    assert_eq!(refusal.cause, Cause::NoInstance);

    instance.served.await.expect_err("it was killed");
    let listener = TcpListener::bind(instance.address).await.unwrap();
    tokio::spawn(Server::new(script).serve(listener, std::future::pending()));
    gateway.until(LinkEvent::Connected).await;
    assert_eq!(gateway.ask("again").await.unwrap(), "again");
}

#[tokio::test]
async fn a_call_that_nobody_waits_for_keeps_its_place_until_it_is_answered() {
    let (script, mut log) = Scripted::new();
    let instance = serve(Server::new(script.clone()).workers(1)).await;
    let gateway = Gateway::<Arc<()>>::connect(instance.address).await;
    let place = Arc::new(());
    drop(gateway.link.dispatch(gateway.call("hold"), Arc::clone(&place)));
    log.recv().await.unwrap();
    assert_eq!(Arc::strong_count(&place), 2);
    script.open(1);
    gateway.link.dispatch(gateway.call("behind it"), Arc::clone(&place)).await.unwrap();
    assert_eq!((Arc::strong_count(&place), gateway.link.pending()), (1, 0));
}

#[tokio::test]
async fn a_sweep_past_the_deadline_times_a_call_out() {
    let (script, _log) = Scripted::new();
    let instance = serve(Server::new(script.clone())).await;
    let gateway = Gateway::connect(instance.address).await;
    let call = gateway.call("hold");
    let deadline = call.deadline;
    let call = gateway.link.dispatch(call, ());
    gateway.link.sweep(deadline);
    assert_eq!(call.await, Err(Failure::TimedOut));
    assert_eq!(gateway.link.pending(), 1, "the instance still works on it");
    script.open(1);
    gateway.link.shutdown(Duration::from_secs(20)).await;
    assert_eq!(gateway.link.pending(), 0);
}

#[tokio::test]
async fn a_leaving_instance_refuses_the_new_and_finishes_the_old() {
    let (script, mut log) = Scripted::new();
    let mut instance = serve(Server::new(script.clone())).await;
    let mut gateway = Gateway::connect(instance.address).await;
    let old = gateway.link.dispatch(gateway.call("hold"), ());
    log.recv().await.unwrap();
    instance.leave.take().unwrap().send(()).unwrap();
    gateway.until(LinkEvent::Grants(0)).await;
    let Err(Failure::RefusedByService { detail, .. }) = gateway.ask("new").await else { panic!("it leaves") };
    assert_eq!(detail, "leaving");
    script.open(1);
    assert_eq!(old.await.unwrap().payload, "hold");
    gateway.until(LinkEvent::Lost).await;
    instance.served.await.unwrap();
}

#[tokio::test]
async fn a_link_that_is_shut_down_finishes_what_is_pending_and_takes_no_more() {
    let (script, mut log) = Scripted::new();
    let instance = serve(Server::new(script.clone())).await;
    let mut gateway = Gateway::connect(instance.address).await;
    let pending = gateway.link.dispatch(gateway.call("hold"), ());
    log.recv().await.unwrap();
    let link = gateway.link.clone();
    let shutdown = tokio::spawn(async move { link.shutdown(Duration::from_secs(20)).await });
    tokio::task::yield_now().await;
    let Err(Failure::Refused(refusal)) = gateway.ask("new").await else { panic!("it drains") };
    assert_eq!(refusal.cause, Cause::NoInstance);
    script.open(1);
    assert_eq!(pending.await.unwrap().payload, "hold");
    shutdown.await.unwrap();
    gateway.until(LinkEvent::Lost).await;
}

/// A gateway's `Gateway` service that writes down what it is to push.
#[derive(Clone, Default)]
struct Notebook(Arc<Mutex<Vec<pb::PushMessage>>>);

#[tonic::async_trait]
impl pb::gateway_server::Gateway for Notebook {
    type PushStream = Pin<Box<dyn Stream<Item = Result<pb::PushResults, tonic::Status>> + Send>>;

    async fn push(
        &self,
        request: tonic::Request<tonic::Streaming<pb::Pushes>>,
    ) -> Result<tonic::Response<Self::PushStream>, tonic::Status> {
        let notebook = self.clone();
        let results = request.into_inner().map(move |batch| {
            let results = batch?.pushes.into_iter().map(|push| notebook.note(push)).collect();
            Ok(pb::PushResults { results })
        });
        Ok(tonic::Response::new(Box::pin(results)))
    }

    async fn close(
        &self,
        _: tonic::Request<pb::CloseRequest>,
    ) -> Result<tonic::Response<pb::CloseResponse>, tonic::Status> {
        Err(tonic::Status::unimplemented("nobody logs in here"))
    }
}

impl Notebook {
    fn note(&self, push: pb::PushMessage) -> pb::PushResult {
        let offline = push.target == Some(pb::push_message::Target::User("bob".into()));
        self.0.lock().unwrap().push(push);
        let outcome = if offline { pb::PushOutcome::NotConnected } else { pb::PushOutcome::Written };
        pb::PushResult { outcome: outcome.into(), connections: u32::from(!offline) }
    }
}

/// Pushes to whom the payload names, through the gateway of the request, and replies with the result.
struct Messenger;

impl Handler for Messenger {
    async fn handle(&self, request: Request) -> Result<Reply, HandlerError> {
        let gateway = request.gateway().expect("it introduced itself");
        let to = String::from_utf8(request.payload.to_vec()).unwrap();
        let push = dagor::service::Push::to_user(to, &request.business_name, "hi").device("phone").dedupe_key("k");
        let result = gateway.push(push).await;
        Ok(Reply::new(format!("{} {}: {result:?}", gateway.name, gateway.incarnation)))
    }
}

#[tokio::test]
async fn a_handler_pushes_through_the_gateway_that_asked() {
    let (notebook, listener) = (Notebook::default(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let push_address = listener.local_addr().unwrap().to_string();
    let service = pb::gateway_server::GatewayServer::new(notebook.clone());
    let incoming = TcpListenerStream::new(listener);
    tokio::spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming));

    let instance = serve(Server::new(Messenger)).await;
    let mut gateway = Gateway::dial(instance.address, &push_address);
    gateway.until(LinkEvent::Connected).await;
    assert_eq!(gateway.ask("ann").await.unwrap(), "g1 7: Ok(Pushed { connections: 1 })");
    assert_eq!(gateway.ask("bob").await.unwrap(), "g1 7: Err(NotConnected)");
    let pushed = notebook.0.lock().unwrap();
    let expected = pb::PushMessage {
        target: Some(pb::push_message::Target::User("ann".into())),
        device: "phone".into(),
        business: "message".into(),
        dedupe_key: "k".into(),
        payload: "hi".into(),
        ..pb::PushMessage::default()
    };
    assert_eq!((pushed.len(), &pushed[0]), (2, &expected));
}

#[tokio::test]
async fn a_push_to_a_gateway_that_is_gone_fails_at_once() {
    let instance = serve(Server::new(Messenger)).await;
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let mut gateway = Gateway::dial(instance.address, &gone.to_string());
    gateway.until(LinkEvent::Connected).await;
    assert_eq!(gateway.ask("ann").await.unwrap(), "g1 7: Err(Unreachable)");
}
