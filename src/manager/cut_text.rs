//! Cuts as people write them.

use crate::admission::{
    Cut, Level,
    level::{BUSINESS_PRIORITIES, USER_LEVELS},
};

/// What may be written.
pub const EXPECTED: &str = "`open`, `closed`, a business priority such as `20`, or priority and user level such as `20/64`: \
                            that level and everything more important pass";

/// Reads a cut: `20/64` admits that level and everything more important, `20` a whole business priority.
///
/// # Errors
///
/// What is expected, in words.
pub fn parse(text: &str) -> Result<Cut, String> {
    match text.trim() {
        "open" => Ok(Cut::OPEN),
        "closed" => Ok(Cut::CLOSED),
        text => {
            let (business, user) = text.split_once('/').unwrap_or((text, "127"));
            let level = number(business, BUSINESS_PRIORITIES).zip(number(user, USER_LEVELS));
            let level = level.ok_or_else(|| format!("`{text}` is no cut: expected {EXPECTED}"))?;
            Ok(Cut::through(Level::new(level.0, level.1)))
        }
    }
}

fn number(text: &str, below: u16) -> Option<u8> {
    text.trim().parse().ok().filter(|&number: &u8| u16::from(number) < below)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_names_the_last_level_that_passes() {
        assert_eq!(parse("20/64"), Ok(Cut::through(Level::new(20, 64))));
        assert_eq!(parse(" 20 "), Ok(Cut::through(Level::new(20, 127))));
        assert_eq!((parse("open"), parse("closed"), parse("63/127")), (Ok(Cut::OPEN), Ok(Cut::CLOSED), Ok(Cut::OPEN)));
        for text in ["", "64", "20/128", "20/", "-1", "open/3", "20/64/1"] {
            assert!(parse(text).unwrap_err().contains("expected"), "{text:?}");
        }
    }
}
