//! A minimum share keeps a business alive that is never important enough: so much of the capacity it gets in any case.

/// What a business priority gets of a gate's capacity, however strict the cut.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MinimumShare {
    /// The business priority, 0–63.
    pub priority: u8,
    /// The share of the capacity, 0 to 1.
    pub share: f64,
}
