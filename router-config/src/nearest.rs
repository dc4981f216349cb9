//! Which known word a mistyped one was meant to be.

/// The nearest of `known`, as the end of an error message; empty where nothing is known. A near
/// word is offered as a question, a far one only named.
pub(crate) fn hint<'a>(word: &str, known: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let nearest = known
        .into_iter()
        .map(|(name, label)| (strsim::damerau_levenshtein(word, name), name, label))
        .min_by_key(|(distance, _, _)| *distance);
    match nearest {
        None => String::new(),
        Some((distance, name, label)) if is_near(distance, word, name) => {
            format!(", did you mean `{label}`?")
        }
        Some((_, _, label)) => format!(", the nearest known is `{label}`"),
    }
}

/// Whether so many edits are a slip rather than another word: one in three characters.
fn is_near(distance: usize, word: &str, name: &str) -> bool {
    let longest = word.chars().count().max(name.chars().count());
    distance <= (longest / 3).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hint_among(word: &str, known: &[&str]) -> String {
        hint(word, known.iter().map(|name| (*name, (*name).to_owned())))
    }

    #[test]
    fn slips_are_questions_and_other_words_are_not() {
        let known = ["driver", "reverse-path", "fib"];
        assert_eq!(hint_among("revers-path", &known), ", did you mean `reverse-path`?");
        assert_eq!(hint_among("fob", &known), ", did you mean `fib`?");
        assert_eq!(hint_among("zz", &known), ", the nearest known is `fib`");
        assert_eq!(hint_among("zz", &[]), "");
    }
}
