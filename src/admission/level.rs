//! The scale of importance: level and grain make one `u32`, lower is more important, and a cut is a point on the same
//! scale. Nothing here is random: what differs between two requests is in their value.

use std::fmt;

/// Business priorities, 0–63.
pub const BUSINESS_PRIORITIES: u16 = 64;
/// User levels within a business priority, 0–127 (DAGOR uses 128 as well, §4.2).
pub const USER_LEVELS: u16 = 128;
/// Compound levels: 64 × 128.
pub const LEVELS: usize = BUSINESS_PRIORITIES as usize * USER_LEVELS as usize;

const USER_BITS: u32 = 7;
/// Bits of a value below its level.
pub const GRAIN_BITS: u32 = 19;
const GRAIN_MASK: u32 = (1 << GRAIN_BITS) - 1;

/// Compound priority (business 0–63, user 0–127) in 13 bits; lower is more important.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Level(u16);

impl Level {
    /// The most important level.
    pub const MOST_IMPORTANT: Self = Self(0);
    /// The least important level.
    pub const LEAST_IMPORTANT: Self = Self(LEVELS as u16 - 1);

    /// Joins a business priority and a user level; each saturates at its largest value.
    pub const fn new(business: u8, user: u8) -> Self {
        let business = if business as u16 >= BUSINESS_PRIORITIES { BUSINESS_PRIORITIES - 1 } else { business as u16 };
        let user = if user as u16 >= USER_LEVELS { USER_LEVELS - 1 } else { user as u16 };
        Self(business << USER_BITS | user)
    }

    /// The level with this index in a histogram; saturates at the least important.
    pub const fn from_index(index: usize) -> Self {
        if index >= LEVELS { Self::LEAST_IMPORTANT } else { Self(index as u16) }
    }

    /// 0–8191: the position in a histogram.
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// The business priority, 0–63.
    pub const fn business(self) -> u8 {
        (self.0 >> USER_BITS) as u8
    }

    /// The user level, 0–127.
    pub const fn user(self) -> u8 {
        (self.0 & (USER_LEVELS - 1)) as u8
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.business(), self.user())
    }
}

/// The importance of one request: its level in the upper 13 bits, its grain in the lower 19.
///
/// The grain comes from a hash of user and message id. It is fixed where a task enters and travels with every call of
/// it, so that each hop decides alike and a retry cannot draw again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Value(u32);

impl Value {
    /// Joins a level and the lower 19 bits of `grain`. The very last point of the scale is left free, so that an open
    /// cut admits every value.
    pub const fn new(level: Level, grain: u32) -> Self {
        Self::from_bits((level.0 as u32) << GRAIN_BITS | grain & GRAIN_MASK)
    }

    /// A value from the wire.
    pub const fn from_bits(bits: u32) -> Self {
        if bits == u32::MAX { Self(u32::MAX - 1) } else { Self(bits) }
    }

    /// The value on the wire.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// The compound level.
    pub const fn level(self) -> Level {
        Level((self.0 >> GRAIN_BITS) as u16)
    }

    /// The value of a task's later calls, once one of its calls was served: at the first user level of its business, so that
    /// what was begun is finished. A cut that moves near the task's own value would otherwise refuse it half-way, and
    /// what it was served would be wasted. No other business is passed.
    pub const fn begun(self) -> Self {
        Self::new(Level::new(self.level().business(), 0), self.grain())
    }

    /// The position within the level, 19 bits.
    pub const fn grain(self) -> u32 {
        self.0 & GRAIN_MASK
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}", self.level(), self.grain())
    }
}

/// An admission threshold on the scale of [`Value`]: a request is admitted when its value is below it. The strictest of
/// several cuts is their minimum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cut(u32);

impl Cut {
    /// Admits everything.
    pub const OPEN: Self = Self(u32::MAX);
    /// Admits nothing.
    pub const CLOSED: Self = Self(0);

    /// A cut from the wire.
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// The cut on the wire.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Admits the levels with an index below `index` whole and nothing of the rest; open from [`LEVELS`] on.
    pub const fn below_index(index: usize) -> Self {
        if index >= LEVELS { Self::OPEN } else { Self((index as u32) << GRAIN_BITS) }
    }

    /// Admits `level` and everything more important.
    pub const fn through(level: Level) -> Self {
        Self::below_index(level.index() + 1)
    }

    /// How many levels are admitted whole: 0 to [`LEVELS`].
    pub const fn whole_levels(self) -> usize {
        if self.0 == u32::MAX { LEVELS } else { (self.0 >> GRAIN_BITS) as usize }
    }

    /// Whether a request of this value passes.
    pub const fn admits(self, value: Value) -> bool {
        value.0 < self.0
    }

    /// The strictest of the two.
    pub fn min(self, other: Self) -> Self {
        Ord::min(self, other)
    }
}

impl Default for Cut {
    /// Open.
    fn default() -> Self {
        Self::OPEN
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::OPEN => f.write_str("open"),
            Self::CLOSED => f.write_str("closed"),
            Self(bits) => write!(f, "{}", Value(bits)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_cut_admits_the_least_important_value() {
        let worst = Value::new(Level::LEAST_IMPORTANT, u32::MAX);
        assert!(Cut::OPEN.admits(worst));
        assert!(Cut::OPEN.admits(Value::from_bits(u32::MAX)));
        assert!(!Cut::CLOSED.admits(Value::default()));
    }

    #[test]
    fn a_cut_through_a_level_splits_just_behind_it() {
        for index in [0, 1, 127, 128, LEVELS - 1] {
            let level = Level::from_index(index);
            let cut = Cut::through(level);
            assert!(cut.admits(Value::new(level, GRAIN_MASK)), "{level}");
            assert_eq!(cut.whole_levels(), index + 1);
            if index + 1 < LEVELS {
                assert!(!cut.admits(Value::new(Level::from_index(index + 1), 0)), "{level}");
            }
        }
    }

    #[test]
    fn a_begun_task_stands_first_in_its_own_business() {
        let value = Value::new(Level::new(7, 99), 5);
        assert_eq!(value.begun(), Value::new(Level::new(7, 0), 5));
        assert_eq!(value.begun().begun(), value.begun());
        assert!(value.begun() > Value::new(Level::new(6, 127), u32::MAX));
    }

    #[test]
    fn level_and_grain_come_back_out_of_a_value() {
        let value = Value::new(Level::new(63, 5), 0x7_1234);
        assert_eq!((value.level().business(), value.level().user(), value.grain()), (63, 5, 0x7_1234));
        assert_eq!(Level::new(200, 200), Level::LEAST_IMPORTANT);
    }
}
