//! `dagor route`, beside gateways whose Redis is a plain one, a Cluster, or one with TLS and a password.

use std::{fs, process::Output};

use super::{cluster::Cluster, fleet::Fleet, redis::Redis, tls::Secured};

async fn dagor(arguments: &[&str]) -> Output {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_dagor"));
    super::site::within("dagor", command.args(arguments).env("NO_COLOR", "1").output()).await.unwrap()
}

#[tokio::test]
async fn it_shows_where_a_user_is() {
    let redis = Redis::start();
    let fleet = Fleet::start(1, &redis.url()).await;
    let ann = fleet.gateways[0].login("ann", 1).await;
    let shown = dagor(&["route", "ann", "--redis", &redis.url(), "--json"]).await;
    assert!(shown.status.success());
    let routes: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(routes.as_array().unwrap().len(), 1);
    assert_eq!(routes[0]["device"], "default");
    assert_eq!(routes[0]["gateway"], "g1");
    assert_eq!(routes[0]["incarnation"], format!("{:016x}", ann.welcome.incarnation));
    assert_eq!(routes[0]["epoch"], ann.welcome.connection_epoch);
    let table = dagor(&["route", "ann", "--redis", &redis.url()]).await;
    let table = String::from_utf8(table.stderr).unwrap();
    assert!(table.contains("g1") && table.contains("default"), "{table}");
    let nobody = dagor(&["route", "bob", "--redis", &redis.url()]).await;
    assert_eq!(String::from_utf8(nobody.stderr).unwrap(), "bob is not connected\n");
    assert!(nobody.status.success() && nobody.stdout.is_empty());
    let json = dagor(&["route", "bob", "--redis", &redis.url(), "--json"]).await;
    assert_eq!(String::from_utf8(json.stdout).unwrap(), "[]\n");
}

#[tokio::test]
async fn a_lease_tells_the_address_that_is_advertised() {
    let redis = Redis::start();
    let config = format!("[routes]\nredis = \"{}\"\nadvertise = \"g1.example:7402\"\n", redis.url());
    let fleet = Fleet::start_with(1, &config, tempfile::tempdir().unwrap()).await;
    let _ann = fleet.gateways[0].login("ann", 1).await;
    let shown = dagor(&["route", "ann", "--redis", &redis.url(), "--json"]).await;
    let routes: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!((&routes[0]["gateway"], &routes[0]["address"]), (&"g1".into(), &"g1.example:7402".into()));
}

#[tokio::test]
async fn without_a_redis_it_fails_and_says_so() {
    let mut redis = Redis::start();
    redis.kill();
    let failed = dagor(&["route", "ann", "--redis", &redis.url()]).await;
    assert_eq!(failed.status.code(), Some(1));
    let said = String::from_utf8(failed.stderr).unwrap();
    assert!(said.contains("the registry is away") && said.contains("hint:"), "{said}");
    let wrong = dagor(&["route", "ann", "--redis", "nonsense"]).await;
    assert_eq!(wrong.status.code(), Some(2));
}

#[tokio::test]
async fn gateways_share_a_cluster() {
    let cluster = Cluster::start();
    let urls = cluster.urls();
    let config = format!("[routes]\nredis = [\"{}\", \"{}\"]\n", urls[0], urls[1]);
    let fleet = Fleet::start_with(2, &config, tempfile::tempdir().unwrap()).await;
    for user in ["ann", "bob", "eve", "sam"] {
        let mut older = fleet.gateways[0].login(user, 1).await;
        let _newer = fleet.gateways[1].login(user, 1).await;
        older.refused().await;
        let shown = dagor(&["route", user, "--redis", &urls.join(","), "--json"]).await;
        let routes: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
        assert_eq!(routes[0]["gateway"], "g2", "{user}");
    }
}

#[tokio::test]
async fn gateways_share_a_redis_with_tls_and_a_password() {
    let secured = Secured::start();
    let directory = tempfile::tempdir().unwrap();
    let authority = directory.path().join("ca.pem");
    fs::write(&authority, &secured.authority).unwrap();
    let url = secured.settings().nodes[0].clone();
    let config = format!("[routes]\nredis = \"{url}\"\nauthority = \"ca.pem\"\n");
    let fleet = Fleet::start_with(1, &config, directory).await;
    let _ann = fleet.gateways[0].login("ann", 1).await;
    let authority = authority.display().to_string();
    let shown = dagor(&["route", "ann", "--redis", &url, "--authority", &authority, "--json"]).await;
    let routes: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(routes[0]["gateway"], "g1");
}
