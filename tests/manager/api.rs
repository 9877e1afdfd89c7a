//! What operators tell managers, and what becomes of it.

use std::{fs, time::Duration};

use dagor::{
    admission::{Cut, Level},
    client::StopReason,
};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    fleet::{
        INTERVAL, Site, TOKEN, addresses, ask, client, end, get, manager_config, managers, policy, post, until,
        until_said,
    },
    redis::Redis,
};

#[tokio::test]
async fn a_cap_takes_effect_everywhere_within_a_second_and_lapses() {
    let redis = Redis::start();
    let site = Site::fast("").await;
    let managers = managers(2, Some(redis.url())).await;
    let all = addresses(&managers);
    let gateways = vec![site.gateway("a", &all[..1]).await, site.gateway("b", &all[1..]).await];
    let admin = managers[0].addresses.admin;
    let has_main = |said: &Value| said["services"][0]["service"] == "main";
    until_said("the service is known", admin, "/v1/fleet", has_main).await;

    let began = Instant::now();
    let cap = json!({ "service": "main", "cut": "20/64", "for": "2s" });
    let (status, said) = post(admin, "/v1/caps", TOKEN, &cap).await;
    assert_eq!(status, 200, "{said}");
    let capped = Cut::through(Level::new(20, 64));
    let cuts = || gateways.iter().map(|running| running.gateway.gates[0].effective_cut()).collect::<Vec<_>>();
    until("both gateways are capped", || cuts() == [capped; 2]).await;
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    let fleet = get(managers[1].addresses.admin, "/v1/fleet").await;
    assert_eq!(fleet["caps"][0]["service"], "main", "{fleet:#}");
    until("it lapses", || cuts() == [Cut::OPEN; 2]).await;
    let lasted = began.elapsed();
    assert!((Duration::from_millis(1900)..Duration::from_millis(3200)).contains(&lasted), "{lasted:?}");

    post(admin, "/v1/caps", TOKEN, &json!({ "service": "login", "cut": "closed" })).await;
    let logins = || gateways[1].gateway.own_gate.snapshot().effective;
    until("logins are capped", || logins() == Cut::CLOSED).await;
    post(admin, "/v1/caps", TOKEN, &json!({ "service": "login", "cut": "open" })).await;
    until("they are not any more", || logins() == Cut::OPEN).await;
    end(gateways, managers).await;
}

#[tokio::test]
async fn nothing_changes_without_the_token_and_mistakes_are_explained() {
    let site = Site::fast("").await;
    let managers = managers(1, None).await;
    let gateways = vec![site.gateway("a", &addresses(&managers)).await];
    let admin = managers[0].addresses.admin;
    until_said("the service is known", admin, "/v1/fleet", |said| said["services"][0]["service"] == "main").await;
    for (path, token, body, status, words) in [
        ("/v1/caps", "wrong", json!({ "service": "main", "cut": "20" }), 401, "token"),
        ("/v1/caps", TOKEN, json!({ "service": "main", "cut": "64" }), 400, "`64` is no cut"),
        ("/v1/caps", TOKEN, json!({ "service": "mian", "cut": "20" }), 404, "there are: main, login"),
        ("/v1/caps", TOKEN, json!({ "service": "main", "cut": "20", "for": "2d" }), 400, "up to 24h"),
        ("/v1/caps", TOKEN, json!({ "service": "main", "cut": "20", "until": "2d" }), 422, "until"),
        ("/v1/drain", TOKEN, json!({ "gateway": "x" }), 404, "there are: a"),
        ("/v1/drain", TOKEN, json!({ "gateway": "a", "per_second": 0 }), 400, "above 0"),
        ("/v1/kick", TOKEN, json!({ "user": "" }), 400, "1 to 128 bytes"),
    ] {
        let (got, said) = post(admin, path, token, &body).await;
        assert_eq!(got, status, "{body}: {said}");
        assert!(said.to_string().contains(words), "{body}: {said}");
    }
    let foreign = "GET /v1/fleet HTTP/1.1\r\nHost: example.com\r\n";
    assert_eq!(ask(admin, foreign, "").await.0, 403);
    let mut locked = manager_config(None);
    locked.token = dagor::manager::Token::None;
    let locked = dagor::manager::start(locked).await.unwrap();
    let (status, said) = post(locked.addresses.admin, "/v1/kick", "", &json!({ "user": "ann" })).await;
    assert_eq!(status, 403, "{said}");
    end(gateways, managers.into_iter().chain([locked]).collect()).await;
}

#[tokio::test]
async fn a_kicked_user_is_put_out_once_and_may_not_come_back_by_itself() {
    let site = Site::fast("").await;
    let managers = managers(1, None).await;
    let gateways = vec![site.gateway("a", &addresses(&managers)).await];
    let place = gateways[0].addresses.clients;
    let (ann, bob) = (client("ann", &[place]), client("bob", &[place]));
    until("both are in", || gateways[0].gateway.roster.len() == 2).await;
    post(managers[0].addresses.admin, "/v1/kick", TOKEN, &json!({ "user": "ann" })).await;
    until("ann is out", || matches!(ann.stopped(), Some(StopReason::Kicked(_)))).await;
    assert!(bob.session().is_some());
    let again = client("ann", &[place]);
    until("ann has logged in anew", || again.session().is_some()).await;
    let stays = Instant::now() + INTERVAL * 3;
    while Instant::now() < stays {
        assert!(again.stopped().is_none(), "each order is carried out once");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop((ann, bob, again));
    end(gateways, managers).await;
}

#[tokio::test]
async fn a_policy_reaches_every_gateway_and_a_faulty_one_changes_nothing() {
    let site = Site::fast("").await;
    let file = site.path("fleet.toml");
    let text = policy("max = 77", super::fleet::PATIENT);
    fs::write(&file, &text).unwrap();
    let mut config = manager_config(None);
    config.policy = Some(file.clone());
    let managers = vec![dagor::manager::start(config).await.unwrap()];
    let gateways = vec![site.gateway("a", &addresses(&managers)).await, site.gateway("b", &addresses(&managers)).await];
    let limits = || gateways.iter().map(|running| running.gateway.store.current().connections.max).collect::<Vec<_>>();
    until("the managers' policy is in force", || limits() == [77; 2]).await;
    fs::write(&file, text.replace("77", "78")).unwrap();
    until("the new one is in force", || limits() == [78; 2]).await;
    // Longer than the watch takes to see it: what is faulty is distributed to nobody.
    fs::write(&file, text.replace("77", "\"many\"")).unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(limits(), [78; 2]);
    let same = |said: &Value| {
        let revision = |at: usize| said["gateways"][at]["policy_revision"].clone();
        revision(0) == revision(1) && said["gateways"][0]["refused_policy"].is_null()
    };
    until_said("both report it", managers[0].addresses.admin, "/v1/fleet", same).await;
    end(gateways, managers).await;
}

/// The names in the source, in the page, and of the series that are there.
#[tokio::test]
async fn every_metric_of_a_manager_is_documented_described_and_there() {
    let site = Site::fast("").await;
    let managers = managers(1, None).await;
    let gateways = vec![site.gateway("a", &addresses(&managers)).await];
    let admin = managers[0].addresses.admin;
    until_said("the service is known", admin, "/v1/fleet", |said| said["services"][0]["service"] == "main").await;
    let (_, metrics) = ask(admin, &format!("GET /metrics HTTP/1.1\r\nHost: {admin}\r\n"), "").await;
    let source = include_str!("../../src/manager/api/metrics.rs").lines();
    let described: std::collections::BTreeSet<_> = source
        .filter(|line| line.trim_start().starts_with("describe_"))
        .filter_map(|line| line.split('"').nth(1))
        .collect();
    let page = include_str!("../../docs/metrics.md").split("\n## Managers").nth(1).unwrap().lines();
    let documented: std::collections::BTreeSet<_> =
        page.filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let recorded: std::collections::BTreeSet<_> = metrics
        .lines()
        .filter(|line| line.starts_with("dagor_"))
        .filter_map(|line| line.split(['{', ' ']).next())
        .collect();
    assert_eq!(described, documented);
    assert_eq!(recorded, documented);
    end(gateways, managers).await;
}

/// Runs the program; returns its exit code, and what it said on standard output and standard error.
async fn dagor(line: String) -> (i32, String, String) {
    let run = move || {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_dagor"));
        command.args(line.split_whitespace()).env_remove("DAGOR_TOKEN").env("NO_COLOR", "1");
        let output = command.output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

#[tokio::test]
async fn the_commands_say_what_was_done_or_what_to_do_instead() {
    let site = Site::fast("").await;
    let managers = managers(1, None).await;
    let gateways = vec![site.gateway("a", &addresses(&managers)).await];
    let admin = managers[0].addresses.admin;
    until_said("the service is known", admin, "/v1/fleet", |said| said["services"][0]["service"] == "main").await;
    let to = format!("--token {TOKEN} --manager {admin}");

    let (code, out, said) = dagor(format!("cap main 20/64 --for 30s {to} --json")).await;
    assert_eq!((code, said.trim()), (0, "main is capped at 20/64 for 30s"));
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap()["for"], "30s");
    let capped = Cut::through(Level::new(20, 64));
    until("it is capped", || gateways[0].gateway.gates[0].effective_cut() == capped).await;
    // Nobody is at the first address: the next one is asked.
    let (code, out, _) = dagor(format!("cap main open --token {TOKEN} --manager 127.0.0.1:1 --manager {admin}")).await;
    assert_eq!((code, out.as_str()), (0, ""));
    until("it is not any more", || gateways[0].gateway.gates[0].effective_cut() == Cut::OPEN).await;

    for (line, exit_code, words) in [
        (format!("cap mian 20 {to}"), 2, "there are: main, login"),
        (format!("cap main 64 {to}"), 2, "business priority"),
        (format!("drain x {to}"), 2, "there are: a"),
        (format!("kick ann --manager {admin}"), 2, "DAGOR_TOKEN"),
        (format!("kick ann --token {TOKEN} --manager 127.0.0.1:1"), 1, "dagor manager"),
    ] {
        let (code, out, said) = dagor(line.clone()).await;
        assert_eq!((code, out.as_str()), (exit_code, ""), "{line}: {said}");
        assert!(said.contains(words), "{line}: {said}");
    }
    end(gateways, managers).await;
}
