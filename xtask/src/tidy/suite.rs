//! Names the tests of the workspace by reading their source. Knows nothing of what they prove.
//!
//! A test is named by the program that it is in and by its path there: `stent-core decide::tests::a_leaf_is_retried` is a
//! unit test, `stent::runtime waiting::purge_works` stands in `stent/tests/runtime/`, and `conformance park::a_hint_wakes_it`
//! is a case that every backend runs. A runtime test that runs on every store has one name, for all of them. A test in a module
//! that several programs take by `#[path]` has a name in each: `stent-sqlite::sqlite race::…` and `stent-postgres::postgres
//! race::…` may be the same lines.

use std::collections::BTreeSet;
use std::ops::Range;

use super::checkout::{File, Member};
use super::{links, source};

/// Where the conformance cases are.
pub(super) const CASES: &str = "stent-conformance/src/cases";

/// Stands before the cases in a test's name, where other tests have their program.
const CONFORMANCE: &str = "conformance";

/// The macro that lists an area's cases, and the one that makes a test per store of each function in it.
const LIST: &str = "list! {";
const EVERY_STORE: &str = "on_every_store! {";

/// The names of all tests.
pub(super) fn tests(files: &[File], members: &[Member]) -> BTreeSet<String> {
    let sources = files.iter().filter(|file| file.is_rust());
    let names = sources.flat_map(|file| {
        if is_cases(file) {
            return cases(file);
        }
        let place = place(&file.path, members, files);
        place.map_or_else(Vec::new, |(program, module)| functions(file, &program, &module, files))
    });
    names.collect()
}

/// The guarantee and the name of a case as a line lists it: `G3 a_stale_epoch_changes_nothing,`.
pub(super) fn listed(line: &str) -> Option<(u32, &str)> {
    let (guarantee, case) = line.trim().strip_prefix('G')?.split_once(' ')?;
    Some((guarantee.parse().ok()?, case.strip_suffix(',')?))
}

/// Whether the file is one of the suite's.
pub(super) fn is_cases(file: &File) -> bool {
    file.path.starts_with(CASES) && file.is_rust()
}

fn cases(file: &File) -> Vec<String> {
    let code = source::code(&file.text);
    let mut names = Vec::new();
    let mut area = "";
    for line in code.lines() {
        if let Some(rest) = line.trim_start().strip_prefix(LIST) {
            area = rest.trim().trim_end_matches(':');
        } else if let Some((_, case)) = listed(line) {
            names.push(format!("{CONFORMANCE} {area}::{case}"));
        }
    }
    names
}

/// The tests of a module, and of those that it takes by `#[path]`.
fn functions(file: &File, program: &str, module: &str, files: &[File]) -> Vec<String> {
    let code = source::without_macros(&source::code(&file.text));
    let modules = blocks(&code, "mod ");
    let marked = source::attributes(&code)
        .into_iter()
        .filter(|attribute| is_test(attribute.body))
        .filter_map(|attribute| Some(attribute.end() + code[attribute.end()..].find("fn ")?));
    let of_every_store =
        blocks(&code, EVERY_STORE).into_iter().flat_map(|(_, block)| outer_functions(&code, block));
    let mut names = Vec::new();
    for at in marked.chain(of_every_store) {
        let inside = modules.iter().filter(|(_, block)| block.contains(&at)).map(|(name, _)| name.as_str());
        let path: Vec<&str> = module
            .split("::")
            .filter(|part| !part.is_empty())
            .chain(inside)
            .chain([word(&code[at + 3..])])
            .collect();
        names.push(format!("{program} {}", path.join("::")));
    }
    for (name, path) in taken(file, &code) {
        let module = if module.is_empty() { name.to_owned() } else { format!("{module}::{name}") };
        let file = files.iter().find(|file| file.path == path);
        names.extend(file.map_or_else(Vec::new, |file| functions(file, program, &module, files)));
    }
    names
}

/// The modules that a file takes by `#[path]`: their names, and their files from the root.
fn taken<'a>(file: &File, code: &'a str) -> Vec<(&'a str, String)> {
    let attributes = source::attributes(code).into_iter();
    let found = attributes.filter(|attribute| word(attribute.body) == "path").filter_map(|attribute| {
        let path = links::resolve(&file.path, attribute.quoted(&file.text)?)?;
        let name = code[attribute.end()..].split_once("mod ")?.1;
        Some((word(name), path))
    });
    found.collect()
}

fn is_test(attribute: &str) -> bool {
    let path = attribute.split('(').next().unwrap_or(attribute).trim();
    path == "test" || path == "tokio::test"
}

/// The program that a source is compiled into, and its module there.
fn place(path: &str, members: &[Member], files: &[File]) -> Option<(String, String)> {
    let around = members.iter().filter(|member| {
        path.starts_with(member.manifest.strip_suffix("Cargo.toml").unwrap_or(&member.manifest))
    });
    let member = around.max_by_key(|member| member.manifest.len())?; // One may lie in the folder of another.
    let inside = path[member.manifest.len() - "Cargo.toml".len()..].strip_suffix(".rs")?;
    let (program, file) = if let Some(file) = inside.strip_prefix("src/") {
        (member.name.clone(), file)
    } else {
        let file = inside.strip_prefix("tests/")?;
        let (target, file) = file.split_once('/').unwrap_or((file, "main"));
        // A folder with nothing to begin with is no program: what is in it is for others to take.
        let main = path.strip_suffix(&format!("/{file}.rs")).map(|folder| format!("{folder}/main.rs"));
        if main.is_some_and(|main| files.iter().all(|file| file.path != main)) {
            return None;
        }
        (format!("{}::{target}", member.name), file)
    };
    let module = file.strip_suffix("/mod").unwrap_or(file);
    let module = if matches!(module, "lib" | "main" | "mod") { "" } else { module };
    Some((program, module.replace('/', "::")))
}

/// What stands in braces after each `begin`, with the word that follows `begin`.
fn blocks(code: &str, begin: &str) -> Vec<(String, Range<usize>)> {
    let found = code.match_indices(begin).filter_map(|(at, _)| {
        let open =
            if begin.ends_with('{') { at + begin.len() - 1 } else { open_after(code, at + begin.len())? };
        let end = source::bracket_end(code.as_bytes(), open)?;
        Some((word(&code[at + begin.len()..]).to_owned(), open..end))
    });
    found.collect()
}

/// The brace after a name, if it comes before the item's end.
fn open_after(code: &str, from: usize) -> Option<usize> {
    let end = code[from..].find(['{', ';'])? + from;
    code[end..].starts_with('{').then_some(end)
}

/// Where the functions begin that stand in a block itself, and not in a block of it.
fn outer_functions(code: &str, block: Range<usize>) -> Vec<usize> {
    let mut found = Vec::new();
    let mut at = block.start + 1;
    while at < block.end {
        if code[at..].starts_with("fn ") {
            found.push(at);
        }
        at = match code.as_bytes()[at] {
            b'{' | b'(' | b'[' => source::bracket_end(code.as_bytes(), at).unwrap_or(block.end),
            _ => at + code[at..].chars().next().map_or(1, char::len_utf8),
        };
    }
    found
}

fn word(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found_in(files: &[(&str, &str)]) -> Vec<String> {
        let member = |name: &str, manifest: &str| Member {
            name: name.to_owned(),
            manifest: manifest.to_owned(),
            dependencies: Vec::new(),
        };
        let members = [
            member("stent", "stent/Cargo.toml"),
            member("stent-examples", "examples/Cargo.toml"),
            member("custom-backend", "examples/custom-backend/Cargo.toml"),
        ];
        let files = files.iter().map(|(path, text)| File::new(*path, *text)).collect::<Vec<_>>();
        tests(&files, &members).into_iter().collect()
    }

    fn found(path: &str, text: &str) -> Vec<String> {
        found_in(&[(path, text)])
    }

    #[test]
    fn a_test_is_named_by_program_and_path() {
        let text = "#[test]\nfn a() {}\nmod tests { #[tokio::test(flavor = \"x\")]\n#[expect(x)]\nasync fn b() {} }\nfn c() {}";
        for (path, program) in [
            ("stent/src/lib.rs", "stent "),
            ("stent/src/worker/mod.rs", "stent worker::"),
            ("stent/src/worker/turn.rs", "stent worker::turn::"),
            ("stent/tests/budgets.rs", "stent::budgets "),
            ("stent/tests/runtime/main.rs", "stent::runtime "),
            ("examples/tests/saga.rs", "stent-examples::saga "),
            ("examples/custom-backend/tests/kill.rs", "custom-backend::kill "),
        ] {
            assert_eq!(found(path, text), [format!("{program}a"), format!("{program}tests::b")], "{path}");
        }
        assert_eq!(found("elsewhere/src/lib.rs", text), [""; 0]);
    }

    #[test]
    fn a_test_of_every_store_has_one_name() {
        let text = "fn helper() {}\non_every_store! {\n    async fn a(world) { fn inner() {} }\n\n    async fn b(world) {}\n}";

        assert_eq!(
            found_in(&[
                ("stent/tests/runtime/main.rs", "mod waiting;"),
                ("stent/tests/runtime/waiting.rs", text)
            ]),
            ["stent::runtime waiting::a", "stent::runtime waiting::b"]
        );
    }

    #[test]
    fn a_test_that_programs_share_has_a_name_in_each() {
        let takes =
            |path| format!("// #[path = \"no.rs\"] mod no;\n#[path = \"{path}\"]\npub(crate) mod race;");
        let (near, far) = (takes("shared/race.rs"), takes("../../stent/tests/shared/race.rs"));
        let shared = ("stent/tests/shared/race.rs", "#[test]\nfn a() {}\nmod deep { #[test] fn b() {} }");

        assert_eq!(
            found_in(&[("stent/tests/one.rs", &near), ("examples/tests/two.rs", &far), shared]),
            [
                "stent-examples::two race::a",
                "stent-examples::two race::deep::b",
                "stent::one race::a",
                "stent::one race::deep::b"
            ]
        );
    }

    #[test]
    fn a_folder_of_modules_is_no_program() {
        let module = ("stent/tests/shared/race.rs", "#[test]\nfn a() {}");

        assert_eq!(found_in(&[module]), [""; 0]);
        assert_eq!(
            found_in(&[module, ("stent/tests/shared/main.rs", "mod race;")]),
            ["stent::shared race::a"]
        );
    }

    #[test]
    fn a_case_is_named_by_its_area() {
        let text = "list! { park:\n    G5 a_hint_wakes_it,\n    // G5 not_this,\n}\nasync fn helper() {}";

        assert_eq!(found(&format!("{CASES}/park.rs"), text), ["conformance park::a_hint_wakes_it"]);
    }

    #[test]
    fn what_only_looks_like_a_test_is_none() {
        let text = "// #[test] fn a() {}\nconst B: &str = \"#[test] fn b() {}\";\n\
                    macro_rules! c { () => { #[test] fn c() {} } }\n#[cfg(test)] fn d() {}";

        assert_eq!(found("stent/src/lib.rs", text), [""; 0]);
    }
}
