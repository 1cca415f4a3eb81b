//! Checks that links between the pages of the project have a target.

use pulldown_cmark::{Event, LinkType, Options, Parser, Tag};

use super::Finding;
use super::checkout::File;

/// Checks the relative links of every markdown file; `exists` returns whether a path from the root exists.
pub(super) fn check(files: &[File], exists: impl Fn(&str) -> bool) -> Vec<Finding> {
    let pages = files.iter().filter(|file| file.path.ends_with(".md"));
    let dead = pages.flat_map(|page| {
        let links = links(&page.text).into_iter();
        links
            .filter_map(|(line, target)| Some(judge(&page.path, &target, &exists)?.at(line)))
            .collect::<Vec<_>>()
    });
    dead.collect()
}

fn judge(page: &str, target: &str, exists: impl Fn(&str) -> bool) -> Option<Finding> {
    let file = target.split(['#', '?']).next().unwrap_or(target);
    let has_scheme = file
        .split_once(':')
        .is_some_and(|(scheme, _)| scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c)));
    if file.is_empty() || has_scheme {
        return None;
    }
    match resolve(page, file) {
        Some(path) if exists(&path) => None,
        Some(path) => {
            Some(Finding::new(page, format!("no such file: {path}"), "mend the link, or write the page"))
        }
        None => Some(Finding::new(
            page,
            format!("`{target}` leads out of the project"),
            "link to a page of the project, or by URL",
        )),
    }
}

/// The path from the root to which `target` on `page` refers; `None` if it is above the root.
pub(super) fn resolve(page: &str, target: &str) -> Option<String> {
    let folder =
        if target.starts_with('/') { "" } else { page.rsplit_once('/').map_or("", |(folder, _)| folder) };
    let mut parts: Vec<&str> = Vec::new();
    for part in folder.split('/').chain(target.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// Every link target of a page with its line, including unused references.
fn links(text: &str) -> Vec<(usize, String)> {
    let parser = Parser::new_ext(text, Options::ENABLE_TABLES).into_offset_iter();
    let references = parser.reference_definitions().iter();
    let mut found: Vec<_> = references.map(|(_, it)| (it.span.start, it.dest.to_string())).collect();
    found.extend(parser.filter_map(|(event, place)| match event {
        // Plain URLs and references are handled above.
        Event::Start(
            Tag::Link { link_type: LinkType::Inline, dest_url, .. } | Tag::Image { dest_url, .. },
        ) => Some((place.start, dest_url.to_string())),
        _ => None,
    }));
    found.into_iter().map(|(at, target)| (text[..at].matches('\n').count() + 1, target)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whats(path: &str, text: &str) -> Vec<String> {
        let exists = |path: &str| ["docs/semantics.md", "README.md", "docs/guide"].contains(&path);
        check(&[File::new(path, text)], exists).into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn links_that_lead_somewhere_pass() {
        let text =
            "[a](semantics.md#g1) [b](../README.md \"t\") [c](guide/) [d](#here) <x>\n[e]: /README.md\n";
        assert_eq!(whats("docs/index.md", text), [""; 0]);
        assert_eq!(whats("docs/index.md", "[a](https://docs.rs/x) [b](mailto:a@b.c)"), [""; 0]);
    }

    #[test]
    fn a_dead_link_is_found() {
        assert_eq!(whats("docs/index.md", "see [a](missing.md#x)"), ["no such file: docs/missing.md"]);
        assert_eq!(whats("docs/index.md", "![a](<img/a b.png>)"), ["no such file: docs/img/a b.png"]);
        assert_eq!(whats("docs/index.md", "[a]: gone.md"), ["no such file: docs/gone.md"]);
    }

    #[test]
    fn a_link_out_of_the_project_is_found() {
        assert_eq!(whats("README.md", "[a](../other/x.md)"), ["`../other/x.md` leads out of the project"]);
    }

    #[test]
    fn code_holds_no_links() {
        assert_eq!(whats("README.md", "`[a](b.md)`\n```rust\n[a](b.md)\n```\n"), [""; 0]);
        assert_eq!(whats("README.md", "```\n```\n[a](b.md)\n").len(), 1);
    }

    #[test]
    fn only_pages_are_read() {
        assert_eq!(whats("stent/src/lib.rs", "//! [a](b.md)"), [""; 0]);
    }
}
