//! What a configuration may say that this release does not do yet. Each is accepted with a
//! warning. When a feature lands, its line goes from [`NOT_IN_EFFECT`] and nothing else changes.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::diagnostic::Report;

/// A key or table that is read and not acted upon.
struct Inert {
    /// `TABLE.KEY`, or the table alone.
    path: &'static str,
    /// What happens instead.
    instead: &'static str,
}

const NOT_IN_EFFECT: &[Inert] = &[inert("router.metrics", "no metrics are served")];

const fn inert(path: &'static str, instead: &'static str) -> Inert {
    Inert { path, instead }
}

/// Warns of everything written in the document that is not in effect.
pub(crate) fn warn(root: &DeTable<'_>, report: &Report) {
    for Inert { path, instead } in NOT_IN_EFFECT {
        let keys: Vec<&str> = path.split('.').collect();
        for value in written(root, &keys) {
            let label = label(keys.last().unwrap_or(path), value.get_ref());
            let message =
                format!("`{label}` is accepted but not in effect in this release: {instead}");
            report.warning(value.span(), message);
        }
    }
}

/// The values at a path; an array of tables on the way has one each.
fn written<'a>(table: &'a DeTable<'a>, path: &[&str]) -> Vec<&'a Spanned<DeValue<'a>>> {
    let Some((key, rest)) = path.split_first() else {
        return Vec::new();
    };
    let Some(value) = table.get(*key) else {
        return Vec::new();
    };
    if rest.is_empty() {
        return vec![value];
    }
    match value.get_ref() {
        DeValue::Table(inner) => written(inner, rest),
        DeValue::Array(array) => array
            .iter()
            .filter_map(|element| element.get_ref().as_table())
            .flat_map(|inner| written(inner, rest))
            .collect(),
        _ => Vec::new(),
    }
}

/// How the message names what is not in effect.
fn label(key: &str, value: &DeValue<'_>) -> String {
    match value {
        DeValue::Table(_) => format!("[{key}]"),
        DeValue::Array(array) if array.iter().any(|value| value.get_ref().is_table()) => {
            format!("[[{key}]]")
        }
        _ => key.to_owned(),
    }
}
