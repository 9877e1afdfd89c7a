//! Each key of a scenario does what the documentation says.

use dagor::sim::{
    controllers,
    measure::{Metric, Run},
    run,
};

use crate::{assert_close, figure, of_business, scenario, simulate};

/// A service that saturates at 200 tasks/s, at this rate, with more keys for it.
fn service(rate: &str, keys: &str) -> String {
    format!(
        "duration = \"20s\"\n[traffic]\nrate = \"{rate}\"\n[[service]]\nname = \"s\"\nworkers = 2\ntime = \"10ms\"\n\
         distribution = \"deterministic\"\n{keys}\n"
    )
}

fn success(run: &Run) -> f64 {
    figure(run, Metric::SuccessRate)
}

/// Success rates of the tasks that arrived in these seconds.
fn success_between(run: &Run, from: f64, to: f64) -> f64 {
    let step = run.series.step_s;
    let place = |seconds: f64| (seconds / step).round() as usize;
    let rates: Vec<_> = run.series.success[0][place(from)..place(to)].iter().flatten().collect();
    rates.iter().copied().sum::<f64>() / rates.len() as f64
}

#[test]
fn rates_are_absolute_or_multiples_of_the_saturation() {
    assert_close(figure(&simulate(&service("100/s", ""), "none"), Metric::OfferedRate), 100.0, 0.05);
    assert_close(figure(&simulate(&service("0.5x", ""), "none"), Metric::OfferedRate), 100.0, 0.05);
    let two_calls = service("0.5x", "[[business]]\nname = \"b\"\ncall = [{ times = 2 }]");
    assert_close(figure(&simulate(&two_calls, "none"), Metric::OfferedRate), 50.0, 0.1);
}

#[test]
fn a_sweep_multiplies_the_shared_traffic_and_nothing_else() {
    let text = service("10/s", "[[business]]\nname = \"shared\"\n[[business]]\nname = \"own\"\nrate = \"50/s\"");
    let run = run(&scenario(&text), &controllers::named("none").unwrap(), 5.0, 1);
    assert_close(of_business(&run, 0, Metric::OfferedRate), 50.0, 0.1);
    assert_close(of_business(&run, 1, Metric::OfferedRate), 50.0, 0.1);
}

#[test]
fn even_arrivals_have_equal_gaps() {
    let run = simulate(&service("100/s", "").replace("\n[[service]]", "\narrivals = \"even\"\n[[service]]"), "none");
    assert!(run.series.offered_per_s[1..].iter().all(|rate| *rate == 100.0), "{:?}", run.series.offered_per_s);
}

#[test]
fn rates_step_ramp_and_return() {
    let changes =
        "\nchange = [{ at = \"5s\", rate = \"200/s\", for = \"5s\" }, { at = \"15s\", rate = \"0/s\", over = \"4s\" }]";
    let text = service("40/s", "").replace("\n[[service]]", &format!("\narrivals = \"even\"{changes}\n[[service]]"));
    let offered = simulate(&text, "none").series.offered_per_s;
    let mean = |from: usize, to: usize| offered[from * 10..to * 10].iter().sum::<f64>() / ((to - from) * 10) as f64;
    assert_close(mean(0, 5), 40.0, 0.03);
    assert_close(mean(5, 10), 200.0, 0.01);
    assert_close(mean(10, 15), 40.0, 0.03);
    assert_close(mean(15, 19), 20.0, 0.1);
    assert!(mean(19, 20) <= 1.0, "nothing but what was due at the very end of the ramp");
}

#[test]
fn tasks_of_the_warm_up_count_for_nothing() {
    let text = format!("warmup = \"15s\"\n{}", service("100/s", ""));
    assert_close(figure(&simulate(&text, "none"), Metric::Offered), 500.0, 0.15);
}

#[test]
fn workers_and_speed_change_at_their_times() {
    for change in ["workers = 1", "speed = 0.5"] {
        let text = service("0.8x", &format!("change = [{{ at = \"10s\", {change} }}]"));
        let run = simulate(&text, "none");
        assert!(success_between(&run, 0.0, 9.0) > 0.99, "{change}");
        assert!(success_between(&run, 12.0, 20.0) < 0.5, "{change}");
    }
}

#[test]
fn nothing_is_answered_in_a_pause() {
    let run = simulate(&service("0.5x", "pause = [{ at = \"5s\", for = \"3s\" }]"), "none");
    assert!(success_between(&run, 0.0, 4.5) > 0.99);
    assert_eq!(success_between(&run, 5.1, 7.4), 0.0);
    assert!(success_between(&run, 8.5, 20.0) > 0.99);
}

#[test]
fn a_change_of_one_instance_leaves_the_others_alone() {
    let text = service("0.5x", "instances = 2\npause = [{ at = \"5s\", for = \"10s\", instance = 0 }]");
    let run = simulate(&text, "none");
    assert!((0.4..0.6).contains(&success_between(&run, 6.0, 14.0)), "{}", success_between(&run, 6.0, 14.0));
}

#[test]
fn expired_calls_are_work_only_where_the_scenario_says_so() {
    let wasted = |keys| figure(&simulate(&service("3x", keys), "none"), Metric::Wasted);
    assert!(wasted("process_expired = true") > 0.9);
    let expired = |keys| figure(&simulate(&service("3x", keys), "none"), Metric::Expired);
    assert!(expired("process_expired = true") == 0.0 && expired("") > 0.4);
}

#[test]
fn costs_multiply_service_times() {
    let text = service("50/s", "[[business]]\nname = \"b\"\ncost = 3");
    assert_close(figure(&simulate(&text, "none"), Metric::Utilization), 0.75, 0.07);
    let dear = simulate(&text, "none");
    assert!(figure(&dear, Metric::LatencyP50) >= 30.0);
}

#[test]
fn time_outs_bound_the_answers_that_count() {
    let run = simulate(&service("2x", "[[business]]\nname = \"b\"\ntimeout = \"80ms\""), "none");
    assert!(figure(&run, Metric::LatencyP999) <= 80.1);
    assert!(figure(&run, Metric::Missed) > 0.3);
}

#[test]
fn parallel_calls_take_the_time_of_one_and_calls_in_a_row_that_of_all() {
    let latency = |parallel: &str| {
        let calls = format!("workers = 50\n[[business]]\nname = \"b\"\ncall = [{{ times = 4{parallel} }}]");
        let text = service("10/s", &calls).replacen("workers = 2\n", "", 1);
        figure(&simulate(&text, "none"), Metric::LatencyP50)
    };
    assert_close(latency(""), 40.0, 0.01);
    assert_close(latency(", parallel = true"), 10.0, 0.01);
}

#[test]
fn services_call_services_when_their_own_work_is_done() {
    let text = r#"
duration = "20s"
[traffic]
rate = "10/s"
[[service]]
name = "front"
workers = 20
time = "10ms"
distribution = "deterministic"
call = [{ service = "left", times = 2 }, { service = "right" }]
[[service]]
name = "left"
workers = 20
time = "20ms"
distribution = "deterministic"
[[service]]
name = "right"
workers = 20
time = "5ms"
distribution = "deterministic"
call = [{ service = "left" }]
"#;
    assert_close(figure(&simulate(text, "none"), Metric::LatencyP50), 10.0 + 2.0 * 20.0 + 5.0 + 20.0, 0.01);
}

#[test]
fn each_hop_takes_its_time_there_and_back() {
    let text = service("10/s", "[entry]\nhop = \"7ms\"");
    assert_close(figure(&simulate(&text, "none"), Metric::LatencyP50), 24.0, 0.01);
}

#[test]
fn threads_beyond_the_workers_hide_waiting_from_the_queue() {
    let queuing = |keys| figure(&simulate(&service("0.9x", keys), "none"), Metric::QueuingMean);
    let latency = |keys| figure(&simulate(&service("0.9x", keys), "none"), Metric::LatencyP50);
    assert!(queuing("") > 5.0 && queuing("threads = 500") < 0.001);
    assert_close(latency("threads = 500"), latency(""), 0.01);
}

#[test]
fn the_least_loaded_instance_waits_least() {
    let queuing = |balance: &str| {
        let keys = format!("instances = 4\nbalance = \"{balance}\"");
        figure(&simulate(&service("0.8x", &keys), "none"), Metric::QueuingMean)
    };
    assert!(queuing("least-loaded") < queuing("random"));
    assert!(queuing("round-robin") < queuing("random"));
}

#[test]
fn a_users_calls_go_to_one_instance_by_its_hash() {
    let one_user = "instances = 4\nbalance = \"user-hash\"\n[users]\ncount = 1";
    assert_close(figure(&simulate(&service("1x", one_user), "none"), Metric::Utilization), 0.25, 0.05);
}

#[test]
fn active_users_ask_more_often_where_there_is_a_skew() {
    // One instance of ten has the most active user.
    let peak = |skew: &str| {
        let keys = format!("instances = 10\nbalance = \"user-hash\"\n[users]\ncount = 1000\nskew = {skew}");
        success(&simulate(&service("0.5x", &keys), "none"))
    };
    assert!(peak("0") > 0.99 && peak("2") < 0.7, "{} {}", peak("0"), peak("2"));
}

#[test]
fn tiers_hold_their_users_levels_together() {
    let tiers = "[[users.tier]]\nname = \"paying\"\nshare = 1\nlevels = [0, 0]\n\
                 [[users.tier]]\nname = \"others\"\nshare = 3\nlevels = [127, 127]";
    let run = simulate(&format!("warmup = \"5s\"\n{}", service("4x", tiers)), "capacity");
    let cut = run.series.cut_level.last().unwrap().unwrap();
    assert!((0.5..128.0).contains(&cut), "the cut lies between the tiers or in the lower one: {cut}");
}

#[test]
fn clients_send_again_as_often_and_as_long_as_they_are_said_to() {
    let tries = |client: &str| {
        let keys = format!("pause = [{{ at = \"0s\", for = \"60s\" }}]\n[[client]]\n{client}");
        let run = simulate(&service("5/s", &keys), "none");
        assert_eq!(success(&run), 0.0, "nothing is answered");
        run
    };
    let count = |run: &Run| run.figures.get(&Metric::Tries).copied().unwrap() / figure(run, Metric::Offered);
    assert_eq!(count(&tries("resends = 3\non = [\"refused\"]")), 1.0);
    assert_eq!(count(&tries("resends = 3\non = [\"timeout\"]")), 4.0);
    // Tries begin at 0, 0.75, 1.5 and 2.25 s.
    assert_eq!(count(&tries("patience = \"3s\"\nresends = \"unlimited\"\non = [\"timeout\"]\nafter = \"250ms\"")), 4.0);
}

#[test]
fn clients_that_obey_hints_try_less_often_than_those_that_hurry() {
    let tries = |after: &str| {
        let keys = format!("[[client]]\npatience = \"10s\"\nresends = \"unlimited\"\nafter = \"{after}\"");
        figure(&simulate(&service("2x", &keys), "capacity"), Metric::TriesPerSuccess)
    };
    assert!(tries("250ms") > 1.5 * tries("hint"), "{} {}", tries("250ms"), tries("hint"));
}

#[test]
fn refused_calls_are_sent_again_by_whoever_made_them() {
    let refused = |resends: u32| {
        let keys = format!("instances = 4\n[[business]]\nname = \"b\"\ncall = [{{ resends = {resends} }}]");
        figure(&simulate(&service("2x", &keys), "capacity"), Metric::Refusals)
    };
    let (once, four_times) = (refused(0), refused(3));
    assert!((3.0..5.0).contains(&(four_times / once)), "{once} {four_times}");
}

#[test]
fn callers_refuse_what_they_know_unless_they_are_told_not_to_or_hear_nothing() {
    let local = |entry: &str| {
        let controllers = "controllers = [{ kind = \"dagor-v3\", callers = true }]";
        let text = format!("{controllers}\n{}", service("4x", &format!("[entry]\n{entry}")));
        let scenario = scenario(&text);
        figure(&run(&scenario, &scenario.contenders[0], 1.0, 1), Metric::LocallyRefused)
    };
    assert!(local("gateways = 2") > 0.1);
    assert_eq!(local("collaboration = false"), 0.0);
    assert_eq!(local("feedback_loss = 1"), 0.0);
    assert_eq!(local("feedback_delay = \"30s\""), 0.0);
}
