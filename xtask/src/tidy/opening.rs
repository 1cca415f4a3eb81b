//! Every source file opens with what it is for.

use super::Finding;
use super::checkout::File;

pub(super) fn check(files: &[File]) -> Vec<Finding> {
    let sources = files.iter().filter(|file| file.is_rust() && !is_compiler_fixture(&file.path));
    let silent = sources.filter(|file| {
        let first = file.text.lines().find(|line| !line.trim().is_empty());
        let words = first.and_then(|line| line.strip_prefix("//!"));
        words.is_none_or(|words| words.trim().is_empty())
    });
    silent
        .map(|file| {
            let remedy = "open it with a `//!` line that says what the file is for and what it refuses";
            Finding::new(&file.path, "it does not say what it is for", remedy)
        })
        .collect()
}

/// Sources that trybuild gives to the compiler to see what it says.
fn is_compiler_fixture(path: &str) -> bool {
    path.contains("/tests/ui/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> usize {
        check(&[File::new(path, text)]).len()
    }

    #[test]
    fn a_file_without_an_opening_is_found_wherever_it_lies() {
        for path in
            ["stent/src/call.rs", "stent/tests/crash.rs", "stent-sqlite/build.rs", "examples/digest.rs"]
        {
            assert_eq!(found(path, "use std::fmt;\n"), 1, "{path}");
            assert_eq!(found(path, "//!\nuse std::fmt;\n"), 1, "{path}");
            assert_eq!(found(path, "\n//! Calls.\n"), 0, "{path}");
        }
    }

    #[test]
    fn compiler_fixtures_and_other_files_need_none() {
        assert_eq!(found("stent/tests/ui/wrong.rs", "fn main() {}"), 0);
        assert_eq!(found("README.md", "# Stent"), 0);
    }
}
