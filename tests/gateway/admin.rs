//! The admin pages say what is so, and the list of metrics is complete.

use std::{collections::BTreeSet, net::SocketAddr};

use dagor::{service::Push, wire::Reason};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{
    site::{MESSAGE, Site, within},
    talker::ending,
};

/// Status and body of a page.
pub(crate) async fn get(admin: SocketAddr, path: &str) -> (u16, String) {
    let answer = within("an admin page", async {
        let mut socket = TcpStream::connect(admin).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        answer
    })
    .await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

#[tokio::test]
async fn the_admin_pages_show_a_gateway_at_work() {
    let site = Site::new().await;
    let mut alice = site.talker("alice").await;
    alice.ask(MESSAGE, 1, "x").await;
    let admin = site.running.addresses.admin;
    assert_eq!(get(admin, "/live").await, (200, "live\n".into()));
    assert_eq!(get(admin, "/ready").await, (200, "ready\n".into()));
    assert_eq!(get(admin, "/").await.0, 200);
    assert_eq!(get(admin, "/secrets").await.0, 404);
    let (code, body) = get(admin, "/v1/status").await;
    let status: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((code, &status["gateway"], &status["connections"]), (200, &"test".into(), &1.into()));
    assert_eq!(status["draining"], false);
    let gates: Vec<_> = status["gates"].as_array().unwrap().iter().map(|gate| &gate["gate"]).collect();
    assert_eq!(gates, ["gateway", "main"]);
    assert_eq!(status["gates"][1]["admitted_total"], 1);
    assert_eq!(status["gates"][1]["instance_cut"], "open");
    drop(alice);
    site.end().await;
}

/// The names in the source, so that a metric that is described and never recorded is found too.
fn described() -> BTreeSet<String> {
    let source = include_str!("../../src/admin/metrics.rs");
    let calls = source.lines().filter(|line| line.trim_start().starts_with("describe_"));
    calls.filter_map(|line| line.split('"').nth(1)).map(str::to_owned).collect()
}

/// The names in the first column of the table.
fn documented() -> BTreeSet<String> {
    let page = include_str!("../../docs/metrics.md").split("\n## Managers").next().unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `dagor_"));
    rows.filter_map(|row| row.split('`').next()).map(|name| format!("dagor_{name}")).collect()
}

/// The names of the series that are there.
fn recorded(metrics: &str) -> BTreeSet<String> {
    let series = metrics.lines().filter(|line| line.starts_with("dagor_"));
    series.filter_map(|line| line.split(['{', ' ']).next()).map(str::to_owned).collect()
}

#[tokio::test]
async fn every_metric_is_documented_described_and_there() {
    let site = Site::new().await;
    let mut alice = site.talker("alice").await;
    alice.ask(MESSAGE, 1, "x").await;
    let refused = alice.ask(MESSAGE, 2, "refuse").await;
    assert_eq!(ending(&refused).1, Some(Reason::ServiceRefused));
    within("result", site.pusher().push(Push::to_everyone("message", "x"))).await.unwrap();
    let again = site.talker("alice").await;
    alice.next().await.unwrap();
    alice.refused().await;
    let metrics = get(site.running.addresses.admin, "/metrics").await.1;
    assert_eq!(described(), documented());
    assert_eq!(recorded(&metrics), documented());
    for series in [
        "dagor_connections 1",
        "dagor_closed_total{reason=\"superseded\"} 1",
        "dagor_requests_total{business=\"message\",outcome=\"replied\"} 1",
        "dagor_requests_total{business=\"message\",outcome=\"service_refused\"} 1",
        "dagor_gate_admitted_total{gate=\"main\"} 2",
        "dagor_links{service=\"main\"} 1",
    ] {
        assert!(metrics.lines().any(|line| line == series), "no {series} in\n{metrics}");
    }
    assert!(metrics.contains("process_open_fds"));
    drop((alice, again));
    site.end().await;
}
