//! How configurations are read here, for the product's other programs: all errors at once, each where
//! it is, unknown keys with the nearest that is known.
//!
//! ```
//! let read = |root: &mut router_config::reading::Table<'_>| {
//!     root.require("name");
//!     root.parsed("name", router_config::reading::name).map(|name| name.into_inner())
//! };
//! let (name, warnings) = router_config::reading::document("name = \"h1\"", read).unwrap();
//! assert_eq!((name.as_str(), warnings.len()), ("h1", 0));
//! let text = "nmae = \"h1\"\nname = \"h2\"";
//! let wrong = router_config::reading::document(text, read).unwrap_err();
//! let complaint = "x.toml:1:1: error: unknown key `nmae`, did you mean `name`?";
//! assert_eq!(wrong[0].render("x.toml", text), complaint);
//! ```

pub use toml::Spanned;

pub use crate::diagnostic::{Report, shown};
pub use crate::keyword::Keyword;
pub use crate::keywords;
pub use crate::read::{Table, distinct, word};
pub use crate::values::{endpoint, interface, name, path, socket_path, unicast};

use crate::document::{Document, Source};
use crate::{Diagnostic, Experiment, has_error, sections};

/// Reads a whole document by `read`, which is given its root and returns `None` only where it has
/// reported an error. Beside the value come the warnings.
///
/// # Errors
/// Everything that is wrong with the text, and the warnings it would have had, by position.
pub fn document<T>(
    text: &str,
    read: impl FnOnce(&mut Table<'_>) -> Option<T>,
) -> Result<(T, Vec<Diagnostic>), Vec<Diagnostic>> {
    let source = Source::new(text);
    let document = Document::parse(&source);
    let report = Report::default();
    let mut root = Table::root(document.root(), &report);
    let value = read(&mut root);
    root.finish();
    let diagnostics = document.settle(report);
    match value {
        Some(value) if !has_error(&diagnostics) => Ok((value, diagnostics)),
        _ => Err(diagnostics),
    }
}

/// Reads `[experiment]`, which is then required. `None` only where the report has an error.
pub fn experiment(root: &mut Table<'_>) -> Option<Experiment> {
    sections::experiment(root)
}
