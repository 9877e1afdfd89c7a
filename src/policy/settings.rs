//! Reads files of settings that are no policy, with the same words for their faults: all at once, each with its place and
//! what to write instead.

use std::{ops::RangeInclusive, time::Duration};

use super::{
    document,
    fault::{Fault, Faults},
    reader::{At, Mistake, Notes, Table},
    source::Sources,
    validate::checker::Checker,
};

/// Makes something of a file's tables. `subject` is what the faults call the file.
pub(crate) fn read<T>(
    sources: &Sources,
    subject: &'static str,
    read: impl FnOnce(Section<'_>) -> T,
) -> Result<T, Faults> {
    let files = document::parse(sources).map_err(|faults| faults.of(subject))?;
    let Some(file) = files.first() else {
        return Err(Faults::one(Fault::of_file(String::new(), "there is no file".to_owned())).of(subject));
    };
    let notes = Notes::default();
    let made = read(Section(Table::root(&notes, 0, file.get_ref())));
    notes.faults.into_inner().into_result(sources).map_err(|faults| faults.of(subject))?;
    Ok(made)
}

/// A table with values that have defaults and ranges. [`Section::end`] finds what has no business there.
pub(crate) struct Section<'t>(Table<'t>);

impl<'t> Section<'t> {
    /// The table `[key]`, if there is one, is read by `read`.
    pub(crate) fn table(&mut self, key: &'static str, read: impl FnOnce(Section<'t>)) {
        if let Some(table) = self.0.table(key) {
            read(Section(table));
        }
    }

    /// A text, or what is there already.
    pub(crate) fn text(&mut self, key: &'static str) -> Option<String> {
        self.0.text(key).map(|at| at.value)
    }

    /// `true` or `false`, or what is there already.
    pub(crate) fn flag(&mut self, key: &'static str, value: &mut bool) {
        if let Some(At { value: written, .. }) = self.0.flag(key) {
            *value = written;
        }
    }

    /// A number in this range, or what is there already.
    pub(crate) fn number(&mut self, key: &'static str, range: RangeInclusive<f64>, value: &mut f64) {
        let written = self.0.number(key);
        *value = self.check(|check| check.ranged(&written, range, *value, ToString::to_string));
    }

    /// A duration in this range, or what is there already.
    pub(crate) fn duration(&mut self, key: &'static str, range: RangeInclusive<Duration>, value: &mut Duration) {
        let written = self.0.duration(key);
        *value = self.check(|check| check.duration(&written, range, *value));
    }

    /// What a text means, or a fault with what to write.
    pub(crate) fn parsed<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
        help: &str,
    ) -> Option<T> {
        let read = |text: String| parse(&text).map_err(|message| Mistake::new(message).help(help));
        let written = self.0.parsed(key, |value| super::reader::read_text(value).and_then(read));
        written.map(|at| at.value)
    }

    /// A fault of the table as a whole.
    pub(crate) fn wrong(&self, message: String, help: &str) {
        self.0.notes.note(&self.0.place, Mistake::new(message).help(help));
    }

    /// Whatever was not asked for is a fault.
    pub(crate) fn end(self) {
        self.0.finish();
    }

    fn check<T>(&self, check: impl FnOnce(&mut Checker<'_>) -> T) -> T {
        check(&mut Checker { faults: &mut self.0.notes.faults.borrow_mut() })
    }
}
