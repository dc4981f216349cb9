//! What is wrong with a configuration and where: diagnostics with byte spans, their one-line
//! rendering, and the report that gathers them while a document is read.

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The configuration cannot be used.
    Error,
    /// The configuration is used, though not all of it does what it says.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

/// One thing to tell about a configuration text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Whether the configuration can still be used.
    pub severity: Severity,
    /// The bytes of the text it is about.
    pub span: Range<usize>,
    /// What to tell, on one line.
    pub message: String,
}

impl Diagnostic {
    /// The line to print: `FILE:LINE:COLUMN: error: message`. `text` is the text that was parsed;
    /// lines and columns count from 1, columns in characters.
    #[must_use]
    pub fn render(&self, file: &str, text: &str) -> String {
        let (line, column) = position(text, self.span.start);
        format!("{file}:{line}:{column}: {}: {}", self.severity, self.message)
    }
}

/// Line and column of a byte offset. Offsets outside the text or inside a character are moved
/// back to the nearest character boundary.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = &text[..text.floor_char_boundary(offset)];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = before.matches('\n').count() + 1;
    let in_line = &before[line_start..];
    // A byte order mark takes no place on the screen.
    let in_line = in_line.strip_prefix('\u{feff}').unwrap_or(in_line);
    (line, in_line.chars().count() + 1)
}

/// A diagnostic as it was found, before it is known whether the text was sound enough to say it.
pub(crate) struct Finding {
    pub(crate) diagnostic: Diagnostic,
    /// It says that something is not there. In a text with syntax errors it may be there after
    /// all, in the part that could not be read.
    pub(crate) absence: bool,
}

/// Gathers findings. Shared by all readers of one document, which is why it needs no `&mut`.
#[derive(Default)]
pub struct Report {
    findings: RefCell<Vec<Finding>>,
}

impl Report {
    /// What cannot be used.
    pub fn error(&self, span: Range<usize>, message: impl Into<String>) {
        self.push(Severity::Error, span, message.into(), false);
    }

    /// An error that says that something is not there.
    pub fn absent(&self, span: Range<usize>, message: impl Into<String>) {
        self.push(Severity::Error, span, message.into(), true);
    }

    /// What is used, and not all of it does what it says.
    pub fn warning(&self, span: Range<usize>, message: impl Into<String>) {
        self.push(Severity::Warning, span, message.into(), false);
    }

    pub(crate) fn into_findings(self) -> Vec<Finding> {
        self.findings.into_inner()
    }

    fn push(&self, severity: Severity, span: Range<usize>, message: String, absence: bool) {
        let diagnostic = Diagnostic { severity, span, message };
        self.findings.borrow_mut().push(Finding { diagnostic, absence });
    }
}

/// Text from a configuration as a message shows it: escaped, so that a diagnostic stays on its
/// line, and cut short.
pub fn shown(text: &str) -> String {
    const LONGEST: usize = 64;
    let cut = match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", text[..end].escape_debug()),
        None => text.escape_debug().to_string(),
    };
    format!("`{cut}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters_and_lines_count_from_one() {
        let text = "\u{feff}a = 1\né = \"ü\" # x\n";
        assert_eq!(position(text, 3), (1, 1));
        assert_eq!(position(text, 7), (1, 5));
        let quote = text.find('"').unwrap();
        assert_eq!(position(text, quote), (2, 5));
        assert_eq!(position(text, quote + 2), (2, 6), "inside a character");
        assert_eq!(position(text, 1 << 20), (3, 1), "past the end");
        assert_eq!(position("", 0), (1, 1));
    }

    #[test]
    fn shown_text_is_short_and_on_one_line() {
        assert_eq!(shown("a\n\"b"), "`a\\n\\\"b`");
        assert_eq!(shown(&"é".repeat(65)), format!("`{}…`", "é".repeat(64)));
    }
}
