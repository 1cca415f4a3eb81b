//! The modules of the standard library that core's code may not name, because they reach the world outside.
//!
//! `stent-core/clippy.toml` bans clocks, chance, hash maps and single functions, and sees through aliases; it cannot ban a
//! module. `purity.rs` sees the crates that core stands on.

use super::Finding;
use super::checkout::File;
use super::source;

const ROOT: &str = "stent-core/src/lib.rs";

const MODULES: &[&str] = &["std::env", "std::fs", "std::net", "std::process", "std::thread"];

pub(super) fn check(files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for module in source::modules(ROOT, files).iter().filter(|module| !module.is_test) {
        let paths = module.items.iter().map(source::shipped).flat_map(source::paths);
        for (line, path) in paths.map(|path| (path.line, path.text())) {
            let is_in = |module: &&&str| {
                path.strip_prefix(**module).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
            };
            findings.extend(MODULES.iter().find(is_in).map(|banned| {
                let what = format!("core uses {banned}");
                Finding::new(&module.file.path, what, "leave it to a backend or to the runtime").at(line)
            }));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        let findings = check(&[File::new(ROOT, text)]).into_iter();
        findings.map(|finding| format!("{}:{}", finding.line.unwrap_or(0), finding.what)).collect()
    }

    #[test]
    fn each_module_is_found_however_it_is_named() {
        for module in MODULES {
            let expected = [format!("2:core uses {module}")];
            let inner = module.trim_start_matches("std::");
            for text in [
                format!("fn f() {{\n    {module}::x(); }}"),
                format!("\nuse std::{{fmt, {inner}::{{Y, Z as _}}}};").replace(", Z as _", ""),
                format!("\nuse ::std::{{fmt, {inner} as other}};"),
                format!("fn f() {{\n m!(&{module}::x) }}"),
            ] {
                assert_eq!(found(&text), expected, "{text}");
            }
        }
        assert_eq!(found("use std::environment; fn f() { mystd::env::x(); env::x() }"), [""; 0]);
    }

    #[test]
    fn tests_comments_and_other_crates_may() {
        let text = "//! Never std::fs.\n#[cfg(test)]\nmod tests { use std::fs; }";
        assert_eq!(found(text), [""; 0]);
        assert_eq!(check(&[File::new("stent/src/lib.rs", "use std::fs;")]), []);
    }
}
