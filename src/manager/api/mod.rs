//! What clients, people and monitors ask a manager over HTTP, and what operators tell it. What changes something needs the
//! token.

mod metrics;
mod orders;
mod views;

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Query, State},
    http::{HeaderValue, StatusCode, header},
    middleware,
    response::IntoResponse,
    routing::{get, post},
};
use tokio::net::TcpListener;

use self::metrics::Metrics;
use super::{attach::Attach, engine::Engine};
use crate::web;

/// The longest body of a request, in bytes.
const MAX_BODY_BYTES: usize = 16 << 10;

/// What the handlers need.
#[derive(Clone)]
pub(super) struct Api {
    pub(super) engine: Engine,
    pub(super) attach: Attach,
    /// What whoever changes something has to show; nobody can if there is none.
    pub(super) token: Option<Arc<str>>,
    metrics: Arc<Metrics>,
}

impl Api {
    pub(super) fn new(engine: Engine, attach: Attach, token: Option<String>) -> Self {
        Self { engine, attach, token: token.map(Into::into), metrics: Arc::default() }
    }
}

/// Serves until it is dropped.
pub(super) async fn serve(listener: TcpListener, api: Api) {
    if let Err(error) = axum::serve(listener, router(api)).await {
        tracing::error!(%error, "the manager's HTTP server ended");
    }
}

fn router(api: Api) -> Router {
    let changes = Router::new()
        .route("/v1/caps", post(orders::cap))
        .route("/v1/drain", post(orders::drain))
        .route("/v1/kick", post(orders::kick))
        .layer(middleware::from_fn_with_state(api.clone(), orders::require_token));
    Router::new()
        .route("/", get(index))
        .route("/live", get(live))
        .route("/ready", get(ready))
        .route("/metrics", get(render_metrics))
        .route("/v1/gateways", get(show_gateways))
        .route("/v1/fleet", get(show_fleet))
        .merge(changes)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(middleware::from_fn(web::refuse_foreign_names))
        .with_state(api)
}

/// Everything there is, for somebody who opened the address in a browser.
async fn index() -> &'static str {
    "dagor manager\n\n/live         200 while the process runs\n/ready        200 once it knows a gateway\n\
     /metrics      Prometheus\n/v1/gateways  where clients may connect, with weights\n\
     /v1/fleet     every gateway and service, and why each is as it is\n\n\
     POST with the token: /v1/caps, /v1/drain, /v1/kick\n"
}

async fn live() -> &'static str {
    "live\n"
}

async fn ready(State(api): State<Api>) -> (StatusCode, &'static str) {
    if api.engine.rounds().borrow().decisions.gateways.is_empty() {
        (StatusCode::SERVICE_UNAVAILABLE, "no gateway is known yet\n")
    } else {
        (StatusCode::OK, "ready\n")
    }
}

async fn render_metrics(State(api): State<Api>) -> impl IntoResponse {
    let round = api.engine.rounds().borrow().clone();
    let text = api.metrics.render(&round, api.attach.attached());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
}

#[derive(serde::Deserialize)]
struct Tried {
    /// Gateways that this client has tried, by name or address, separated by commas.
    #[serde(default)]
    tried: String,
}

/// Nothing here is a secret, and a browser's client comes from another origin.
async fn show_gateways(State(api): State<Api>, Query(Tried { tried }): Query<Tried>) -> impl IntoResponse {
    let round = api.engine.rounds().borrow().clone();
    let anyone = HeaderValue::from_static("*");
    let fresh = HeaderValue::from_static("no-store");
    let headers = [(header::ACCESS_CONTROL_ALLOW_ORIGIN, anyone), (header::CACHE_CONTROL, fresh)];
    (headers, Json(views::Gateways::of(&round, &tried)))
}

async fn show_fleet(State(api): State<Api>) -> impl IntoResponse {
    let round = api.engine.rounds().borrow().clone();
    Json(views::Fleet::of(&round))
}
