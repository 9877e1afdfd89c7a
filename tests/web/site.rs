//! What a page needs from outside: its files over loopback HTTP, and somebody who hears what it posts.

use std::{net::SocketAddr, path::Path, time::Duration};

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, Uri, header::CONTENT_TYPE},
    response::IntoResponse,
    routing::{get, post},
};
use serde_json::Value;
use tokio::{net::TcpListener, sync::mpsc};

/// A page that says nothing for so long never will: this is more than a whole run takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Posts that wait to be heard; more make their page wait.
const WAITING_POSTS: usize = 64;

/// The server.
pub(crate) struct Site {
    pub(crate) address: SocketAddr,
    posts: mpsc::Receiver<Value>,
}

impl Site {
    /// Serves everything below `tests/` until the test's runtime ends.
    pub(crate) async fn start() -> Self {
        let (sender, posts) = mpsc::channel(WAITING_POSTS);
        let routes = Router::new().route("/posted", post(hear)).fallback(get(file)).with_state(sender);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self { address, posts }
    }

    /// What the page says next. An error of the page fails the test.
    pub(crate) async fn posted(&mut self) -> Value {
        let posted = tokio::time::timeout(PATIENCE, self.posts.recv()).await;
        let posted = posted.unwrap_or_else(|_| panic!("the page said nothing within {PATIENCE:?}")).unwrap();
        assert!(posted.get("error").is_none(), "on the page: {}", posted["error"]);
        posted
    }
}

async fn hear(State(sender): State<mpsc::Sender<Value>>, Json(posted): Json<Value>) -> StatusCode {
    match sender.send(posted).await {
        Ok(()) => StatusCode::NO_CONTENT,
        Err(_) => StatusCode::GONE,
    }
}

async fn file(uri: Uri) -> impl IntoResponse {
    let path = Path::new("tests").join(uri.path().trim_start_matches('/'));
    let kind = match path.extension().and_then(|extension| extension.to_str()) {
        Some("html") => "text/html",
        Some("js") => "text/javascript",
        _ => "application/json",
    };
    match tokio::fs::read(path).await {
        Ok(bytes) => (StatusCode::OK, [(CONTENT_TYPE, kind)], bytes),
        Err(_) => (StatusCode::NOT_FOUND, [(CONTENT_TYPE, "text/plain")], b"no such file".to_vec()),
    }
}
