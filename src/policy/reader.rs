//! Takes keys out of parsed TOML tables, each with its place; every fault is noted and nothing ends at the first one.
//!
//! A derived deserializer would stop at the first unknown key. Here the keys that a section takes are the schema: what
//! was not taken is unknown.

use std::{cell::RefCell, collections::BTreeSet, time::Duration};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    fault::{Collector, Place, did_you_mean},
    quantity,
};

/// A value and where it was written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct At<T> {
    pub(crate) value: T,
    pub(crate) place: Place,
}

/// Why a value was not understood.
#[derive(Debug)]
pub(crate) struct Mistake {
    pub(crate) message: String,
    pub(crate) suggestion: Option<String>,
}

impl Mistake {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), suggestion: None }
    }

    pub(crate) fn help(mut self, suggestion: impl Into<String>) -> Self {
        self.suggestion = Some(suggestion.into());
        self
    }

    pub(crate) fn expected(what: &str, found: &DeValue<'_>) -> Self {
        let article = if found.is_integer() || found.is_array() { "an" } else { "a" };
        Self::new(format!("expected {what}, found {article} {}", found.type_str()))
    }
}

/// What is noted while the files are read.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    pub(crate) faults: RefCell<Collector>,
    /// Every key that was asked for, without indices: the schema.
    pub(crate) asked: RefCell<BTreeSet<String>>,
}

impl Notes {
    pub(crate) fn note(&self, place: &Place, mistake: Mistake) {
        self.faults.borrow_mut().suggest(place, mistake.message, mistake.suggestion);
    }
}

/// A table of a file whose keys are taken one by one.
pub(crate) struct Table<'t> {
    pub(crate) notes: &'t Notes,
    entries: &'t DeTable<'t>,
    /// Where its header is.
    pub(crate) place: Place,
    /// Its path without indices.
    schema: String,
    known: Vec<&'static str>,
}

impl<'t> Table<'t> {
    pub(crate) fn root(notes: &'t Notes, file: usize, entries: &'t DeTable<'t>) -> Self {
        let place = Place { file, ..Place::default() };
        Self { notes, entries, place, schema: String::new(), known: Vec::new() }
    }

    /// Text.
    pub(crate) fn text(&mut self, key: &'static str) -> Option<At<String>> {
        self.parsed(key, read_text)
    }

    /// A list of texts.
    pub(crate) fn texts(&mut self, key: &'static str) -> Option<Vec<At<String>>> {
        let (place, value) = self.take(key)?;
        let Some(items) = value.get_ref().as_array() else {
            let mistake = Mistake::expected("a list of texts", value.get_ref());
            self.notes.note(&place, mistake);
            return None;
        };
        let items = items.iter().enumerate().filter_map(|(index, item)| {
            let place = Place { file: place.file, span: item.span(), path: format!("{}[{index}]", place.path) };
            read_text(item.get_ref())
                .map_err(|mistake| self.notes.note(&place, mistake))
                .ok()
                .map(|value| At { value, place })
        });
        Some(items.collect())
    }

    /// A whole number, 0 or more.
    pub(crate) fn whole(&mut self, key: &'static str) -> Option<At<u64>> {
        self.parsed(key, read_whole)
    }

    /// A whole number, or `word` for `None`.
    pub(crate) fn whole_or(&mut self, key: &'static str, word: &'static str) -> Option<At<Option<u64>>> {
        self.parsed(key, |value| match value.as_str() {
            Some(written) if written == word => Ok(None),
            Some(_) => Err(Mistake::new(format!("expected a whole number or \"{word}\""))),
            None => read_whole(value).map(Some),
        })
    }

    /// A number, whole or not, finite.
    pub(crate) fn number(&mut self, key: &'static str) -> Option<At<f64>> {
        self.parsed(key, read_number)
    }

    /// A list of numbers.
    #[cfg(feature = "cli")]
    pub(crate) fn numbers(&mut self, key: &'static str) -> Option<At<Vec<f64>>> {
        self.parsed(key, |value| {
            let items = value.as_array().ok_or_else(|| Mistake::expected("a list of numbers", value))?;
            items.iter().map(|item| read_number(item.get_ref())).collect()
        })
    }

    /// `true` or `false`.
    pub(crate) fn flag(&mut self, key: &'static str) -> Option<At<bool>> {
        self.parsed(key, |value| value.as_bool().ok_or_else(|| Mistake::expected("true or false", value)))
    }

    /// Two whole numbers.
    pub(crate) fn pair(&mut self, key: &'static str) -> Option<At<(u64, u64)>> {
        self.parsed(key, read_pair)
    }

    /// Two whole numbers, or `word` for `None`.
    pub(crate) fn pair_or(&mut self, key: &'static str, word: &'static str) -> Option<At<Option<(u64, u64)>>> {
        self.parsed(key, |value| match value.as_str() {
            Some(written) if written == word => Ok(None),
            Some(_) => Err(Mistake::new(format!("expected two numbers such as [0, 127], or \"{word}\""))),
            None => read_pair(value).map(Some),
        })
    }

    /// A duration as text with units.
    pub(crate) fn duration(&mut self, key: &'static str) -> Option<At<Duration>> {
        self.quantity(key, "a duration in text with a unit", "ms", quantity::parse_duration)
    }

    /// A duration, or `word` for `None`.
    pub(crate) fn duration_or(&mut self, key: &'static str, word: &'static str) -> Option<At<Option<Duration>>> {
        let what = format!("a duration in text with a unit, or \"{word}\"");
        let parse = |text: &str| if text == word { Ok(None) } else { quantity::parse_duration(text).map(Some) };
        self.quantity(key, &what, "ms", parse)
    }

    /// A size as text with units, in bytes.
    pub(crate) fn size(&mut self, key: &'static str) -> Option<At<u64>> {
        self.quantity(key, "a size in text with a unit", "B", quantity::parse_size)
    }

    /// A rate as text with units, per second.
    pub(crate) fn rate(&mut self, key: &'static str) -> Option<At<f64>> {
        self.quantity(key, "a rate in text with a unit", "/s", quantity::parse_rate)
    }

    /// The table `[key]`.
    pub(crate) fn table(&mut self, key: &'static str) -> Option<Table<'t>> {
        let (place, value) = self.take(key)?;
        match value.get_ref().as_table() {
            Some(entries) => Some(self.below(key, place, entries)),
            None => {
                let mistake = Mistake::expected(&format!("a table `[{}]`", place.path), value.get_ref());
                self.notes.note(&place, mistake);
                None
            }
        }
    }

    /// The tables `[[key]]`.
    pub(crate) fn tables(&mut self, key: &'static str) -> Vec<Table<'t>> {
        let Some((place, value)) = self.take(key) else { return Vec::new() };
        let expected = |found| Mistake::expected(&format!("tables `[[{}]]`", place.path), found);
        let Some(items) = value.get_ref().as_array() else {
            let mistake = expected(value.get_ref()).help(format!("write the header as `[[{}]]`", place.path));
            self.notes.note(&place, mistake);
            return Vec::new();
        };
        let mut tables = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let place = Place { file: place.file, span: item.span(), path: format!("{}[{index}]", place.path) };
            match item.get_ref().as_table() {
                Some(entries) => tables.push(self.below(key, place, entries)),
                None => self.notes.note(&place, expected(item.get_ref())),
            }
        }
        tables
    }

    /// Notes which of `keys` are absent.
    pub(crate) fn require(&self, keys: &[&str]) {
        for key in keys.iter().filter(|key| !self.entries.contains_key(**key)) {
            self.notes.note(&self.place, Mistake::new(format!("`{key}` is missing")));
        }
    }

    /// Notes every key that was not taken.
    pub(crate) fn finish(self) {
        for key in self.entries.keys() {
            let name = key.get_ref().as_ref();
            if self.known.contains(&name) {
                continue;
            }
            let suggestion = did_you_mean(name, self.known.iter().copied())
                .unwrap_or_else(|| format!("known here: `{}`", self.known.join("`, `")));
            let place = Place { file: self.place.file, span: key.span(), path: join(&self.place.path, name) };
            self.notes.note(&place, Mistake::new(format!("unknown key `{name}`")).help(suggestion));
        }
    }

    pub(crate) fn take(&mut self, key: &'static str) -> Option<(Place, &'t Spanned<DeValue<'t>>)> {
        self.known.push(key);
        self.notes.asked.borrow_mut().insert(join(&self.schema, key));
        let (written, value) = self.entries.get_key_value(key)?;
        // The span of a table is its header or nothing at all; that of its key is always what a reader looks for.
        let span = if value.get_ref().is_table() { written.span() } else { value.span() };
        Some((Place { file: self.place.file, span, path: join(&self.place.path, key) }, value))
    }

    pub(crate) fn below(&self, key: &str, place: Place, entries: &'t DeTable<'t>) -> Table<'t> {
        Table { notes: self.notes, entries, place, schema: join(&self.schema, key), known: Vec::new() }
    }

    pub(crate) fn parsed<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&DeValue<'_>) -> Result<T, Mistake>,
    ) -> Option<At<T>> {
        let (place, value) = self.take(key)?;
        match read(value.get_ref()) {
            Ok(value) => Some(At { value, place }),
            Err(mistake) => {
                self.notes.note(&place, mistake);
                None
            }
        }
    }

    fn quantity<T>(
        &mut self,
        key: &'static str,
        what: &str,
        unit: &str,
        parse: impl FnOnce(&str) -> Result<T, Mistake>,
    ) -> Option<At<T>> {
        self.parsed(key, |value| match (value.as_str(), value.as_integer()) {
            (Some(text), _) => parse(text),
            (None, Some(number)) => {
                Err(Mistake::expected(what, value).help(format!("write \"{}{unit}\"", number.as_str())))
            }
            (None, None) => Err(Mistake::expected(what, value)),
        })
    }
}

pub(crate) fn read_text(value: &DeValue<'_>) -> Result<String, Mistake> {
    value.as_str().map(str::to_owned).ok_or_else(|| Mistake::expected("text", value))
}

fn read_number(value: &DeValue<'_>) -> Result<f64, Mistake> {
    let text = value.as_float().map(|number| number.as_str()).or_else(|| value.as_integer().map(|n| n.as_str()));
    let number = text.and_then(|text| text.replace('_', "").parse().ok()).filter(|number: &f64| number.is_finite());
    number.ok_or_else(|| Mistake::expected("a number", value))
}

pub(crate) fn read_whole(value: &DeValue<'_>) -> Result<u64, Mistake> {
    let number = value.as_integer().ok_or_else(|| Mistake::expected("a whole number", value))?;
    u64::from_str_radix(number.as_str(), number.radix())
        .map_err(|_| Mistake::new(format!("expected a whole number, 0 or more, found {number}")))
}

fn read_pair(value: &DeValue<'_>) -> Result<(u64, u64), Mistake> {
    match value.as_array().map(|items| items.iter().collect::<Vec<_>>()).as_deref() {
        Some([first, last]) => Ok((read_whole(first.get_ref())?, read_whole(last.get_ref())?)),
        Some(items) => Err(Mistake::new(format!("expected two numbers, found {}", items.len()))),
        None => Err(Mistake::expected("two numbers such as [0, 127]", value)),
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}
