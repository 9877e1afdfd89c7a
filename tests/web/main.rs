//! The browser client of this folder in real Chromium: it passes the conformance kit, and loses nothing when its
//! gateway restarts.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod chromium;
mod restart;
mod schema;
mod site;

use serde_json::Value;

use self::{chromium::Chromium, site::Site};

fn cases(results: &Value) -> impl Iterator<Item = (&String, &Value)> {
    results.as_object().unwrap().iter()
}

#[tokio::test]
async fn the_browser_client_passes_the_conformance_kit() {
    let mut site = Site::start().await;
    let _chromium = Chromium::open(&format!("http://{}/web/conformance.html", site.address));
    let posted = site.posted().await;
    let failure = |(name, failure): (&String, &Value)| {
        let [step, seed] = [&failure["step"], &failure["seed"]];
        format!("{name}, step {step} with seed {seed}: {}", failure["message"].as_str().unwrap())
    };
    let failed: Vec<_> = cases(&posted["results"]).filter(|(_, result)| *result != "passed").map(failure).collect();
    assert!(failed.is_empty(), "\n{}", failed.join("\n"));
    let passed: Vec<_> =
        cases(&posted["mute"]).filter(|(_, result)| *result == "passed").map(|(name, _)| name).collect();
    assert_eq!((passed.len(), cases(&posted["mute"]).count() > 50), (0, true), "a mute client passes {passed:?}");
}
