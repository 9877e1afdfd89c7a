//! HTML that is well formed and escaped by construction: an element ends where its closure does, and no text or attribute
//! value can become markup. It is XML too, so that any parser can read it.

use std::fmt::{self, Display, Write as _};

/// Names and values. Values are escaped.
pub(super) type Attributes<'a> = &'a [(&'static str, &'a dyn Display)];

/// A document that grows at its end.
#[derive(Debug, Default)]
pub(super) struct Markup(String);

impl Markup {
    /// An element with what the closure writes in it.
    pub(super) fn element(&mut self, tag: &'static str, attributes: Attributes<'_>, inside: impl FnOnce(&mut Self)) {
        self.open(tag, attributes, ">");
        inside(self);
        // One element per line where that cannot show.
        let line = if BLOCKS.contains(&tag) { "\n" } else { "" };
        self.raw(format_args!("</{tag}>{line}"));
    }

    /// An element with this text in it.
    pub(super) fn line(&mut self, tag: &'static str, attributes: Attributes<'_>, text: impl Display) {
        self.element(tag, attributes, |markup| markup.text(text));
    }

    /// An element with nothing in it.
    pub(super) fn void(&mut self, tag: &'static str, attributes: Attributes<'_>) {
        self.open(tag, attributes, "/>");
    }

    /// Text.
    pub(super) fn text(&mut self, text: impl Display) {
        let _infallible = write!(Escaping(&mut self.0), "{text}");
    }

    /// A style sheet. It is written as it is, so nothing of a report may be in it.
    pub(super) fn style(&mut self, sheet: &str) {
        debug_assert!(!sheet.contains(['<', '&']), "a style sheet cannot be escaped");
        self.raw(format_args!("<style>\n{sheet}</style>\n"));
    }

    /// All of it, as a page.
    pub(super) fn into_page(self) -> String {
        format!("<!DOCTYPE html>\n{}", self.0)
    }

    fn open(&mut self, tag: &'static str, attributes: Attributes<'_>, end: &str) {
        self.raw(format_args!("<{tag}"));
        for (name, value) in attributes {
            self.raw(format_args!(" {name}=\""));
            self.text(value);
            self.raw(format_args!("\""));
        }
        self.raw(format_args!("{end}"));
    }

    fn raw(&mut self, text: fmt::Arguments<'_>) {
        let _infallible = self.0.write_fmt(text);
    }
}

/// Elements after which white space means nothing.
const BLOCKS: [&str; 16] = [
    "head",
    "body",
    "header",
    "section",
    "nav",
    "figure",
    "figcaption",
    "svg",
    "g",
    "table",
    "tr",
    "p",
    "h1",
    "h2",
    "details",
    "div",
];

/// Writes text so that it stays text, between tags and between quotes.
struct Escaping<'a>(&'a mut String);

impl fmt::Write for Escaping<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            match character {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                '\t' | '\n' => self.0.push(character),
                // No document may hold them, not even escaped.
                _ if character.is_control() || matches!(character, '\u{fffe}' | '\u{ffff}') => self.0.push('\u{fffd}'),
                _ => self.0.push(character),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> String {
        let mut markup = Markup::default();
        markup.text(text);
        markup.0
    }

    #[test]
    fn text_stays_text() {
        assert_eq!(text("a<b>&\"c\"'"), "a&lt;b&gt;&amp;&quot;c&quot;&#39;");
        assert_eq!(text("</title><script>"), "&lt;/title&gt;&lt;script&gt;");
        assert_eq!(text("&amp;"), "&amp;amp;", "what looks escaped is escaped all the same");
        assert_eq!(text("a\0b\u{1b}[0m\tc\n"), "a\u{fffd}b\u{fffd}[0m\tc\n");
    }

    #[test]
    fn an_attribute_cannot_be_left() {
        let mut markup = Markup::default();
        markup.element("a", &[("href", &"\" onclick=\"x"), ("title", &1.5)], |a| a.void("br", &[]));
        assert_eq!(markup.0, "<a href=\"&quot; onclick=&quot;x\" title=\"1.5\"><br/></a>");
    }
}
