//! What people and monitors see of a gateway, over HTTP: whether it lives, whether it takes clients, its metrics, and
//! its state as JSON. Nothing here changes anything.

mod metrics;
mod status;

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    middleware,
    response::IntoResponse,
    routing::get,
};
use tokio::net::TcpListener;

use self::metrics::Metrics;
use crate::{gateway::Gateway, web};

/// What a handler needs.
#[derive(Clone)]
struct Admin {
    gateway: Arc<Gateway>,
    metrics: Arc<Metrics>,
}

/// Serves until it is dropped.
pub async fn serve(listener: TcpListener, gateway: Arc<Gateway>) {
    if let Err(error) = axum::serve(listener, router(gateway)).await {
        tracing::error!(%error, "the admin server ended");
    }
}

fn router(gateway: Arc<Gateway>) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/live", get(live))
        .route("/ready", get(ready))
        .route("/metrics", get(render_metrics))
        .route("/v1/status", get(show_status))
        .layer(middleware::from_fn(web::refuse_foreign_names))
        .with_state(Admin { gateway, metrics: Arc::default() })
}

/// Everything there is, for somebody who opened the address in a browser.
async fn index() -> &'static str {
    "dagor gateway\n\n/live       200 while the process runs\n/ready      200 while it takes logins\n\
     /metrics    Prometheus\n/v1/status  connections, gates and policy as JSON\n"
}

async fn live() -> &'static str {
    "live\n"
}

async fn ready(State(admin): State<Admin>) -> (StatusCode, &'static str) {
    if admin.gateway.is_draining() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n")
    } else {
        (StatusCode::OK, "ready\n")
    }
}

async fn render_metrics(State(admin): State<Admin>) -> impl IntoResponse {
    let text = admin.metrics.render(&admin.gateway);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
}

async fn show_status(State(admin): State<Admin>) -> Json<status::Status> {
    Json(status::Status::of(&admin.gateway))
}
