//! A window is due or it is not: its length and what happened in it are the only inputs.

use std::time::Duration;

use super::settings::GateSettings;
use crate::clock::Timestamp;

/// The present observation window of a gate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    opened: Option<Timestamp>,
}

impl Window {
    /// How long this window has been open, if it ends now: after `settings.window`, or as soon as
    /// `settings.window_requests` requests have left the queue in it. The first call opens the first window.
    pub fn due(&mut self, now: Timestamp, requests: u32, settings: &GateSettings) -> Option<Duration> {
        let opened = *self.opened.get_or_insert(now);
        let elapsed = now.since(opened);
        // A window without length would make every rate infinite.
        let full = requests >= settings.window_requests.max(1) && !elapsed.is_zero();
        (full || elapsed >= settings.window.max(SHORTEST)).then_some(elapsed)
    }

    /// Opens the next window.
    pub fn reopen(&mut self, now: Timestamp) {
        self.opened = Some(now);
    }
}

/// The shortest window that is ended by time alone.
const SHORTEST: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_nanos(1_000_000_000);

    #[test]
    fn a_window_ends_when_its_time_is_up() {
        let settings = GateSettings::dagor_v3();
        let mut window = Window::default();
        assert_eq!(window.due(START, 0, &settings), None);
        assert_eq!(window.due(START + Duration::from_millis(999), 1999, &settings), None);
        assert_eq!(window.due(START + settings.window, 0, &settings), Some(settings.window));
        window.reopen(START + settings.window);
        assert_eq!(window.due(START + settings.window, 0, &settings), None);
    }

    #[test]
    fn a_window_ends_early_when_it_has_seen_enough() {
        let mut window = Window::default();
        let settings = GateSettings::dagor_v3();
        assert_eq!(window.due(START, 5000, &settings), None, "no time has passed");
        let soon = Duration::from_millis(10);
        assert_eq!(window.due(START + soon, 2000, &settings), Some(soon));
    }

    #[test]
    fn settings_of_zero_make_short_windows_but_never_empty_ones() {
        let settings = GateSettings { window: Duration::ZERO, window_requests: 0, ..GateSettings::dagor_v3() };
        let mut window = Window::default();
        assert_eq!(window.due(START, 0, &settings), None);
        assert_eq!(window.due(START + SHORTEST, 0, &settings), Some(SHORTEST));
    }
}
