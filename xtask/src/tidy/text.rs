//! Rules for every file: sources are Rust and open with their purpose, tests are not disabled, and no file names a path
//! outside the project.

use super::Finding;
use super::checkout::File;
use super::source::What;

/// Places outside the checkout. Put together here so that this file does not name them either.
const OUTSIDE: &[&str] = &[concat!("../", "shared"), concat!(".", "library")];

pub(super) fn check(files: &[File]) -> Vec<Finding> {
    files
        .iter()
        .flat_map(|file| [in_text(file), if file.is_rust() { in_source(file) } else { Vec::new() }].concat())
        .collect()
}

fn in_text(file: &File) -> Vec<Finding> {
    let lines = file.text.lines().zip(1..).flat_map(|(line, number)| {
        let named = OUTSIDE.iter().filter(move |word| line.contains(**word));
        named.map(move |word| {
            let what = format!("it names `{word}`, which is not in this project");
            Finding::new(&file.path, what, "say what is meant, or put it under docs/").at(number)
        })
    });
    lines.collect()
}

fn in_source(file: &File) -> Vec<Finding> {
    let pieces = match file.pieces() {
        Ok(pieces) => pieces,
        Err(error) => {
            let finding = Finding::new(&file.path, format!("it is no Rust: {error}"), "mend it");
            return vec![finding.at(error.span().start().line)];
        }
    };
    let ignored =
        pieces.iter().filter(|piece| matches!(&piece.what, What::Attribute { name, .. } if name == "ignore"));
    let remedy = "mend it or take it out: a test that does not run proves nothing";
    let mut findings: Vec<_> = ignored
        .map(|piece| Finding::new(&file.path, "a test is switched off", remedy).at(piece.line))
        .collect();

    let first = file.text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let says = first.strip_prefix("//!").is_some_and(|words| !words.trim().is_empty());
    // Sources for trybuild, which check compiler errors, need no header.
    if !says && !file.path.contains("/tests/ui/") {
        let remedy = "open it with a `//!` line that says what the file is for and what it refuses";
        findings.push(Finding::new(&file.path, "it does not say what it is for", remedy));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<(usize, String)> {
        let findings = check(&[File::new(path, text)]).into_iter();
        findings.map(|finding| (finding.line.unwrap_or(0), finding.what)).collect()
    }

    #[test]
    fn a_file_without_an_opening_is_found_wherever_it_lies() {
        let silent = [(0, "it does not say what it is for".to_owned())];
        for path in ["stent/src/call.rs", "stent/tests/crash.rs", "examples/digest.rs"] {
            assert_eq!(found(path, "use std::fmt;\n"), silent, "{path}");
            assert_eq!(found(path, "//!\nuse std::fmt;\n"), silent, "{path}");
            assert_eq!(found(path, "\n//! Calls.\n"), [], "{path}");
        }
        assert_eq!(found("stent/tests/ui/wrong.rs", "fn main() {}"), []);
        assert_eq!(found("README.md", "# Stent"), []);
    }

    #[test]
    fn a_test_that_is_switched_off_is_found() {
        for attribute in ["#[ignore]", "#[ignore = \"slow\"]", "#[cfg_attr(windows, ignore)]"] {
            let text = format!("//! A test.\n{attribute} fn a() {{}}");
            assert_eq!(
                found("stent/tests/a.rs", &text),
                [(2, "a test is switched off".into())],
                "{attribute}"
            );
        }
        assert_eq!(found("stent/src/a.rs", "//! A.\n#[ignored_by(x)] fn a() {} // #[ignore]"), []);
    }

    #[test]
    fn what_is_no_rust_is_found_with_its_line() {
        let found = found("a.rs", "//! A.\nfn {");
        assert!(found.len() == 1 && found[0].0 == 2 && found[0].1.starts_with("it is no Rust"), "{found:?}");
    }

    #[test]
    fn a_place_outside_is_found_with_its_line() {
        for word in OUTSIDE {
            assert_eq!(found("docs/a.md", &format!("first\nsee {word}/x\n"))[0].0, 2);
        }
        assert_eq!(found("docs/a.md", "a library of shared parts, see ../README.md"), []);
    }
}
