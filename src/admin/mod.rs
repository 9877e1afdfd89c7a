//! What people and monitors see of a gateway, over HTTP: whether it lives, whether it takes clients, its metrics, and
//! its state as JSON. Nothing here changes anything.
//!
//! A page from elsewhere must not read it either: a browser that was led here by a name of that page (DNS rebinding) says
//! so in `Host`, which therefore has to be an address or `localhost`.

mod metrics;
mod status;

use std::{net::IpAddr, sync::Arc};

use axum::{
    Json, Router,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header, uri::Authority},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::net::TcpListener;

use self::metrics::Metrics;
use crate::gateway::Gateway;

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
        .layer(middleware::from_fn(refuse_foreign_names))
        .with_state(Admin { gateway, metrics: Arc::default() })
}

async fn refuse_foreign_names(request: Request, next: Next) -> Response {
    if is_meant(request.headers()) {
        next.run(request).await
    } else {
        (StatusCode::FORBIDDEN, "ask for an address or for localhost\n").into_response()
    }
}

/// Whether every `Host` is an address or `localhost`. No browser leaves it out.
fn is_meant(headers: &HeaderMap) -> bool {
    headers.get_all(header::HOST).iter().all(|host| {
        let Ok(authority) = Authority::try_from(host.as_bytes()) else { return false };
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok()
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_and_localhost_are_answered() {
        let is_meant = |host: &str| is_meant(&HeaderMap::from_iter([(header::HOST, host.parse().unwrap())]));
        for host in ["127.0.0.1:7401", "localhost", "LocalHost:7401", "[::1]:7401", "192.0.2.1"] {
            assert!(is_meant(host), "{host}");
        }
        for host in ["example.com", "localhost.example.com:7401", "127.0.0.1.example.com", ""] {
            assert!(!is_meant(host), "{host}");
        }
        assert!(super::is_meant(&HeaderMap::new()));
    }
}
