//! What is seen while a run goes on: a live block on a terminal, plain lines elsewhere. Everything goes to standard
//! error; that it cannot be written there stops nothing.

use std::{
    io::{IsTerminal as _, Write as _},
    time::Duration,
};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::{
    config::LoadConfig,
    report::{Second, Slice},
    run::Event,
    table::{count, millis},
};

/// Without a terminal, one line per this many seconds.
const PLAIN_EVERY: u64 = 5;

/// Shows the events of a run.
pub struct Progress {
    total: Duration,
    live: Option<Live>,
    on_terminal: bool,
}

struct Live {
    block: MultiProgress,
    time: ProgressBar,
    businesses: Vec<ProgressBar>,
}

impl Progress {
    /// For a run of this configuration.
    pub fn new(config: &LoadConfig) -> Self {
        let on_terminal = std::io::stderr().is_terminal();
        Self { total: config.warmup + config.duration, live: None, on_terminal }
    }

    /// Shows one event.
    pub fn show(&mut self, event: Event<'_>) {
        match event {
            Event::Connecting { connected, wanted } => {
                line(&format!("{} of {} connections logged in", count(connected as u64), count(wanted as u64)));
            }
            Event::Step(step) => {
                let rate = count(step.completed_per_s.round() as u64);
                line(&format!("saturation: {:>5} outstanding, {rate:>9} replies/s", step.outstanding));
            }
            Event::Start { rate, saturation } => {
                if let Some(saturation) = saturation {
                    let most = count(saturation.requests_per_s.round() as u64);
                    line(&format!("saturation: {most} requests/s of {}", saturation.business));
                }
                line(&format!("offering {} requests/s", count(rate.round() as u64)));
                self.live = self.on_terminal.then(|| Live::new(self.total));
            }
            Event::Second(second) => match &mut self.live {
                Some(live) => live.show(second),
                None if (second.second + 1).is_multiple_of(PLAIN_EVERY) => line(&plain(second)),
                None => {}
            },
        }
    }

    /// Takes the live block away, before the table.
    pub fn finish(&mut self) {
        if let Some(live) = self.live.take() {
            live.clear();
        }
    }
}

impl Live {
    fn new(total: Duration) -> Self {
        let block = MultiProgress::new();
        let style = ProgressStyle::with_template("{bar:30} {pos:>4}/{len} s  {msg}").expect("a constant template");
        let time = block.add(ProgressBar::new(total.as_secs()).with_style(style));
        Self { block, time, businesses: Vec::new() }
    }

    fn show(&mut self, second: &Second) {
        while self.businesses.len() < second.businesses.len() {
            let style = ProgressStyle::with_template("{msg}").expect("a constant template");
            self.businesses.push(self.block.add(ProgressBar::new_spinner().with_style(style)));
        }
        self.time.set_position(second.second + 1);
        self.time.set_message(if second.warmup { "warm-up" } else { "" });
        for (bar, slice) in self.businesses.iter().zip(&second.businesses) {
            bar.set_message(rates(slice));
        }
    }

    fn clear(self) {
        self.businesses.iter().chain([&self.time]).for_each(ProgressBar::finish_and_clear);
    }
}

/// One business in one second, in columns.
fn rates(slice: &Slice) -> String {
    let Slice { business, offered, ok, refused, failed, p99_ms } = slice;
    format!(
        "{business:<12} {:>8}/s  ok {:>8}  refused {:>8}  failed {:>6}  p99 {:>6} ms",
        count(*offered),
        count(*ok),
        count(*refused),
        count(*failed),
        millis(*p99_ms)
    )
}

fn plain(second: &Second) -> String {
    let warmup = if second.warmup { " (warm-up)" } else { "" };
    let of = |slice: &Slice| {
        let Slice { business, offered, ok, refused, p99_ms, .. } = slice;
        format!("{business} {offered}/s ok {ok} refused {refused} p99 {} ms", millis(*p99_ms))
    };
    let businesses: Vec<_> = second.businesses.iter().map(of).collect();
    format!("{:>4} s{warmup}: {}", second.second + 1, businesses.join(" | "))
}

fn line(text: &str) {
    let _ = writeln!(anstream::stderr(), "{text}");
}
