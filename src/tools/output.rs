//! Printing: lines, tables, complaints. A reader that has gone away ends the command quietly.

use std::io::{self, Write};

use super::Failure;

/// Prints one line to standard output, at once.
///
/// # Errors
/// It cannot be written; without a word if nobody reads any more.
pub fn line(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let written = writeln!(out, "{text}").and_then(|()| out.flush());
    written.map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::Work(String::new()),
        _ => Failure::Work(format!("cannot write to standard output: {error}")),
    })
}

/// Prints an error for people. Where even that fails there is nobody to tell.
pub fn complain(program: &str, text: &str) {
    let _nobody = writeln!(io::stderr(), "{program}: {text}");
}

/// Prints a note that is not part of the output.
pub fn note(text: &str) {
    let _nobody = writeln!(io::stderr(), "{text}");
}

/// Lays rows out in columns, under a head. Columns that look like numbers stand right; `-` is a
/// number that is not known.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([head[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let numeric: Vec<bool> = (0..head.len())
        .map(|column| {
            let mut cells = rows.iter().map(|row| row[column].as_str());
            cells.clone().all(|cell| cell == "-" || is_number(cell)) && cells.any(is_number)
        })
        .collect();
    let lay = |cells: Vec<&str>| {
        let padded = cells.iter().enumerate().map(|(column, cell)| match numeric[column] {
            true => format!("{cell:>width$}", width = widths[column]),
            false => format!("{cell:<width$}", width = widths[column]),
        });
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let mut lines = vec![lay(head.to_vec())];
    lines.extend(rows.iter().map(|row| lay(row.iter().map(String::as_str).collect())));
    lines.join("\n")
}

/// Whether a cell is a number, with a fraction or in percent perhaps.
fn is_number(cell: &str) -> bool {
    let number = cell.strip_suffix('%').unwrap_or(cell);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    [whole, fraction]
        .iter()
        .all(|part| !part.is_empty() && part.chars().all(|character| character.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_align_text_left_and_numbers_right() {
        let rows = [vec!["a".into(), "5".into()], vec!["long".into(), "1000".into()]];
        assert_eq!(table(&["name", "count"], &rows), "name  count\na         5\nlong   1000");
        assert_eq!(table(&["name"], &[]), "name");
        let rows =
            [["1.5", "-", "-"], ["-", "100%", "-"]].map(|row| row.map(String::from).to_vec());
        assert_eq!(
            table(&["time", "loss", "x"], &rows),
            "time  loss  x\n 1.5     -  -\n   -  100%  -"
        );
        let numbers = ["", "-", "%", "10.0.0.1", ".5", "5.", "1.5%", "12"];
        assert_eq!(numbers.map(is_number), [false, false, false, false, false, false, true, true]);
    }
}
