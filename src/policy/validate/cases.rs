//! `[[test]]` cases: what they refer to must exist, and they must say enough to be decided.

use super::checker::{Checker, place};
use crate::{
    admission::level::{BUSINESS_PRIORITIES, USER_LEVELS},
    policy::{
        document::TestText,
        reader::At,
        table::{Business, Case, Tier},
    },
};

impl Checker<'_> {
    /// The cases in the order of the file. One with a fault is left out; then there is no policy that could be checked.
    pub(super) fn cases(&mut self, texts: &[TestText], businesses: &[Business], tiers: &[Tier]) -> Vec<Case> {
        texts.iter().filter_map(|text| self.case(text, businesses, tiers)).collect()
    }

    fn case(&mut self, text: &TestText, businesses: &[Business], tiers: &[Tier]) -> Option<Case> {
        let business = text.business.as_ref().and_then(|written| self.business_index(written, businesses));
        let user_levels = self.user_levels(text, tiers, business.and_then(|index| businesses.get(index)));
        let cut = text.cut.as_ref().and_then(|written| self.cut(written, businesses));
        let admitted = self.word(&text.expect, "expectation", &[("admitted", true), ("refused", false)], true);
        let name = text.name.as_ref()?.value.clone();
        Some(Case { name, business: business?, user_levels: user_levels?, cut: cut?, admitted })
    }

    fn business_index(&mut self, written: &At<String>, businesses: &[Business]) -> Option<usize> {
        let found = businesses.iter().position(|business| business.name == written.value);
        if found.is_none() {
            let names = businesses.iter().map(|business| business.name.as_str());
            self.unknown(&written.place, "business", &written.value, names);
        }
        found
    }

    /// The one level, or all levels of the tier; everybody's first tier if neither is written.
    fn user_levels(&mut self, text: &TestText, tiers: &[Tier], business: Option<&Business>) -> Option<(u8, u8)> {
        let both = [place(&text.user_level), place(&text.tier)];
        self.contradiction(both.iter().any(Option::is_none), &both, || "write user_level or tier, not both".to_owned());
        if text.user_level.is_some() {
            let level = self.whole(&text.user_level, 0..=u64::from(USER_LEVELS) - 1, 0) as u8;
            return Some((level, level));
        }
        let Some(written) = &text.tier else { return tiers.first().map(|tier| tier.levels) };
        let index = self.tier(written, tiers)?;
        if let Some(business) =
            business.filter(|business| !business.tiers.is_empty() && !business.tiers.contains(&index))
        {
            self.faults.add(&written.place, format!("tier `{}` may not claim `{}`", written.value, business.name));
        }
        tiers.get(index).map(|tier| tier.levels)
    }

    /// `"20/63"`, as logs show a level, or `"message/63"`.
    fn cut(&mut self, written: &At<String>, businesses: &[Business]) -> Option<(u8, u8)> {
        let below = |text: &str, limit: u16| text.parse::<u8>().ok().filter(|number| u16::from(*number) < limit);
        let cut = written.value.split_once('/').and_then(|(business, user)| {
            let named = businesses.iter().find(|known| known.name == business).map(|known| known.priority);
            Some((named.or_else(|| below(business, BUSINESS_PRIORITIES))?, below(user, USER_LEVELS)?))
        });
        if cut.is_none() {
            let message = format!("`{}` is no cut: it names the last level that is admitted", written.value);
            let help = "write priority/user level such as \"20/63\", or a business in place of the priority";
            self.faults.suggest(&written.place, message, Some(help.to_owned()));
        }
        cut
    }
}
