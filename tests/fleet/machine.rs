//! How much the machine had to do, so that a figure can be read for what it is.

use std::{fs, time::Duration};

use tokio::time::Instant;

/// Says at its end how short of processors the machine was.
pub(crate) struct Machine {
    began: Instant,
    waited: Option<Duration>,
}

impl Machine {
    pub(crate) fn watch() -> Self {
        Self { began: Instant::now(), waited: waited() }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let load = load.split(' ').next().unwrap_or_default();
        if let (Some(before), Some(after)) = (self.waited, waited()) {
            let share = (after - before).as_secs_f64() / self.began.elapsed().as_secs_f64() * 100.0;
            println!("== load average {load}; in {share:.0} % of the time somebody waited for a processor");
        }
    }
}

/// For how long somebody has waited for a processor since the machine began; systems other than Linux do not say it.
fn waited() -> Option<Duration> {
    let pressure = fs::read_to_string("/proc/pressure/cpu").ok()?;
    let (_, total) = pressure.lines().next()?.split_once("total=")?;
    Some(Duration::from_micros(total.parse().ok()?))
}
