//! Names the tests of the workspace by reading their source. Knows nothing of what they prove.
//!
//! A test is named by the program that it is in and by its path there: `stent-core decide::tests::a_leaf_is_retried` is a
//! unit test, `stent::runtime waiting::purge_works` stands in `stent/tests/runtime/`, and `conformance park::a_hint_wakes_it`
//! is a case that every backend runs. A runtime test that runs on every store has one name, for all of them. A test in a module
//! that several programs take by `#[path]` has a name in each: `stent-sqlite::sqlite race::…` and `stent-postgres::postgres
//! race::…` may be the same lines.

use std::collections::BTreeSet;

use proc_macro2::{TokenStream, TokenTree};
use syn::{Attribute, Item, ItemMacro};

use super::checkout::{File, Member};
use super::source::{self, Module};

/// Where the conformance cases are.
pub(super) const CASES: &str = "stent-conformance/src/cases";

/// Stands before the cases in a test's name, where other tests have their program.
const CONFORMANCE: &str = "conformance";

/// The macro that lists an area's cases, and the one that makes a test per store of each function in it.
const LIST: &str = "list";
const EVERY_STORE: &str = "on_every_store";

/// The names of all tests.
pub(super) fn tests(files: &[File], members: &[Member]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for member in members {
        for target in &member.targets {
            let program = if target.is_test {
                format!("{}::{}", member.name, target.name)
            } else {
                member.name.clone()
            };
            let modules = source::modules(&target.source, files);
            let tests = modules.iter().flat_map(in_module);
            names.extend(tests.map(|test| format!("{program} {test}")));
        }
    }
    names.extend(cases(files).into_iter().map(|case| format!("{CONFORMANCE} {}::{}", case.area, case.name)));
    names
}

/// A conformance case as a file lists it: `list! { fence: G3 a_stale_epoch_changes_nothing, … }`.
pub(super) struct Case {
    area: String,
    pub(super) guarantee: u32,
    name: String,
}

/// The cases of the suite.
pub(super) fn cases(files: &[File]) -> Vec<Case> {
    let files = files.iter().filter(|file| file.path.starts_with(CASES) && file.is_rust());
    let items = files.filter_map(|file| file.code().ok()).flat_map(|code| &code.items);
    let lists = items.filter_map(|item| match item {
        Item::Macro(list) if list.mac.path.is_ident(LIST) => Some(&list.mac.tokens),
        _ => None,
    });
    lists.flat_map(listed).collect()
}

fn listed(list: &TokenStream) -> Vec<Case> {
    let words = list.clone().into_iter().filter_map(|token| match token {
        TokenTree::Ident(word) => Some(word.to_string()),
        _ => None,
    });
    let words: Vec<_> = words.collect();
    let Some((area, cases)) = words.split_first() else { return Vec::new() };
    let case = |pair: &[String]| {
        let guarantee = pair[0].strip_prefix('G')?.parse().ok()?;
        Some(Case { area: area.clone(), guarantee, name: pair.get(1)?.clone() })
    };
    cases.chunks(2).filter_map(case).collect()
}

/// The tests of a module itself, by their paths in the crate.
fn in_module(module: &Module<'_>) -> Vec<String> {
    let names = module.items.iter().flat_map(|item| match item {
        Item::Fn(function) if function.attrs.iter().any(is_test) => vec![function.sig.ident.to_string()],
        Item::Macro(item) if !item.mac.path.is_ident("macro_rules") => in_macro(item),
        _ => Vec::new(),
    });
    names.map(|name| [&module.path[..], &[name]].concat().join("::")).collect()
}

/// The tests among the functions that a macro is given.
fn in_macro(item: &ItemMacro) -> Vec<String> {
    let all = item.mac.path.is_ident(EVERY_STORE);
    let tokens: Vec<_> = item.mac.tokens.clone().into_iter().collect();
    let mut is_marked = all;
    let mut names = Vec::new();
    for pair in tokens.windows(2) {
        match pair {
            [TokenTree::Punct(sign), TokenTree::Group(_)] if sign.as_char() == '#' => {
                let attribute: TokenStream = pair.iter().cloned().collect();
                is_marked |= source::attributes_of(&attribute).iter().any(is_test);
            }
            [TokenTree::Ident(word), TokenTree::Ident(name)]
                if word == "fn" && std::mem::replace(&mut is_marked, all) =>
            {
                names.push(name.to_string());
            }
            _ => {}
        }
    }
    names
}

fn is_test(attribute: &Attribute) -> bool {
    attribute.path().segments.last().is_some_and(|name| name.ident == "test")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::checkout::Target;

    fn found_in(files: &[(&str, &str)]) -> Vec<String> {
        let target = |name: &str, source: &str| Target {
            name: name.into(),
            is_test: source.contains("tests/"),
            source: source.into(),
        };
        let member = |name: &str, targets: &[Target]| Member {
            name: name.into(),
            manifest: format!("{name}/Cargo.toml"),
            dependencies: Vec::new(),
            targets: targets.to_vec(),
        };
        let members = [
            member(
                "stent",
                &[
                    target("stent", "stent/src/lib.rs"),
                    target("budgets", "stent/tests/budgets.rs"),
                    target("runtime", "stent/tests/runtime/main.rs"),
                ],
            ),
            member("custom-backend", &[target("kill", "examples/custom-backend/tests/kill.rs")]),
        ];
        let files: Vec<_> = files.iter().map(|(path, text)| File::new(*path, *text)).collect();
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
            ("examples/custom-backend/tests/kill.rs", "custom-backend::kill "),
        ] {
            let parents = [("stent/src/lib.rs", "mod worker;"), ("stent/src/worker/mod.rs", "mod turn;")];
            let parents = parents.into_iter().filter(|(parent, _)| *parent != path);
            let files: Vec<_> = parents.chain([(path, text)]).collect();
            assert_eq!(found_in(&files), [format!("{program}a"), format!("{program}tests::b")], "{path}");
        }
        assert_eq!(found("elsewhere/src/lib.rs", text), [""; 0]);
        assert_eq!(found("stent/src/nobodys.rs", text), [""; 0]);
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
        let (near, far) = (takes("shared/race.rs"), takes("../../../stent/tests/shared/race.rs"));
        let shared = ("stent/tests/shared/race.rs", "#[test]\nfn a() {}\nmod deep { #[test] fn b() {} }");

        assert_eq!(
            found_in(&[
                ("stent/tests/budgets.rs", &near),
                ("examples/custom-backend/tests/kill.rs", &far),
                shared
            ]),
            [
                "custom-backend::kill race::a",
                "custom-backend::kill race::deep::b",
                "stent::budgets race::a",
                "stent::budgets race::deep::b"
            ]
        );
    }

    #[test]
    fn a_case_is_named_by_its_area() {
        let text = "list! { park:\n    G5 a_hint_wakes_it,\n    /// A remark.\n    G5 as_does_this,\n    // G5 not_this,\n}\nasync fn helper() {}";

        assert_eq!(
            found(&format!("{CASES}/park.rs"), text),
            ["conformance park::a_hint_wakes_it", "conformance park::as_does_this"]
        );
    }

    #[test]
    fn a_test_in_a_macro_is_one() {
        let text = "proptest! { #![x] #[test]\n#[y] fn a(b in 1..2) {} fn c() {} }";
        assert_eq!(found("stent/src/lib.rs", text), ["stent a"]);
    }

    #[test]
    fn what_only_looks_like_a_test_is_none() {
        let text = "// #[test] fn a() {}\nconst B: &str = \"#[test] fn b() {}\";\n\
                    macro_rules! c { () => { #[test] fn c() {} } }\n#[cfg(test)] fn d() {}\nm! { fn e() {} }";

        assert_eq!(found("stent/src/lib.rs", text), [""; 0]);
    }
}
