//! Words that stand for one of a few choices: the enums behind `reverse-path = "strict"` and its
//! like. One table a type serves reading, printing and the lists in error messages.

use std::fmt;

/// An enum whose variants are written as words.
pub trait Keyword: Copy + fmt::Display + 'static {
    /// Every choice, in the order error messages list them.
    const ALL: &'static [Self];

    /// The choice that `word` stands for.
    fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|choice| choice.to_string() == word)
    }

    /// All words as a person lists them: `"a", "b" or "c"`.
    fn listed() -> String {
        let words: Vec<String> = Self::ALL.iter().map(|choice| format!("\"{choice}\"")).collect();
        match words.split_last() {
            Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
            _ => words.concat(),
        }
    }
}

/// Declares an enum together with its words.
#[macro_export]
macro_rules! keywords {
    (
        $(#[$meta:meta])*
        $vis:vis enum $name:ident { $( $(#[$variant_meta:meta])* $variant:ident = $word:literal, )+ }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        $vis enum $name { $( $(#[$variant_meta])* $variant, )+ }

        impl $name {
            /// The word that stands for this choice in a configuration.
            #[must_use]
            $vis fn word(self) -> &'static str {
                match self { $( Self::$variant => $word, )+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.word())
            }
        }

        impl $crate::reading::Keyword for $name {
            const ALL: &'static [Self] = &[ $( Self::$variant, )+ ];
        }
    };
}

pub(crate) use keywords;
