//! Waiting times that formulas know.

use dagor::sim::measure::Metric;

use crate::{assert_close, figure, simulate};

/// Tasks of one call to a service with these keys, patient enough to wait for their turn.
fn queue(rate: f64, service: &str) -> dagor::sim::measure::Run {
    let text = format!(
        "duration = \"1800s\"\nwarmup = \"10s\"\n[traffic]\nrate = \"{rate}/s\"\n[[service]]\nname = \"s\"\n{service}\n
         [[business]]\nname = \"b\"\ntimeout = \"60s\"\n"
    );
    simulate(&text, "none")
}

/// The chance of having to wait for one of `servers` at an offered work of `work` (Erlang's formula C).
fn erlang_c(servers: u32, work: f64) -> f64 {
    let blocked = (1..=servers).fold(1.0, |blocked, servers| {
        let next = work * blocked;
        next / (f64::from(servers) + next)
    });
    let rho = work / f64::from(servers);
    blocked / (1.0 - rho * (1.0 - blocked))
}

#[test]
fn one_exponential_server_answers_as_fast_as_the_formula_says() {
    // Response times of M/M/1 are exponential with mean 1 ÷ (μ − λ).
    let run = queue(70.0, "time = \"10ms\"");
    let mean_ms = 1000.0 / (100.0 - 70.0);
    assert_close(figure(&run, Metric::LatencyP50), mean_ms * 2_f64.ln(), 0.06);
    assert_close(figure(&run, Metric::LatencyP99), mean_ms * 100_f64.ln(), 0.1);
    assert_close(figure(&run, Metric::QueuingMean), 0.7 * mean_ms, 0.08);
    assert_close(figure(&run, Metric::Utilization), 0.7, 0.02);
}

#[test]
fn waiting_for_one_server_grows_with_the_variation_as_pollaczek_and_khinchine_say() {
    let (rho, time_ms) = (0.7, 10.0);
    for (service, variation) in [
        ("distribution = \"deterministic\"", 0.0),
        ("distribution = \"gamma\"\nscv = 0.5", 0.5),
        ("distribution = \"lognormal\"\nscv = 2", 2.0),
    ] {
        let run = queue(70.0, &format!("time = \"10ms\"\n{service}"));
        let expected = (1.0 + variation) / 2.0 * rho / (1.0 - rho) * time_ms;
        assert_close(figure(&run, Metric::QueuingMean), expected, 0.1);
    }
}

#[test]
fn several_servers_share_a_queue_as_erlang_says() {
    let (servers, rate, time) = (4, 80.0, 0.04);
    let run = queue(rate, "workers = 4\ntime = \"40ms\"");
    let wait = erlang_c(servers, rate * time) / (f64::from(servers) / time - rate);
    assert_close(figure(&run, Metric::QueuingMean), 1000.0 * wait, 0.1);
    assert_close(figure(&run, Metric::QueuingP50), 1000.0 * (erlang_c(servers, rate * time) / 0.5).ln() / 20.0, 0.15);
}

#[test]
fn several_servers_without_variation_wait_as_cosmetatos_says() {
    let (servers, rate, time) = (4.0_f64, 80.0, 0.04);
    let run = queue(rate, "workers = 4\ntime = \"40ms\"\ndistribution = \"deterministic\"");
    let rho = rate * time / servers;
    let exponential = erlang_c(4, rate * time) / (servers / time - rate);
    let factor = 1.0 + (1.0 - rho) * (servers - 1.0) * ((4.0 + 5.0 * servers).sqrt() - 2.0) / (16.0 * rho * servers);
    assert_close(figure(&run, Metric::QueuingMean), 1000.0 * exponential * factor / 2.0, 0.1);
}
