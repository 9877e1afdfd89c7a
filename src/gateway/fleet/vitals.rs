//! How much of what the process may use it does use: CPU and memory, against the limits of its cgroup (version 2, the
//! strictest on the way up) or else of the machine. What cannot be read is unknown, and closes nothing.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

/// Linux tells CPU time to programs in units of this.
const TICKS_PER_SECOND: f64 = 100.0;
/// Where cgroups are.
const CGROUPS: &str = "/sys/fs/cgroup";

/// A reader of the process's vitals.
#[derive(Debug)]
pub(super) struct Vitals {
    cgroup: Option<PathBuf>,
    cpu_seconds: Option<f64>,
}

/// Shares of what the process may use.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Shares {
    pub(super) cpu: Option<f64>,
    pub(super) memory: Option<f64>,
}

impl Vitals {
    /// Of this process.
    pub(super) fn new() -> Self {
        let cgroup = fs::read_to_string("/proc/self/cgroup").ok().and_then(|text| cgroup(&text));
        Self { cgroup, cpu_seconds: cpu_seconds() }
    }

    /// The shares now; of the CPU, the mean since the last reading.
    pub(super) fn read(&mut self, elapsed: Duration) -> Shares {
        let before = std::mem::replace(&mut self.cpu_seconds, cpu_seconds());
        let used = self.cpu_seconds.zip(before).map(|(now, before)| (now - before) / elapsed.as_secs_f64());
        let cpu = used.map(|cores| cores / self.cores());
        Shares { cpu: cpu.filter(|share| share.is_finite()), memory: self.memory() }
    }

    /// CPUs that the process may use, whole or not.
    fn cores(&self) -> f64 {
        let machine = std::thread::available_parallelism().map_or(1.0, |cores| cores.get() as f64);
        self.limits("cpu.max", quota).fold(machine, f64::min)
    }

    fn memory(&self) -> Option<f64> {
        let used = bytes_of("VmRSS:", &fs::read_to_string("/proc/self/status").ok()?)?;
        let machine = bytes_of("MemTotal:", &fs::read_to_string("/proc/meminfo").ok()?)?;
        let limit = self.limits("memory.max", |text| text.trim().parse().ok()).fold(machine, f64::min);
        (limit > 0.0).then(|| used / limit)
    }

    /// A limit of the cgroup and of each one above it.
    fn limits<'a>(&'a self, file: &'a str, read: impl Fn(&str) -> Option<f64> + 'a) -> impl Iterator<Item = f64> + 'a {
        let levels = self.cgroup.iter().flat_map(|path| path.ancestors());
        let levels = levels.take_while(|path| path.starts_with(CGROUPS));
        levels.filter_map(move |path| read(&fs::read_to_string(path.join(file)).ok()?))
    }
}

fn cpu_seconds() -> Option<f64> {
    ticks(&fs::read_to_string("/proc/self/stat").ok()?).map(|ticks| ticks / TICKS_PER_SECOND)
}

/// User and system time in `/proc/self/stat`. The name in front may hold anything, so what counts begins behind its bracket.
fn ticks(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// The directory of a process's cgroup by `/proc/self/cgroup`: the line of version 2.
fn cgroup(text: &str) -> Option<PathBuf> {
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    // A path with `..` is that of another namespace, and says nothing here.
    let is_here = !path.split('/').any(|part| part == "..");
    is_here.then(|| Path::new(CGROUPS).join(path))
}

/// CPUs by `cpu.max`: a quota of microseconds in each period, or `max`.
fn quota(text: &str) -> Option<f64> {
    let mut words = text.split_whitespace();
    let quota: f64 = words.next()?.parse().ok()?;
    let period: f64 = words.next()?.parse().ok()?;
    (quota > 0.0 && period > 0.0).then(|| quota / period)
}

/// A line such as `VmRSS:   1234 kB`, in bytes.
fn bytes_of(name: &str, text: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes * 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_found_behind_any_name() {
        let stat = "42 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20";
        assert_eq!(ticks(stat), Some(200.0));
        assert_eq!(ticks("42 (a"), None);
    }

    #[test]
    fn limits_are_read_as_the_kernel_writes_them() {
        assert_eq!(quota("150000 100000\n"), Some(1.5));
        assert_eq!((quota("max 100000\n"), quota(""), quota("0 0")), (None, None, None));
        assert_eq!(bytes_of("VmRSS:", "Name: x\nVmRSS:\t    2048 kB\n"), Some(2097152.0));
    }

    #[test]
    fn the_cgroup_is_that_of_version_2_in_this_namespace() {
        assert_eq!(cgroup("1:cpu:/x\n0::/a/b\n"), Some("/sys/fs/cgroup/a/b".into()));
        assert_eq!(cgroup("0::/\n"), Some("/sys/fs/cgroup/".into()));
        assert_eq!((cgroup("1:cpu:/x\n"), cgroup("0::/../../b\n")), (None, None));
    }

    #[test]
    fn this_process_uses_some_memory() {
        let shares = Vitals::new().read(Duration::from_secs(1));
        assert!(shares.memory.is_some_and(|share| share > 0.0 && share < 1.0), "{shares:?}");
        assert!(shares.cpu.is_some(), "{shares:?}");
    }
}
