//! Faults of policy files: all at once, each where it was written, in words that say what to write instead.

use std::{fmt, ops::Range};

use annotate_snippets::{AnnotationKind, Element, Level, Origin, Renderer, Snippet};

use super::source::Sources;

/// How many faults are kept; a file of another kind altogether has no end of them.
const MAX_FAULTS: usize = 100;

/// One fault of a policy file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The file's path.
    pub file: String,
    /// Counted from 1.
    pub line: usize,
    /// Counted from 1, in characters.
    pub column: usize,
    /// Where in the document, such as `business[2].priority`; empty for the whole file.
    pub key_path: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub suggestion: Option<String>,
    /// The bytes of the file's text that are meant.
    pub span: Range<usize>,
}

impl Fault {
    /// A fault of a file as a whole.
    pub(crate) fn of_file(file: String, message: String) -> Self {
        Self { file, line: 1, column: 1, key_path: String::new(), message, suggestion: None, span: 0..0 }
    }
}

/// All faults of a policy (the first hundred), in the order of its files and lines. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults {
    list: Vec<Fault>,
    total: usize,
    sources: Option<Sources>,
    subject: &'static str,
}

/// What has faults, where nothing else is said.
const POLICY: &str = "policy";

impl Faults {
    pub(crate) fn one(fault: Fault) -> Self {
        Self { list: vec![fault], total: 1, sources: None, subject: POLICY }
    }

    /// The same faults of something that is no policy, such as a `scenario`.
    pub(crate) fn of(self, subject: &'static str) -> Self {
        Self { subject, ..self }
    }

    /// The faults.
    pub fn iter(&self) -> std::slice::Iter<'_, Fault> {
        self.list.iter()
    }

    /// How many there are, also of those that were not kept.
    pub fn total(&self) -> usize {
        self.total
    }

    /// The faults with the lines that they are in, the way rustc shows them; `color` for a terminal.
    pub fn render(&self, color: bool) -> String {
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        let mut out = String::new();
        for fault in &self.list {
            out.push_str(&self.render_one(&renderer, fault));
            out.push_str("\n\n");
        }
        let (total, plural) = (self.total, if self.total == 1 { "" } else { "s" });
        let shown = if total > MAX_FAULTS { format!(", the first {MAX_FAULTS} are shown") } else { String::new() };
        out.push_str(&format!("{total} fault{plural} in the {}{shown}\n", self.subject));
        out
    }

    fn render_one(&self, renderer: &Renderer, fault: &Fault) -> String {
        let source = self.sources.iter().flat_map(Sources::iter).find(|source| source.name == fault.file);
        let place: Element<'_> = match source {
            Some(source) => {
                let annotation = AnnotationKind::Primary.span(fault.span.clone());
                let label = (!fault.key_path.is_empty()).then_some(fault.key_path.as_str());
                Snippet::source(&source.text).path(&fault.file).annotation(annotation.label(label)).into()
            }
            None => Origin::path(&fault.file).into(),
        };
        let mut group = Level::ERROR.primary_title(&fault.message).element(place);
        if let Some(suggestion) = &fault.suggestion {
            group = group.element(Level::HELP.message(suggestion));
        }
        renderer.render(&[group])
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Faults {}

/// Where something was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// Index of the file in the [`Sources`].
    pub(crate) file: usize,
    pub(crate) span: Range<usize>,
    pub(crate) path: String,
}

/// Collects faults while a policy is read.
#[derive(Debug, Default)]
pub(crate) struct Collector {
    list: Vec<(Place, String, Option<String>)>,
}

impl Collector {
    pub(crate) fn add(&mut self, place: &Place, message: impl Into<String>) {
        self.list.push((place.clone(), message.into(), None));
    }

    pub(crate) fn suggest(&mut self, place: &Place, message: impl Into<String>, suggestion: Option<String>) {
        self.list.push((place.clone(), message.into(), suggestion));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// `Ok` if nothing was collected.
    pub(crate) fn into_result(mut self, sources: &Sources) -> Result<(), Faults> {
        if self.list.is_empty() {
            return Ok(());
        }
        self.list.sort_by_key(|(place, ..)| (place.file, place.span.start));
        let total = self.list.len();
        let list = self.list.into_iter().take(MAX_FAULTS).map(|(place, message, suggestion)| {
            let Some(source) = sources.get(place.file) else { return Fault::of_file(String::new(), message) };
            let span = within_one_line(&source.text, place.span);
            let (line, column) = line_and_column(&source.text, span.start);
            Fault { file: source.name.clone(), line, column, key_path: place.path, message, suggestion, span }
        });
        Err(Faults { list: list.collect(), total, sources: Some(sources.clone()), subject: POLICY })
    }
}

/// The span, cut at the end of its first line and moved to where characters begin.
fn within_one_line(text: &str, span: Range<usize>) -> Range<usize> {
    let start = text.floor_char_boundary(span.start);
    let end = text.floor_char_boundary(span.end).max(start);
    let first_line = text[start..end].find(['\n', '\r']).unwrap_or(end - start);
    start..start + first_line
}

fn line_and_column(text: &str, at: usize) -> (usize, usize) {
    let before = &text[..at];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// "did you mean `priority`?", if one of the known words is close enough to be meant.
pub(crate) fn did_you_mean<'k>(written: &str, known: impl IntoIterator<Item = &'k str>) -> Option<String> {
    let likeness = |word: &str| strsim::jaro_winkler(&written.to_lowercase(), word);
    let best = known.into_iter().map(|word| (likeness(word), word)).max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 >= 0.8).then(|| format!("did you mean `{}`?", best.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters_and_spans_end_with_their_line() {
        let text = "a = 1\näö = \"x\ny\"\n";
        assert_eq!(line_and_column(text, text.find('=').unwrap()), (1, 3));
        assert_eq!(line_and_column(text, text.find('"').unwrap()), (2, 6));
        let start = text.find('"').unwrap();
        assert_eq!(within_one_line(text, start..text.len()), start..start + 2);
        assert_eq!(within_one_line(text, 900..1000), text.len()..text.len());
    }

    #[test]
    fn only_words_that_are_close_are_suggested() {
        let known = ["priority", "timeout"];
        assert_eq!(did_you_mean("priorty", known).as_deref(), Some("did you mean `priority`?"));
        assert_eq!(did_you_mean("Timeout", known).as_deref(), Some("did you mean `timeout`?"));
        assert_eq!(did_you_mean("colour", known), None);
    }
}
