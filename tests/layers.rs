//! The HTTP layers on real sockets of the loopback: a client, an axum server, and a tonic server behind it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, body::Body, extract::State, response::IntoResponse, routing::get};
use bytes::Bytes;
use dagor::{
    admission::{Cut, Level, PriorityKey, Value},
    clock::Clock,
    layer::http::{
        Call, CallLayer, Claim, Classify, Context, EntryLayer, Gatehouse, GatehouseSettings, Parts, Signer, SigningKey,
        Trust, Verifier,
    },
    pb::service::{
        Answers, Calls,
        logic_client::LogicClient,
        logic_server::{Logic, LogicServer},
    },
};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle};
use tokio_stream::{
    Stream, StreamExt,
    wrappers::{ReceiverStream, TcpListenerStream},
};
use tonic::transport::{Channel, Endpoint};
use tower::{Layer, ServiceExt};

const KEY: SigningKey = SigningKey::new(*b"a key of 16 byte");
/// Long enough for any machine; a test that waits for it has failed.
const PATIENCE: Duration = Duration::from_secs(60);

fn ordinary(_: &Parts) -> Claim {
    Claim::business(40)
}

fn entry(trust: Trust, gatehouse: &Gatehouse) -> EntryLayer<impl Classify + Clone + Send + Sync + 'static> {
    let entry = EntryLayer::new(PriorityKey(*b"0123456789abcdef"), ordinary);
    entry.trust(trust).timeout(PATIENCE).gated(gatehouse.clone())
}

/// A gatehouse that is driven, with this many places.
fn gatehouse(places: usize) -> Gatehouse {
    let (gatehouse, driver) = Gatehouse::pair(GatehouseSettings::for_workers(places), Clock::system());
    driver.start_thread().unwrap();
    gatehouse
}

/// Until the request of this task waits for the only place.
async fn until_one_waits<T>(gatehouse: &Gatehouse, second: &JoinHandle<T>) {
    let waits = async {
        while gatehouse.queue().waiting() == 0 {
            assert!(!second.is_finished(), "it ran beside the first");
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, waits).await.unwrap();
}

/// Answers with what it was told of the task; streams of a second kind never end by themselves.
struct Teller;

type AnswerStream = Pin<Box<dyn Stream<Item = Result<Answers, tonic::Status>> + Send>>;

#[tonic::async_trait]
impl Logic for Teller {
    type ServeStream = AnswerStream;

    async fn serve(
        &self,
        request: tonic::Request<tonic::Streaming<Calls>>,
    ) -> Result<tonic::Response<AnswerStream>, tonic::Status> {
        let context = request.extensions().get::<Context>().unwrap().clone();
        let told = format!("{} {} {:?}", context.value(), context.user().unwrap_or("nobody"), context.origin());
        let first = tokio_stream::once(Ok(Answers { cut: Some(1), ..Answers::default() }));
        let stream: AnswerStream = if request.metadata().contains_key("endless") {
            Box::pin(first.chain(tokio_stream::pending()))
        } else {
            Box::pin(first)
        };
        let mut response = tonic::Response::new(stream);
        response.metadata_mut().insert("told", told.parse().unwrap());
        let millis = context.remaining().as_millis().try_into().unwrap_or(u64::MAX);
        response.metadata_mut().insert("millis", millis.into());
        Ok(response)
    }
}

async fn serve_logic(gatehouse: &Gatehouse) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let layer = entry(Trust::signed(Verifier::new(KEY, "logic")), gatehouse);
    let server = tonic::transport::Server::builder().layer(layer).add_service(LogicServer::new(Teller));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    address
}

type Caller = LogicClient<Call<Channel>>;

fn dial(address: SocketAddr, calls: CallLayer) -> Caller {
    let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy();
    LogicClient::new(calls.layer(channel))
}

async fn ask(mut logic: Caller, endless: bool) -> Result<tonic::Response<tonic::Streaming<Answers>>, tonic::Status> {
    let mut request = tonic::Request::new(tokio_stream::empty::<Calls>());
    if endless {
        request.metadata_mut().insert("endless", "yes".parse().unwrap());
    }
    logic.serve(request).await
}

/// Asks the second hop, and answers with what that was told.
async fn front(State(logic): State<Caller>) -> Response<Body> {
    match ask(logic, false).await {
        Ok(response) => {
            let metadata = response.metadata();
            let told = ["told", "millis"]
                .map(|name| std::str::from_utf8(metadata.get(name).unwrap().as_bytes()).unwrap().to_owned());
            told.join(" ").into_response()
        }
        Err(status) => (StatusCode::BAD_GATEWAY, format!("{:?}", status.code())).into_response(),
    }
}

async fn serve_web(app: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

fn web_client() -> Client<HttpConnector, Body> {
    Client::builder(TokioExecutor::new()).build_http()
}

fn request(address: SocketAddr, path: &str) -> Request<Body> {
    Request::get(format!("http://{address}{path}")).body(Body::empty()).unwrap()
}

async fn text<B: http_body::Body<Data = Bytes, Error: std::fmt::Debug>>(response: Response<B>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

/// A client, an axum server and a tonic server, all with layers; each hop signs for the next.
struct Chain {
    web: SocketAddr,
    logic_gatehouse: Gatehouse,
    client: Call<Client<HttpConnector, Body>>,
}

async fn chain() -> Chain {
    let (front_gatehouse, logic_gatehouse) = (gatehouse(8), gatehouse(8));
    let logic = serve_logic(&logic_gatehouse).await;
    let logic = dial(logic, CallLayer::new().sign(Signer::new(KEY, "logic")));
    let layer = entry(Trust::signed(Verifier::new(KEY, "front")), &front_gatehouse);
    let web = serve_web(Router::new().route("/", get(front)).with_state(logic).layer(layer)).await;
    let client = CallLayer::new().sign(Signer::new(KEY, "front")).layer(web_client());
    Chain { web, logic_gatehouse, client }
}

#[tokio::test]
async fn importance_user_and_time_travel_over_two_hops() {
    let chain = chain().await;
    let value = Value::new(Level::new(2, 3), 77);
    let task = Context::new(value, PATIENCE / 2, &Clock::system()).with_user("jürgen");
    let response = task.scope(chain.client.oneshot(request(chain.web, "/"))).await.unwrap();
    assert_eq!(response.headers()["dagor-cut"], Cut::OPEN.bits().to_string());
    let told = text(response).await;
    let (told, millis) = told.rsplit_once(' ').unwrap();
    assert_eq!(told, "2/3+77 jürgen Signed");
    let left = Duration::from_millis(millis.parse().unwrap());
    assert!(left <= PATIENCE / 2 && !left.is_zero(), "{left:?}");
}

#[tokio::test]
async fn an_importance_that_nobody_vouches_for_is_not_believed() {
    let chain = chain().await;
    let mut forged = request(chain.web, "/");
    for (name, value) in [("dagor-level", "0"), ("dagor-user", "root"), ("dagor-signature", "v1.9.9.9")] {
        forged.headers_mut().insert(name, value.parse().unwrap());
    }
    let told = text(web_client().request(forged).await.unwrap()).await;
    // The front's own classification, which it vouches for at the next hop.
    assert!(told.starts_with("40/") && told.contains(" nobody Signed "), "{told}");
}

#[tokio::test]
async fn what_the_second_hop_refuses_is_refused_at_the_first_from_then_on() {
    let chain = chain().await;
    let ask = async || {
        let response = web_client().request(request(chain.web, "/")).await.unwrap();
        (response.status(), text(response).await)
    };
    assert_eq!(ask().await.0, StatusCode::OK);
    chain.logic_gatehouse.gate().set_manager_cap(Cut::through(Level::new(30, 127)));
    for _ in 0..10 {
        assert_eq!(ask().await, (StatusCode::BAD_GATEWAY, "ResourceExhausted".to_owned()));
    }
    let refused = chain.logic_gatehouse.snapshot().refused_total;
    assert!((1..10).contains(&refused), "{refused} of 10 were sent; a cut lapses after a second");
}

#[tokio::test]
async fn a_grpc_client_learns_the_status_the_cut_and_when_to_come_back() {
    let gatehouse = gatehouse(8);
    gatehouse.gate().set_manager_cap(Cut::through(Level::new(30, 127)));
    let logic = dial(serve_logic(&gatehouse).await, CallLayer::new());
    let status = ask(logic, false).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (tonic::Code::ResourceExhausted, "manager_cap"));
    let number = |name| status.metadata().get(name).unwrap().to_str().unwrap().parse::<u32>().unwrap();
    assert_eq!(number("dagor-cut"), Cut::through(Level::new(30, 127)).bits());
    assert!((1_000..=10_000).contains(&number("grpc-retry-pushback-ms")));
}

#[tokio::test]
async fn a_grpc_stream_holds_its_place_as_long_as_it_lives() {
    let gatehouse = gatehouse(1);
    let logic = dial(serve_logic(&gatehouse).await, CallLayer::new());
    let mut stream = ask(logic.clone(), true).await.unwrap().into_inner();
    assert!(stream.message().await.unwrap().is_some());
    let second = tokio::spawn(ask(logic, false));
    until_one_waits(&gatehouse, &second).await;
    assert_eq!(gatehouse.queue().in_flight(), 1);
    drop(stream);
    let mut answers = second.await.unwrap().unwrap().into_inner();
    while answers.message().await.unwrap().is_some() {}
}

#[tokio::test]
async fn a_streaming_http_response_holds_its_place_until_its_end() {
    let gatehouse = gatehouse(1);
    let (sender, receiver) = mpsc::channel::<Result<Bytes, Infallible>>(1);
    let stream = Arc::new(Mutex::new(Some(ReceiverStream::new(receiver))));
    let app = Router::new()
        .route("/stream", get(move || std::future::ready(Body::from_stream(stream.lock().unwrap().take().unwrap()))))
        .route("/quick", get(async || "quick"))
        .layer(entry(Trust::nobody(), &gatehouse));
    let web = serve_web(app).await;
    let stream = web_client().request(request(web, "/stream")).await.unwrap();
    let quick = tokio::spawn(web_client().request(request(web, "/quick")));
    until_one_waits(&gatehouse, &quick).await;
    sender.send(Ok(Bytes::from_static(b"the end"))).await.unwrap();
    drop(sender);
    assert_eq!(text(stream).await, "the end");
    assert_eq!(text(quick.await.unwrap().unwrap()).await, "quick");
    assert_eq!(gatehouse.queue().in_flight(), 0);
}

#[tokio::test]
async fn probes_pass_a_closed_gate_and_others_learn_when_to_come_back() {
    let gatehouse = gatehouse(8);
    gatehouse.gate().set_manager_cap(Cut::CLOSED);
    let app = Router::new()
        .route("/live", get(async || "alive"))
        .route("/", get(async || "served"))
        .layer(entry(Trust::nobody(), &gatehouse));
    let web = serve_web(app).await;
    assert_eq!(text(web_client().request(request(web, "/live")).await.unwrap()).await, "alive");
    let refused = web_client().request(request(web, "/")).await.unwrap();
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    let header = |name| refused.headers()[name].to_str().unwrap().to_owned();
    assert_eq!((header("dagor-cut"), header("dagor-refused")), ("0".to_owned(), "manager_cap".to_owned()));
    assert!((1..=10).contains(&header("retry-after").parse::<u32>().unwrap()));
}
