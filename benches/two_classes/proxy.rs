//! An HTTP gateway in front of an upstream of fixed capacity: axum with the entry layer, and hyper's client behind it.
//! The header `X-Prio: high` makes a request important. `benches/two_classes/measure` measures it.
//!
//! ```sh
//! cargo run --release --example priority_proxy -- 127.0.0.1:8001 127.0.0.1:8000 4
//! ```
//!
//! The arguments are where to listen, where the upstream is, and how many requests it works on at a time.
#![allow(clippy::print_stdout, reason = "it is a program")]

use std::{error::Error, net::SocketAddr, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{StatusCode, Uri},
    response::{IntoResponse, Response},
};
use dagor::{
    admission::PriorityKey,
    clock::Clock,
    layer::http::{CallLayer, Claim, EntryLayer, Gatehouse, GatehouseSettings, Parts},
};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tower::{Layer, ServiceExt};

/// What the clients allow is 500 ms; what is begun later than this comes too late for them.
const TIMEOUT: Duration = Duration::from_millis(450);

type Upstream = dagor::layer::http::Call<Client<HttpConnector, Body>>;

fn classify(head: &Parts) -> Claim {
    let high = head.headers.get("x-prio").is_some_and(|prio| prio == "high");
    Claim::business(if high { 10 } else { 40 })
}

async fn forward(State((upstream, address)): State<(Upstream, SocketAddr)>, mut request: Request) -> Response {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    match Uri::try_from(format!("http://{address}{path}")) {
        Ok(uri) => *request.uri_mut() = uri,
        Err(_) => return StatusCode::BAD_REQUEST.into_response(),
    }
    match upstream.oneshot(request).await {
        Ok(response) => response.into_response(),
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().ok_or("usage: priority_proxy LISTEN UPSTREAM WORKERS");
    let (listen, upstream): (SocketAddr, SocketAddr) = (next()?.parse()?, next()?.parse()?);
    let workers: usize = next()?.parse()?;

    // One more than it works on, so that it has the next at hand when one is done.
    let (gatehouse, driver) = Gatehouse::pair(GatehouseSettings::for_workers(workers + 1), Clock::system());
    driver.start_thread()?;
    let entry = EntryLayer::new(PriorityKey(*b"a secret of 16 b"), classify).timeout(TIMEOUT).gated(gatehouse);
    let client = CallLayer::new().layer(Client::builder(TokioExecutor::new()).build_http());
    let app = Router::new().fallback(forward).with_state((client, upstream)).layer(entry);

    let listener = tokio::net::TcpListener::bind(listen).await?;
    println!("{listen} in front of {upstream}");
    axum::serve(listener, app).await?;
    Ok(())
}
