//! What operators tell a manager. Each answer says what was done, or what would have to be written instead.

use std::time::Duration;

use axum::{
    Json,
    extract::{Request, State},
    http::{HeaderMap, StatusCode},
    middleware::Next,
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Api;
use crate::{
    admission::Cut,
    clock::whole_millis,
    id::MAX_NAME_BYTES,
    manager::{board::BoardError, cut_text, wire},
    pb::manager as pb,
    web,
};

/// How long a cap lasts if nothing is said, and at most.
const CAP_LASTS: Duration = Duration::from_secs(300);
const CAP_AT_MOST: Duration = Duration::from_secs(24 * 3600);
/// How long a drain is wanted: until the gateway is started again, but not for ever.
const DRAIN_LASTS: Duration = Duration::from_secs(24 * 3600);
/// Clients told to move per second if nothing is said.
const DRAIN_RATE: f64 = 100.0;
/// How long a kick is kept, so that every gateway hears of it; each carries it out once.
const KICK_LASTS: Duration = Duration::from_secs(10);
/// What requests for logins are called.
const LOGIN: &str = "login";

/// Why nothing was done.
pub(super) struct Fault(StatusCode, String);

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        (self.0, Json(json!({ "error": self.1 }))).into_response()
    }
}

impl From<BoardError> for Fault {
    fn from(error: BoardError) -> Self {
        Self(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
    }
}

fn wrong(message: impl Into<String>) -> Fault {
    Fault(StatusCode::BAD_REQUEST, message.into())
}

/// Lets through only who shows the token.
pub(super) async fn require_token(
    State(api): State<Api>,
    headers: HeaderMap,
    request: Request,
    next: Next,
) -> Response {
    let Some(token) = &api.token else {
        let why = "this manager has no token, so nothing can be changed; set `token_file` in its configuration";
        return Fault(StatusCode::FORBIDDEN, why.to_owned()).into_response();
    };
    if web::shows(&headers, token) {
        next.run(request).await
    } else {
        let why = "the token is missing or wrong: `Authorization: Bearer …`";
        Fault(StatusCode::UNAUTHORIZED, why.to_owned()).into_response()
    }
}

/// `POST /v1/caps`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CapBody {
    service: String,
    cut: String,
    #[serde(default, rename = "for")]
    lasts: Option<String>,
}

pub(super) async fn cap(State(api): State<Api>, Json(body): Json<CapBody>) -> Result<Json<Value>, Fault> {
    let cut = cut_text::parse(&body.cut).map_err(wrong)?;
    let lasts = match body.lasts.as_deref() {
        None => CAP_LASTS,
        Some(text) => humantime::parse_duration(text).map_err(|error| wrong(format!("for: {error}")))?,
    };
    if lasts.is_zero() || lasts > CAP_AT_MOST {
        return Err(wrong("for: a cap lasts up to 24h, so that none is forgotten"));
    }
    let name = format!("cap:{}", body.service);
    if cut == Cut::OPEN {
        api.engine.withdraw(&name).await?;
        return Ok(Json(json!({ "service": body.service, "cut": "open" })));
    }
    let service = known_service(&api, &body.service)?;
    let cap = pb::Cap { service, cut: cut.bits(), left_ms: whole_millis(lasts) };
    api.engine.order(&name, &pb::Order { cap: Some(cap), ..pb::Order::default() }, lasts).await?;
    tracing::info!(service = body.service, %cut, ?lasts, "an operator caps a service");
    let lasts = humantime::format_duration(lasts).to_string();
    Ok(Json(json!({ "service": body.service, "cut": cut.to_string(), "for": lasts })))
}

/// A name nobody knows is far more often misspelt than meant.
fn known_service(api: &Api, name: &str) -> Result<String, Fault> {
    if name == LOGIN {
        return Ok(String::new());
    }
    let round = api.engine.rounds().borrow().clone();
    let services = &round.decisions.services;
    if services.iter().any(|service| service.service == name) {
        return Ok(name.to_owned());
    }
    let known: Vec<_> = services.iter().map(|service| service.service.as_str()).chain([LOGIN]).collect();
    Err(Fault(StatusCode::NOT_FOUND, format!("no gateway reports a service `{name}`; there are: {}", known.join(", "))))
}

/// `POST /v1/drain`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DrainBody {
    gateway: String,
    #[serde(default)]
    per_second: Option<f64>,
    #[serde(default)]
    undo: bool,
}

pub(super) async fn drain(State(api): State<Api>, Json(body): Json<DrainBody>) -> Result<Json<Value>, Fault> {
    let name = format!("drain:{}", body.gateway);
    if body.undo {
        api.engine.withdraw(&name).await?;
        tracing::info!(gateway = body.gateway, "an operator does not drain a gateway any more");
        return Ok(Json(json!({ "gateway": body.gateway, "draining": false })));
    }
    let per_second = body.per_second.unwrap_or(DRAIN_RATE);
    if !(per_second.is_finite() && per_second > 0.0) {
        return Err(wrong("per_second: expected a number above 0"));
    }
    let round = api.engine.rounds().borrow().clone();
    let gateways = &round.decisions.gateways;
    let Some(directive) = gateways.get(&body.gateway) else {
        let known: Vec<_> = gateways.keys().map(String::as_str).collect();
        let why = format!("no gateway `{}` is known; there are: {}", body.gateway, known.join(", "));
        return Err(Fault(StatusCode::NOT_FOUND, why));
    };
    let incarnation = directive.incarnation.0;
    let drain = pb::Drain { gateway: body.gateway.clone(), incarnation, per_second };
    api.engine.order(&name, &pb::Order { drain: Some(drain), ..pb::Order::default() }, DRAIN_LASTS).await?;
    tracing::info!(gateway = body.gateway, per_second, "an operator drains a gateway");
    let connections = directive.connections.0;
    Ok(Json(json!({
        "gateway": body.gateway, "draining": true, "per_second": per_second, "connections": connections,
    })))
}

/// `POST /v1/kick`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KickBody {
    user: String,
    #[serde(default)]
    device: String,
}

pub(super) async fn kick(State(api): State<Api>, Json(body): Json<KickBody>) -> Result<Json<Value>, Fault> {
    if !wire::is_name(&body.user) || body.device.len() > MAX_NAME_BYTES {
        return Err(wrong("user: 1 to 128 bytes; device: at most 128 bytes"));
    }
    let id = fastrand::u64(..);
    let kick = pb::Kick { id, user: body.user.clone(), device: body.device.clone() };
    let order = pb::Order { kick: Some(kick), ..pb::Order::default() };
    api.engine.order(&format!("kick:{id:016x}"), &order, KICK_LASTS).await?;
    tracing::info!(user = body.user, device = body.device, "an operator kicks a user");
    Ok(Json(json!({ "user": body.user, "device": body.device })))
}
