//! The TOML text as a table with spans, and what a syntax error in it leaves to be trusted.

use std::ops::Range;

use toml::de::DeTable;

use crate::diagnostic::{Diagnostic, Finding, Report, Severity};

/// A text made ready to be parsed. A key without `=` would end the parse there and hide all that
/// follows, so such lines are blanked. Every byte stays where it was, and with it every span.
pub(crate) struct Source {
    text: String,
    syntax_errors: Vec<Diagnostic>,
}

impl Source {
    pub(crate) fn new(text: &str) -> Self {
        let (_, syntax_errors) = parse(text);
        let mut source = Self { text: text.to_owned(), syntax_errors };
        for error in &source.syntax_errors {
            let line = line_around(&source.text, error.span.start);
            if is_lone_key(&source.text[line.clone()]) {
                source.text.replace_range(line.clone(), &" ".repeat(line.len()));
            }
        }
        source
    }
}

/// A parsed text. Syntax errors do not end it: what could be read is in the table.
pub(crate) struct Document<'a> {
    text: &'a str,
    root: DeTable<'a>,
    syntax_errors: Vec<Diagnostic>,
}

impl<'a> Document<'a> {
    pub(crate) fn parse(source: &'a Source) -> Self {
        let (root, found) = parse(&source.text);
        let mut syntax_errors = source.syntax_errors.clone();
        syntax_errors.extend(found.into_iter().filter(|e| !source.syntax_errors.contains(e)));
        Self { text: &source.text, root, syntax_errors }
    }

    pub(crate) fn root(&self) -> &DeTable<'a> {
        &self.root
    }

    /// The syntax errors and every finding that they leave credible, by position.
    pub(crate) fn settle(&self, report: Report) -> Vec<Diagnostic> {
        let damage = Damage::of(self);
        let mut diagnostics = self.syntax_errors.clone();
        diagnostics.extend(
            report
                .into_findings()
                .into_iter()
                .filter(|finding| damage.leaves_credible(finding))
                .map(|finding| finding.diagnostic),
        );
        diagnostics.sort_by_key(|found| (found.span.start, found.span.end, found.severity));
        diagnostics
    }
}

fn parse(text: &str) -> (DeTable<'_>, Vec<Diagnostic>) {
    let (root, errors) = DeTable::parse_recoverable(text);
    let errors = errors.into_iter().map(|error| Diagnostic {
        severity: Severity::Error,
        span: error.span().unwrap_or(text.len()..text.len()),
        message: error.message().to_owned(),
    });
    (root.into_inner(), errors.collect())
}

/// From the start of the line that holds `offset` to its end.
fn line_around(text: &str, offset: usize) -> Range<usize> {
    let offset = text.floor_char_boundary(offset);
    let start = text[..offset].rfind('\n').map_or(0, |newline| newline + 1);
    let end = text[offset..].find('\n').map_or(text.len(), |found| offset + found);
    start..end
}

fn is_lone_key(line: &str) -> bool {
    let starts_a_key = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    line.trim_start().starts_with(starts_a_key) && !line.contains('=')
}

/// Which parts of a text its syntax errors make doubtful.
struct Damage {
    lines: Vec<Range<usize>>,
    /// Where the first broken table header is. The keys after it are in some other table than
    /// their author meant, so nothing can be said about them.
    broken_header: Option<usize>,
}

impl Damage {
    fn of(document: &Document<'_>) -> Self {
        let lines: Vec<_> = document
            .syntax_errors
            .iter()
            .map(|error| line_around(document.text, error.span.start))
            .collect();
        let broken_header = lines
            .iter()
            .filter(|line| document.text[(*line).clone()].trim_start().starts_with('['))
            .map(|line| line.start)
            .min();
        Self { lines, broken_header }
    }

    fn leaves_credible(&self, finding: &Finding) -> bool {
        let start = finding.diagnostic.span.start;
        let in_damaged_line =
            self.lines.iter().any(|line| (line.start..=line.end).contains(&start));
        let after_broken_header = self.broken_header.is_some_and(|header| start >= header);
        let may_be_unread = finding.absence && !self.lines.is_empty();
        !in_damaged_line && !after_broken_header && !may_be_unread
    }
}
