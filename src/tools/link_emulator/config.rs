//! Which links there are, and what they are like: one from the command line, or many from a file.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use super::quantity::{Both, Number, Place, Rate, Share, Time, Way};
use super::shaper::{QUEUE, Quality};

/// A link, on the command line as in a file.
#[derive(clap::Args, Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct LinkArguments {
    /// What the link is called in statistics; its ends if not given
    #[arg(long)]
    name: Option<String>,
    /// One end: an interface, and the network namespace that it is in
    #[arg(long, value_name = "[NETNS:]IFACE", requires = "and")]
    between: Option<Place>,
    /// The other end
    #[arg(long, value_name = "[NETNS:]IFACE", requires = "between")]
    and: Option<Place>,
    /// Both ends at once
    #[arg(long, value_name = "A,B", value_delimiter = ',', conflicts_with = "between")]
    interfaces: Option<Vec<Place>>,
    /// How long a frame is on the way, such as 25ms
    #[arg(long, value_name = "TIME")]
    delay: Option<Both<Time>>,
    /// How much more or less that may be; no frame overtakes another by it
    #[arg(long, value_name = "TIME")]
    jitter: Option<Both<Time>>,
    /// The share of frames that are lost, such as 0.01 or 1%
    #[arg(long, value_name = "SHARE")]
    loss: Option<Both<Share>>,
    /// Bits a second, such as 5mbit; frames are sent one after the other
    #[arg(long, value_name = "RATE")]
    rate: Option<Both<Rate>>,
    /// How many frames may wait for the rate, 1000 if not given; more are dropped
    #[arg(long, value_name = "FRAMES")]
    queue: Option<Both<Number>>,
    /// How many octets of frames may wait for the rate
    #[arg(long, value_name = "OCTETS")]
    queue_octets: Option<Both<Number>>,
    /// The share of frames that arrive twice
    #[arg(long, value_name = "SHARE")]
    duplicate: Option<Both<Share>>,
    /// The share of frames that overtake others: they go without the delay
    #[arg(long, value_name = "SHARE")]
    reorder: Option<Both<Share>>,
    /// What decides which frames are lost, late and so on; the same seed decides the same
    #[arg(long, value_name = "N")]
    seed: Option<Both<Number>>,
}

/// A link to be emulated.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Link {
    pub(super) name: String,
    pub(super) ends: [Place; 2],
    /// Of the direction from the first end to the second, and of the other.
    pub(super) quality: [Quality; 2],
    pub(super) seed: [u64; 2],
}

impl LinkArguments {
    /// What stands here, and where nothing does, what stands there.
    fn or(self, other: &LinkArguments) -> LinkArguments {
        LinkArguments {
            name: self.name,
            between: self.between,
            and: self.and,
            interfaces: self.interfaces,
            delay: self.delay.or(other.delay),
            jitter: self.jitter.or(other.jitter),
            loss: self.loss.or(other.loss),
            rate: self.rate.or(other.rate),
            queue: self.queue.or(other.queue),
            queue_octets: self.queue_octets.or(other.queue_octets),
            duplicate: self.duplicate.or(other.duplicate),
            reorder: self.reorder.or(other.reorder),
            seed: self.seed.or(other.seed),
        }
    }

    /// Whether it has something that only a link of its own has.
    fn is_a_link(&self) -> bool {
        let LinkArguments { name, between, and, interfaces, .. } = self;
        name.is_some() || between.is_some() || and.is_some() || interfaces.is_some()
    }

    /// The link, if all of it makes sense.
    pub(super) fn link(&self) -> Result<Link, String> {
        let ends = match (&self.between, &self.and, self.interfaces.as_deref()) {
            (Some(one), Some(other), None) => [one.clone(), other.clone()],
            (None, None, Some([one, other])) => [one.clone(), other.clone()],
            _ => {
                let what = "a link has two ends: `between` and `and`, or two `interfaces`";
                return Err(what.to_owned());
            }
        };
        let [one, other] = &ends;
        let name = self.name.clone().unwrap_or_else(|| format!("{one} - {other}"));
        let quality = [self.quality(Way::There)?, self.quality(Way::Back)?];
        let seed = Way::BOTH.map(|way| self.seed.map_or(0, |seed| seed.of(way).0));
        Ok(Link { name, ends, quality, seed })
    }

    fn quality(&self, way: Way) -> Result<Quality, String> {
        let time = |both: Option<Both<Time>>| both.map_or(Duration::ZERO, |both| both.of(way).0);
        let share = |both: Option<Both<Share>>| both.map_or(0.0, |both| both.of(way).0);
        let (delay, jitter) = (time(self.delay), time(self.jitter));
        if jitter > delay {
            return Err(format!("a jitter of {jitter:?} is more than the delay of {delay:?}"));
        }
        let queue = self.queue.map_or(QUEUE as u64, |queue| queue.of(way).0);
        Ok(Quality {
            delay,
            jitter,
            loss: share(self.loss),
            duplicate: share(self.duplicate),
            reorder: share(self.reorder),
            rate: self.rate.map(|rate| rate.of(way).0),
            queue: usize::try_from(queue).unwrap_or(usize::MAX),
            queue_octets: self.queue_octets.map_or(u64::MAX, |octets| octets.of(way).0),
        })
    }
}

/// A file with many links.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// What all links have that do not say otherwise.
    #[serde(default)]
    defaults: LinkArguments,
    #[serde(default)]
    link: Vec<Spanned<LinkArguments>>,
}

/// Reads the links of a file.
///
/// # Errors
/// What is wrong with it, and where: `FILE:LINE:COLUMN: what`.
pub(super) fn read(path: &Path) -> Result<Vec<Link>, String> {
    let file = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| format!("{file}: {error}"))?;
    parse(&text).map_err(|(at, what)| {
        let (line, column) = position(&text, at);
        format!("{file}:{line}:{column}: {what}")
    })
}

/// The links of a file, or what is wrong at which octet.
fn parse(text: &str) -> Result<Vec<Link>, (usize, String)> {
    let file: File = toml::from_str(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        (at, error.message().to_owned())
    })?;
    if file.defaults.is_a_link() {
        return Err((0, "[defaults] are of all links, and have no ends and no name".to_owned()));
    }
    if file.link.is_empty() {
        return Err((0, "there is no [[link]]".to_owned()));
    }
    let mut links = Vec::with_capacity(file.link.len());
    for section in file.link {
        let at = section.span().start;
        let link = section.into_inner().or(&file.defaults).link();
        links.push(link.map_err(|what| (at, what))?);
        check(&links).map_err(|what| (at, what))?;
    }
    Ok(links)
}

/// Whether the last link has ends of its own.
pub(super) fn check(links: &[Link]) -> Result<(), String> {
    let Some((last, others)) = links.split_last() else { return Ok(()) };
    let taken: BTreeSet<&Place> = others.iter().flat_map(|link| &link.ends).collect();
    let [one, other] = &last.ends;
    if one == other {
        return Err(format!("both ends are {one}"));
    }
    match last.ends.iter().find(|end| taken.contains(end)) {
        Some(end) => Err(format!("{end} is an end of another link already")),
        None => Ok(()),
    }
}

/// Line and column of an octet.
fn position(text: &str, at: usize) -> (usize, usize) {
    let before = &text[..text.floor_char_boundary(at)];
    let start = before.rfind('\n').map_or(0, |end| end + 1);
    (before.matches('\n').count() + 1, before[start..].chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_file_has_many_links_and_what_all_of_them_have() {
        let text = r#"
            [defaults]
            delay = "25ms"
            loss = 0.01
            [[link]]
            name = "first"
            between = "red:eth0"
            and = "blue:eth0"
            jitter = "2ms/1ms"
            rate = "5mbit/1mbit"
            queue = 100
            seed = 7
            [[link]]
            interfaces = ["a", "b"]
            delay = "1ms"
        "#;
        let links = parse(text).unwrap();
        let names: Vec<_> = links.iter().map(|link| link.name.as_str()).collect();
        assert_eq!(names, ["first", "a - b"]);
        let there = Quality {
            delay: 25 * MS,
            jitter: 2 * MS,
            loss: 0.01,
            rate: Some(5_000_000),
            queue: 100,
            ..Quality::default()
        };
        let back = Quality { jitter: MS, rate: Some(1_000_000), ..there };
        assert_eq!((links[0].quality, links[0].seed), ([there, back], [7, 7]));
        let plain = Quality { delay: MS, loss: 0.01, ..Quality::default() };
        assert_eq!((links[1].quality, links[1].seed), ([plain, plain], [0, 0]));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        for (text, line, column, part) in [
            ("[[link]]\ninterfaces = [\"a\", \"b\"]\ndelay = \"25\"", 3, 9, "25ms"),
            ("[[link]]\ninterfaces = [\"a\", \"b\"]\nloss = 2", 3, 8, "share"),
            ("[[link]]\nbetween = \"a\"", 1, 1, "two ends"),
            ("[[link]]\ninterfaces = [\"a\"]", 1, 1, "two ends"),
            ("[[link]]\ninterfaces = [\"a\", \"a\"]", 1, 1, "both ends are a"),
            ("[[link]]\ninterfaces = [\"a\", \"b\"]\njitter = \"1ms\"", 1, 1, "jitter"),
            ("[[link]]\ninterfaces = [\"a\", \"b\"]\nlos = 1", 3, 1, "los"),
            ("", 1, 1, "no [[link]]"),
        ] {
            let (at, what) = parse(text).unwrap_err();
            assert_eq!(position(text, at), (line, column), "{text}: {what}");
            assert!(what.contains(part), "{text}: {what}");
        }
        let twice = "[[link]]\ninterfaces = [\"a\", \"b\"]\n[[link]]\ninterfaces = [\"c\", \"a\"]";
        let (at, what) = parse(twice).unwrap_err();
        assert_eq!(
            (position(twice, at).0, what.as_str()),
            (3, "a is an end of another link already")
        );
    }
}
