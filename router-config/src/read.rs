//! Reads one spanned TOML table: typed getters that report what is wrong where it is wrong, carry
//! on, and remember which keys were asked for, so that all others are unknown.

use std::collections::BTreeSet;
use std::ops::{Range, RangeInclusive};

use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

use crate::diagnostic::{Report, shown};
use crate::keyword::Keyword;
use crate::nearest;

/// How a key is written, for messages that name it.
#[derive(Clone, Copy)]
enum Shape {
    Key,
    Table,
    Tables,
}

impl Shape {
    fn label(self, key: &str) -> String {
        match self {
            Self::Key => key.to_owned(),
            Self::Table => format!("[{key}]"),
            Self::Tables => format!("[[{key}]]"),
        }
    }
}

/// A table being read. Getters return `None` both for a key that is absent and for one that was
/// reported as wrong; [`Table::require`] tells the two apart. [`Table::finish`] comes last.
pub struct Table<'a> {
    /// How messages name it; empty for the whole document.
    label: String,
    header: Range<usize>,
    entries: &'a DeTable<'a>,
    asked: Vec<(&'static str, Shape)>,
    report: &'a Report,
}

impl<'a> Table<'a> {
    /// The whole document.
    pub(crate) fn root(entries: &'a DeTable<'a>, report: &'a Report) -> Self {
        Self { label: String::new(), header: 0..0, entries, asked: Vec::new(), report }
    }

    fn inner(&self, label: String, header: Range<usize>, entries: &'a DeTable<'a>) -> Self {
        Self { label, header, entries, asked: Vec::new(), report: self.report }
    }

    /// Where findings go.
    pub fn report(&self) -> &'a Report {
        self.report
    }

    /// Where the table begins: its header, or its key where it has none.
    pub fn header(&self) -> Range<usize> {
        self.header.clone()
    }

    /// Whether a key is there.
    pub fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// Where the value of a key is.
    pub fn span(&self, key: &str) -> Option<Range<usize>> {
        self.entries.get(key).map(Spanned::span)
    }

    /// Reports a key that is not there.
    pub fn require(&mut self, key: &'static str) {
        if !self.has(key) {
            let message = format!("missing key `{key}` in `{}`", self.label);
            self.report.absent(self.header(), message);
        }
    }

    /// A string that means something. The error of `parse` continues a sentence that begins with
    /// the key: "must be ...".
    pub fn parsed<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<Spanned<T>> {
        self.parsed_or(key, "a string", parse)
    }

    /// A word of a few.
    pub fn keyword<T: Keyword>(&mut self, key: &'static str) -> Option<Spanned<T>> {
        self.parsed_or(key, &T::listed(), word)
    }

    /// `true` or `false`.
    pub fn boolean(&mut self, key: &'static str) -> Option<Spanned<bool>> {
        let value = self.value(key, Shape::Key)?;
        let boolean = value.get_ref().as_bool();
        if boolean.is_none() {
            self.wrong_type(key, "true or false", value);
        }
        boolean.map(|boolean| Spanned::new(value.span(), boolean))
    }

    /// A number in a range.
    pub fn integer<T>(&mut self, key: &'static str, range: RangeInclusive<T>) -> Option<Spanned<T>>
    where
        T: Copy + Into<i128> + TryFrom<i128>,
    {
        let value = self.value(key, Shape::Key)?;
        self.integer_in(key, "an integer", value, &range)
    }

    /// An array of integers. Elements that are wrong are reported and left out.
    pub fn integers<T>(
        &mut self,
        key: &'static str,
        range: RangeInclusive<T>,
    ) -> Option<Vec<Spanned<T>>>
    where
        T: Copy + Into<i128> + TryFrom<i128>,
    {
        let expected = "an array of integers";
        let array = self.array(key, expected)?;
        Some(
            array
                .iter()
                .filter_map(|value| self.integer_in(key, expected, value, &range))
                .collect(),
        )
    }

    /// An array of strings that mean something; empty where the key is absent. Elements that are
    /// wrong are reported and left out.
    pub fn list<T>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        let expected = "an array of strings";
        let mut list = Vec::new();
        for value in self.array(key, expected).unwrap_or_default() {
            let Some(text) = value.get_ref().as_str() else {
                self.wrong_type(key, expected, value);
                continue;
            };
            match parse(text) {
                Ok(parsed) => list.push(parsed),
                Err(problem) => self.report.error(value.span(), format!("`{key}` {problem}")),
            }
        }
        list
    }

    /// A table inside this one: `[key]`.
    pub fn table(&mut self, key: &'static str) -> Option<Table<'a>> {
        let value = self.value(key, Shape::Table)?;
        let label = Shape::Table.label(key);
        let Some(entries) = value.get_ref().as_table() else {
            self.wrong_type(key, &format!("a table, written `{label}`"), value);
            return None;
        };
        Some(self.inner(label, value.span(), entries))
    }

    /// An array of tables inside this one: every `[[key]]`.
    pub fn tables(&mut self, key: &'static str) -> Vec<Table<'a>> {
        let Some(value) = self.value(key, Shape::Tables) else {
            return Vec::new();
        };
        let label = Shape::Tables.label(key);
        let expected = format!("an array of tables, each written `{label}`");
        let Some(array) = value.get_ref().as_array() else {
            self.wrong_type(key, &expected, value);
            return Vec::new();
        };
        let mut tables = Vec::new();
        for element in array {
            match element.get_ref().as_table() {
                Some(entries) => tables.push(self.inner(label.clone(), element.span(), entries)),
                None => self.wrong_type(key, &expected, element),
            }
        }
        tables
    }

    /// Reports every key that was not asked for.
    pub fn finish(self) {
        for (key, value) in self.entries {
            let name: &str = key.get_ref();
            if self.asked.iter().any(|(asked, _)| *asked == name) {
                continue;
            }
            let what = match value.get_ref() {
                DeValue::Table(_) => format!("table {}", shown(&Shape::Table.label(name))),
                DeValue::Array(array) if array.iter().any(|value| value.get_ref().is_table()) => {
                    format!("table {}", shown(&Shape::Tables.label(name)))
                }
                _ => format!("key {}", shown(name)),
            };
            let known = self.asked.iter().map(|(asked, shape)| (*asked, shape.label(asked)));
            let hint = nearest::hint(name, known);
            self.report.error(key.span(), format!("unknown {what}{hint}"));
        }
    }

    fn value(&mut self, key: &'static str, shape: Shape) -> Option<&'a Spanned<DeValue<'a>>> {
        self.asked.push((key, shape));
        self.entries.get(key)
    }

    fn parsed_or<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<Spanned<T>> {
        let value = self.value(key, Shape::Key)?;
        let Some(text) = value.get_ref().as_str() else {
            self.wrong_type(key, expected, value);
            return None;
        };
        match parse(text) {
            Ok(parsed) => Some(Spanned::new(value.span(), parsed)),
            Err(problem) => {
                self.report.error(value.span(), format!("`{key}` {problem}"));
                None
            }
        }
    }

    fn array(&mut self, key: &'static str, expected: &str) -> Option<&'a [Spanned<DeValue<'a>>]> {
        let value = self.value(key, Shape::Key)?;
        let array = value.get_ref().as_array();
        if array.is_none() {
            self.wrong_type(key, expected, value);
        }
        array.map(|array| &array[..])
    }

    fn integer_in<T>(
        &self,
        key: &str,
        expected: &str,
        value: &Spanned<DeValue<'_>>,
        range: &RangeInclusive<T>,
    ) -> Option<Spanned<T>>
    where
        T: Copy + Into<i128> + TryFrom<i128>,
    {
        let Some(written) = value.get_ref().as_integer() else {
            self.wrong_type(key, expected, value);
            return None;
        };
        let (low, high) = ((*range.start()).into(), (*range.end()).into());
        // Too large for 128 bits is out of range like any other.
        let number = number(written).filter(|number| (low..=high).contains(number));
        let number = number.and_then(|number| T::try_from(number).ok());
        if number.is_none() {
            let found = shown(&written.to_string());
            let message = format!("`{key}` must be between {low} and {high}, found {found}");
            self.report.error(value.span(), message);
        }
        number.map(|number| Spanned::new(value.span(), number))
    }

    fn wrong_type(&self, key: &str, expected: &str, value: &Spanned<DeValue<'_>>) {
        let found = match value.get_ref() {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a float",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "an array",
            DeValue::Table(_) => "a table",
        };
        self.report.error(value.span(), format!("`{key}` must be {expected}, found {found}"));
    }
}

/// The choice that a word stands for.
///
/// # Errors
/// The rest of a sentence that begins with the key.
pub fn word<T: Keyword>(text: &str) -> Result<T, String> {
    T::from_word(text).ok_or_else(|| {
        let known: Vec<String> = T::ALL.iter().map(ToString::to_string).collect();
        let hint = nearest::hint(text, known.iter().map(|word| (word.as_str(), word.clone())));
        // All words are listed already: only a slip needs a hint.
        let hint = if hint.ends_with('?') { hint } else { String::new() };
        format!("must be {}, found {}{hint}", T::listed(), shown(text))
    })
}

/// The number an integer stands for.
pub(crate) fn number(written: &DeInteger<'_>) -> Option<i128> {
    i128::from_str_radix(written.as_str(), written.radix()).ok()
}

/// Reports every value that an earlier one equals; `what` names them in the message.
pub fn distinct<'v, T: Ord + std::fmt::Display + 'v>(
    report: &Report,
    what: &str,
    values: impl IntoIterator<Item = &'v Spanned<T>>,
) {
    let mut seen = BTreeSet::new();
    for value in values {
        if !seen.insert(value.get_ref()) {
            let again = shown(&value.get_ref().to_string());
            report.error(value.span(), format!("duplicate {what} {again}"));
        }
    }
}
