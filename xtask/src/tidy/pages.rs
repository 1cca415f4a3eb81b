//! Checks that the guide is complete: each error code is in the index of errors, each page is in the book, and each option and each
//! Cargo feature is in the table of its page. Knows nothing of what the pages say.

use std::collections::BTreeSet;

use super::Finding;
use super::checkout::File;
use super::links::resolve;

/// The index of errors, and the sources whose string literals are the codes.
const ERRORS: &str = "docs/guide/errors.md";
const CODES: [&str; 3] =
    ["stent/src/error.rs", "stent-core/src/failure/kind.rs", "stent-core/src/backend/error.rs"];

/// The book's list of pages.
const BOOK: &str = "docs/SUMMARY.md";

/// The manifest with the features, and the page with the table of them.
const FEATURES: (&str, &str) = ("stent/Cargo.toml", "docs/guide/index.md");

/// Sources that define options, the way in which they do, and the page with their table.
const OPTIONS: [(&str, Options, &str); 3] = [
    ("stent/src/stent.rs", Options::Methods, "docs/guide/deploying.md"),
    ("stent/src/worker/builder.rs", Options::Methods, "docs/guide/workers.md"),
    ("stent-macros/src/options.rs", Options::List("const OPTIONS"), "docs/guide/functions.md"),
];

/// How a source defines options.
#[derive(Clone, Copy, Debug)]
enum Options {
    /// By public methods that take and return a builder.
    Methods,
    /// By the texts of a constant.
    List(&'static str),
}

pub(super) fn check(files: &[File]) -> Vec<Finding> {
    [errors(files), book(files), options(files), features(files)].concat()
}

fn text<'a>(files: &'a [File], path: &str) -> &'a str {
    files.iter().find(|file| file.path == path).map_or("", |file| &file.text)
}

fn errors(files: &[File]) -> Vec<Finding> {
    let sources = CODES.map(|path| text(files, path).split("#[cfg(test)]").next().unwrap_or_default());
    let codes: BTreeSet<_> = sources.into_iter().flat_map(codes).collect();
    let listed: Vec<_> = text(files, ERRORS).lines().filter_map(listed).collect();
    let indexed: BTreeSet<_> = listed.iter().copied().collect();
    let missing = codes.difference(&indexed).map(|code| {
        Finding::new(ERRORS, format!("{code} is missing"), "add a row with its meaning and its remedy")
    });
    let unknown = indexed.difference(&codes).map(|code| {
        Finding::new(
            ERRORS,
            format!("no error has the code {code}"),
            "codes do not change: mend the code or the page",
        )
    });
    let twice = (listed.len() != indexed.len())
        .then(|| Finding::new(ERRORS, "a code has two rows", "keep the row that says more"));
    missing.chain(unknown).chain(twice).collect()
}

/// The string literals of a source that are codes: `"stent::Closed"`, `"stent::store::Closed"`.
fn codes(source: &str) -> impl Iterator<Item = &str> {
    source.split('"').skip(1).step_by(2).filter(|literal| is_code(literal))
}

fn is_code(text: &str) -> bool {
    let name = text.strip_prefix("stent::").map(|rest| rest.strip_prefix("store::").unwrap_or(rest));
    name.is_some_and(|name| {
        name.starts_with(|c: char| c.is_ascii_uppercase()) && name.chars().all(|c| c.is_ascii_alphabetic())
    })
}

/// The first cell of a table's row, if it is a word in backticks.
fn listed(line: &str) -> Option<&str> {
    let (word, _) = line.strip_prefix("| `")?.split_once("` |")?;
    is_code(word).then_some(word)
}

fn book(files: &[File]) -> Vec<Finding> {
    let pages = files.iter().map(|file| file.path.as_str());
    let pages = pages.filter(|path| path.starts_with("docs/") && path.ends_with(".md") && *path != BOOK);
    let links = text(files, BOOK).split("](").skip(1);
    let linked: BTreeSet<_> =
        links.filter_map(|rest| rest.split_once(')').and_then(|(target, _)| resolve(BOOK, target))).collect();
    let missing = pages.filter(|path| !linked.contains(*path));
    missing.map(|path| Finding::new(BOOK, format!("{path} is in no chapter"), "add it to the list")).collect()
}

fn options(files: &[File]) -> Vec<Finding> {
    let findings = OPTIONS.iter().flat_map(|(source, how, page)| {
        let names = defined(text(files, source), *how);
        let missing = names.into_iter().filter(|name| !text(files, page).contains(&format!("`{name}")));
        missing.map(move |name| {
            Finding::new(
                *page,
                format!("the option `{name}` of {source} is missing"),
                "add it to the table of options",
            )
        })
    });
    findings.collect()
}

fn defined(source: &str, how: Options) -> Vec<&str> {
    match how {
        Options::Methods => {
            let methods = source.lines().filter_map(|line| {
                let name =
                    line.strip_prefix("    pub fn ").or_else(|| line.strip_prefix("    pub const fn "))?;
                let (name, parameters) = name.split_once('(')?;
                parameters.starts_with("mut self").then(|| name.split('<').next()).flatten()
            });
            methods.collect()
        }
        Options::List(name) => {
            let list = source
                .split_once(name)
                .and_then(|(_, rest)| rest.split_once(';'))
                .map_or("", |(_, list)| list);
            list.split_once(';').map_or("", |(list, _)| list).split('"').skip(1).step_by(2).collect()
        }
    }
}

fn features(files: &[File]) -> Vec<Finding> {
    let (manifest, page) = FEATURES;
    let section = text(files, manifest).split("\n[features]\n").nth(1).unwrap_or_default();
    let names = section.split("\n[").next().unwrap_or_default().lines().filter_map(|line| {
        let (name, _) = line.split_once(" = ")?;
        (name != "default").then_some(name)
    });
    let missing = names.filter(|name| !text(files, page).contains(&format!("\n| `{name}` |")));
    missing
        .map(|name| {
            Finding::new(
                page,
                format!("the feature `{name}` is missing"),
                "add a row to its table of features",
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let files: Vec<_> = files.iter().map(|(path, text)| File::new(*path, *text)).collect();
        check(&files).into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn each_code_is_on_the_page_and_the_reverse() {
        let source = "Self::Closed => \"stent::Closed\", \"stent::sleep\", \"x [stent::Ended]\"\n\
                      #[cfg(test)]\nassert(\"stent::Tested\")";
        let core = "Self::Closed => \"stent::store::Closed\",";
        let page =
            "| `stent::Closed` | closed | |\n| `stent::store::Closed` | closed | |\n| `stent::spawn` | | |\n";
        let of = |page| [(CODES[0], source), (CODES[2], core), (ERRORS, page)];
        assert_eq!(found(&of(page)), [BOOK_LACKS_ERRORS]);
        assert_eq!(
            found(&of("| `stent::Closed` | | |\n")),
            ["stent::store::Closed is missing", BOOK_LACKS_ERRORS]
        );
        let more = format!("{page}| `stent::Gone` | | |\n");
        assert_eq!(found(&of(&more)), ["no error has the code stent::Gone", BOOK_LACKS_ERRORS]);
        let twice = format!("{page}| `stent::Closed` | again | |\n");
        assert_eq!(found(&of(&twice)), ["a code has two rows", BOOK_LACKS_ERRORS]);
    }

    const BOOK_LACKS_ERRORS: &str = "docs/guide/errors.md is in no chapter";

    #[test]
    fn a_page_that_no_chapter_names_is_found() {
        let pages =
            [("docs/guide/a.md", ""), ("docs/b.md", ""), ("README.md", ""), (BOOK, "- [A](guide/a.md)\n")];
        assert_eq!(found(&pages), ["docs/b.md is in no chapter"]);
    }

    #[test]
    fn an_option_without_a_row_is_found() {
        let builder = "    #[must_use]\n    pub fn codec(mut self, codec: Codec) -> Self {\n    pub const fn poll<T>(mut self) {\n\
                       \x20   pub fn purge(&self) {\n    fn own(mut self) {\n";
        let list = "const OPTIONS: [&str; 2] = [\n    \"cached\",\n    \"rate\",\n];\nconst OTHER: [&str; 1] = [\"x\"];\n";
        let files = [
            (OPTIONS[0].0, builder),
            (OPTIONS[0].2, "| `codec` | |\n"),
            (OPTIONS[2].0, list),
            (OPTIONS[2].2, "| `rate = \"100/s\"` | |\n"),
            (BOOK, "[A](guide/deploying.md) [B](guide/functions.md)"),
        ];
        assert_eq!(
            found(&files),
            [
                "the option `poll` of stent/src/stent.rs is missing",
                "the option `cached` of stent-macros/src/options.rs is missing"
            ]
        );
    }

    #[test]
    fn a_feature_without_a_row_is_found() {
        let manifest = "[package]\nname = \"stent\"\n\n[features]\ndefault = [\"sqlite\"]\nsqlite = []\notel = [\"dep:x\"]\n\n[lints]\na = 1\n";
        let page = "\n| `sqlite` | yes |\n";
        let book = (BOOK, "[Guide](guide/index.md)");
        assert_eq!(
            found(&[(FEATURES.0, manifest), (FEATURES.1, page), book]),
            ["the feature `otel` is missing"]
        );
    }
}
