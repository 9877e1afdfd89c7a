//! Asks the processes' admin addresses. Whoever is away says nothing.

use std::{net::SocketAddr, time::Duration};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// Who has not answered by then is away.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

/// What a JSON page says.
pub(crate) async fn get(admin: SocketAddr, path: &str) -> Option<Value> {
    serde_json::from_str(&page(admin, path).await?).ok()
}

/// The value of a series of `/metrics`; 0 while it is not there.
pub(crate) async fn metric(admin: SocketAddr, series: &str) -> f64 {
    let page = page(admin, "/metrics").await.unwrap_or_default();
    let value = page.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok());
    value.unwrap_or(0.0)
}

async fn page(admin: SocketAddr, path: &str) -> Option<String> {
    let asked = async {
        let mut socket = TcpStream::connect(admin).await.ok()?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.ok()?;
        answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned())
    };
    tokio::time::timeout(ANSWERS_WITHIN, asked).await.ok().flatten()
}
