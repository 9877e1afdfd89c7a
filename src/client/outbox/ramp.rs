//! After a login a client starts with a few messages and doubles as they are replied to: a gateway that has just taken
//! over another one's clients is not met by all that they have.

/// In flight at first.
const FIRST: usize = 8;

/// How many messages may be in flight on this connection.
#[derive(Debug)]
pub(super) struct Ramp {
    window: usize,
    /// Replies since the window was last doubled.
    replies: usize,
}

impl Ramp {
    pub(super) fn new() -> Self {
        Self { window: FIRST, replies: 0 }
    }

    pub(super) fn window(&self) -> usize {
        self.window
    }

    pub(super) fn replied(&mut self) {
        self.replies += 1;
        if self.replies >= self.window {
            // The gateway's own limit on requests in flight ends the doubling; this only keeps the number small.
            self.window = (self.window * 2).min(1 << 16);
            self.replies = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_of_replies_doubles_the_window() {
        let mut ramp = Ramp::new();
        (0..7).for_each(|_| ramp.replied());
        assert_eq!(ramp.window(), 8);
        ramp.replied();
        assert_eq!(ramp.window(), 16);
        (0..16).for_each(|_| ramp.replied());
        assert_eq!(ramp.window(), 32);
    }
}
