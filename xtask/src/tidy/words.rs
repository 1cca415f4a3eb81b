//! The project speaks of itself only: no file of it names a place outside the checkout.

use super::Finding;
use super::checkout::File;

/// What no file may contain. Put together here so that this file does not either.
const WORDS: &[(&str, &str)] = &[
    (concat!("../", "shared"), "say what is meant, or put it under docs/"),
    (concat!(".", "library"), "say what is meant, or put it under docs/"),
];

pub(super) fn check(files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files {
        for (number, line) in file.text.lines().enumerate() {
            let found = WORDS.iter().filter(|(word, _)| line.contains(word));
            findings.extend(found.map(|(word, remedy)| {
                Finding::new(&file.path, format!("it names `{word}`, which is not in this project"), *remedy)
                    .at(number + 1)
            }));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_is_found_with_its_line() {
        for (word, _) in WORDS {
            let found = check(&[File::new("docs/a.md", format!("first\nsee {word}/x\n"))]);
            assert_eq!(found.len(), 1);
            assert_eq!(found[0].line, Some(2));
        }
    }

    #[test]
    fn other_words_pass() {
        assert_eq!(check(&[File::new("docs/a.md", "a library of shared parts, see ../README.md")]), []);
    }
}
