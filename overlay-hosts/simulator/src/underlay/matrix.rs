//! Round-trip times that were measured between many nodes, from files.
//!
//! Three forms are read. A square file has a line of numbers for each node, in milliseconds; 0 or less
//! is a pair that was not measured. A triangle is what of that stands above its diagonal, so that the
//! last line has one number. A King file (`.top`, as Bamboo has it) has `node N` lines, and
//! `I,J MS` for pairs, one way: they are doubled.

use std::path::Path;
use std::time::Duration;

use super::{Link, Underlay};

/// The most nodes of a matrix: its links are counted by the square.
const NODES_MAX: usize = 8192;

/// The longest round trip that is believed, in milliseconds.
const RTT_MAX: f64 = 4000.0;

/// The round-trip times of all pairs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matrix {
    size: usize,
    /// In microseconds, by lower node and higher node; 0 = not known.
    rtt: Vec<u32>,
}

/// Why a file is no matrix: where, what, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum MatrixError {
    /// It cannot be read.
    #[error("cannot read {file}: {error}; name a file of round-trip times that exists")]
    Unreadable {
        /// The file.
        file: String,
        /// What the system says.
        error: std::io::Error,
    },
    /// A line is not as it should be.
    #[error("{file}:{line}: {problem}")]
    Line {
        /// The file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// A pair was not measured, and so has no path.
    #[error(
        "nodes {0} and {1} have no round-trip time: a network needs one of each pair; take a matrix \
         without gaps, or an experiment that compares known pairs only"
    )]
    Gap(usize, usize),
}

/// A problem of a line.
type Problem = (usize, String);

impl Matrix {
    /// Reads a file, in the King form if its name ends in `.top`.
    ///
    /// # Errors
    /// It is not there, or a line of it is wrong.
    pub fn read(path: &Path) -> Result<Matrix, MatrixError> {
        let file = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|error| MatrixError::Unreadable { file: file.clone(), error })?;
        match path.extension().is_some_and(|extension| extension == "top") {
            true => Matrix::king(&file, &text),
            false => Matrix::square(&file, &text),
        }
    }

    /// Reads the text of a square file, or of a triangle. Where both directions are known and differ, their mean counts.
    ///
    /// # Errors
    /// A line is wrong.
    pub fn square(file: &str, text: &str) -> Result<Matrix, MatrixError> {
        square(text).map_err(|problem| error(file, problem))
    }

    /// Reads the text of a King file.
    ///
    /// # Errors
    /// A line is wrong.
    pub fn king(file: &str, text: &str) -> Result<Matrix, MatrixError> {
        king(text).map_err(|problem| error(file, problem))
    }

    /// How many nodes there are.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The round-trip time of two different nodes; `None` if it is not known.
    pub fn rtt(&self, one: usize, other: usize) -> Option<Duration> {
        let (low, high) = (one.min(other), one.max(other));
        let micros = *self.rtt.get(low * self.size + high)?;
        (micros > 0).then(|| Duration::from_micros(micros.into()))
    }

    /// A network with a router for each node, a host at it without a last hop, and a link of half the
    /// round-trip time between any two, which is the way between them.
    ///
    /// # Errors
    /// A pair was not measured.
    pub fn underlay(&self) -> Result<Underlay, MatrixError> {
        let mut links = Vec::with_capacity(self.size * self.size.saturating_sub(1) / 2);
        for one in 0..self.size {
            for other in one + 1..self.size {
                let rtt = self.rtt(one, other).ok_or(MatrixError::Gap(one, other))?;
                links.push(Link::new(one, other, rtt / 2));
            }
        }
        let mut underlay = Underlay::new(self.size, links);
        underlay.is_direct = true;
        (0..self.size).for_each(|node| {
            underlay.attach(node, Duration::ZERO);
        });
        Ok(underlay)
    }
}

fn error(file: &str, (line, problem): Problem) -> MatrixError {
    MatrixError::Line { file: file.to_owned(), line, problem }
}

fn square(text: &str) -> Result<Matrix, Problem> {
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    let rows: Vec<(usize, Vec<u32>)> = lines
        .map(|(number, line)| {
            let row = line.split_ascii_whitespace().map(|word| micros(word, 1000.0));
            let row = row.collect::<Result<_, _>>().map_err(|problem| (number, problem))?;
            Ok((number, row))
        })
        .collect::<Result<_, Problem>>()?;
    let rows = unfolded(rows);
    let size = checked_size(rows.len()).map_err(|problem| (1, problem))?;
    if let Some((number, row)) = rows.iter().find(|(_, row)| row.len() != size) {
        let problem = format!(
            "{} numbers in a file of {size} lines; a square file has as many numbers in each line as \
             it has lines",
            row.len()
        );
        return Err((*number, problem));
    }
    let mut rtt = vec![0; size * size];
    for one in 0..size {
        for other in one + 1..size {
            let (there, back) = (rows[one].1[other], rows[other].1[one]);
            rtt[one * size + other] = match there.min(back) {
                0 => there.max(back),
                _ => (there + back).div_ceil(2),
            };
        }
    }
    Ok(Matrix { size, rtt })
}

/// The square of a triangle, with nothing below its diagonal; anything else as it is.
fn unfolded(mut rows: Vec<(usize, Vec<u32>)>) -> Vec<(usize, Vec<u32>)> {
    let lines = rows.len();
    let is_triangle = rows.iter().zip(0..).all(|((_, row), place)| row.len() == lines - place);
    if lines < 2 || !is_triangle {
        return rows;
    }
    for (place, (_, row)) in rows.iter_mut().enumerate() {
        row.splice(..0, std::iter::repeat_n(0, place + 1));
    }
    rows.push((lines + 1, vec![0; lines + 1]));
    rows
}

fn king(text: &str) -> Result<Matrix, Problem> {
    let (mut size, mut pairs) = (0, Vec::new());
    for (number, line) in (1..).zip(text.lines()) {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        match words[..] {
            [] | ["topology" | "failure_model" | "loss_rate", ..] => {}
            ["node", node] if node.parse() == Ok(size + 1) => size += 1,
            ["node", node] => {
                let problem =
                    format!("node {node} where node {} is next; number nodes from 1", size + 1);
                return Err((number, problem));
            }
            [pair, one_way] => {
                let micros = micros(one_way, 2000.0).map_err(|problem| (number, problem))?;
                pairs.push((number, pair, micros));
            }
            _ => {
                let problem = format!("`{}` is neither `node N` nor `I,J MS`", line.trim());
                return Err((number, problem));
            }
        }
    }
    let size = checked_size(size).map_err(|problem| (1, problem))?;
    let mut rtt = vec![0; size * size];
    for (number, pair, micros) in pairs {
        let ends = pair.split_once(',').and_then(|(i, j)| Some((i.parse().ok()?, j.parse().ok()?)));
        let known = 1..=size;
        let place = match ends {
            Some((i, j)) if i != j && known.contains(&i) && known.contains(&j) => {
                (i.min(j) - 1) * size + i.max(j) - 1
            }
            _ => {
                let problem =
                    format!("`{pair}` is no pair of nodes; write I,J of nodes 1 to {size}");
                return Err((number, problem));
            }
        };
        rtt[place] = micros;
    }
    Ok(Matrix { size, rtt })
}

fn checked_size(size: usize) -> Result<usize, String> {
    match size {
        0 | 1 => Err(format!("{size} nodes; a matrix has at least two")),
        2..=NODES_MAX => Ok(size),
        _ => Err(format!("{size} nodes; take at most {NODES_MAX} of them")),
    }
}

/// A time in milliseconds, `scale` microseconds of round trip each.
fn micros(word: &str, scale: f64) -> Result<u32, String> {
    match word.parse::<f64>() {
        Ok(time) if time.is_finite() && time * scale <= RTT_MAX * 1000.0 => {
            Ok((time.max(0.0) * scale).round() as u32)
        }
        _ => Err(format!(
            "`{word}` is no time; write milliseconds, so that a round trip is at most {RTT_MAX}"
        )),
    }
}
