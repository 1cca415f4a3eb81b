//! Names the tests of the workspace by reading their source. Does not know what they prove.
//!
//! A test is named by the program that it is in and by its path there: `stent-core decide::tests::a_leaf_is_retried` is a unit
//! test, `stent::runtime waiting::purge_works` is in `stent/tests/runtime/`, and `conformance park::a_hint_wakes_it` is a case
//! that every backend runs. A runtime test that runs on every store has one name, for all of them. A test in a module that
//! several programs include by `#[path]` has a name in each: `stent-sqlite::sqlite race::…` and `stent-postgres::postgres
//! race::…` may have the same source.

use std::collections::BTreeSet;

use super::checkout::{File, Member};
use super::source::{self, What};

/// The list of the conformance cases, each after its guarantee. The suite's own tests check it.
const CASES: &str = "stent-conformance/cases.txt";

/// The names of all tests.
pub(super) fn tests(files: &[File], members: &[Member]) -> BTreeSet<String> {
    let cases = files.iter().filter(|file| file.path == CASES).flat_map(|file| file.text.lines());
    let cases = cases.filter_map(|line| line.split_whitespace().last());
    let mut names: BTreeSet<_> = cases.map(|case| format!("conformance {case}")).collect();
    for member in members {
        for (program, source) in &member.programs {
            for found in source::of_crate(source, files) {
                if let What::Test(name) = &found.piece.what {
                    let path = [&found.module[..], std::slice::from_ref(name)].concat().join("::");
                    names.insert(format!("{program} {path}"));
                }
            }
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let programs = [
            ("stent", "stent/src/lib.rs"),
            ("stent::budgets", "stent/tests/budgets.rs"),
            ("stent::runtime", "stent/tests/runtime/main.rs"),
            ("custom::kill", "examples/custom/tests/kill.rs"),
        ];
        let programs = programs.map(|(name, source)| (name.into(), source.into())).into();
        let all = Member { name: String::new(), manifest: String::new(), dependencies: Vec::new(), programs };
        let files: Vec<_> = files.iter().map(|(path, text)| File::new(*path, *text)).collect();
        tests(&files, &[all]).into_iter().collect()
    }

    #[test]
    fn a_test_is_named_by_program_and_path() {
        let text = "#[test]\nfn a() {}\nmod tests { #[tokio::test(flavor = \"x\")]\n#[expect(x)]\nasync fn b() {} }\nfn c() {}\n\
                    // #[test] fn d() {}\nmacro_rules! e { () => { #[test] fn e() {} } }\n#[cfg(test)] fn f() {}\nm! { fn g() {} }";
        for (path, program) in [
            ("stent/src/lib.rs", "stent "),
            ("stent/src/worker/mod.rs", "stent worker::"),
            ("stent/src/worker/turn.rs", "stent worker::turn::"),
            ("stent/tests/budgets.rs", "stent::budgets "),
            ("stent/tests/runtime/main.rs", "stent::runtime "),
            ("examples/custom/tests/kill.rs", "custom::kill "),
        ] {
            let parents = [("stent/src/lib.rs", "mod worker;"), ("stent/src/worker/mod.rs", "mod turn;")];
            let parents = parents.into_iter().filter(|(parent, _)| *parent != path);
            let files: Vec<_> = parents.chain([(path, text)]).collect();
            assert_eq!(found(&files), [format!("{program}a"), format!("{program}tests::b")], "{path}");
        }
        assert_eq!(found(&[("elsewhere/src/lib.rs", text), ("stent/src/nobodys.rs", text)]), [""; 0]);
    }

    #[test]
    fn a_test_in_a_macro_is_one() {
        let all = "fn helper() {}\non_every_store! {\n    async fn a(world) { fn inner() {} }\n\n    async fn b(world) {}\n}\n\
                   proptest! { #![x] #[test]\n#[y] fn c(b in 1..2) {} fn d() {} }";
        let expected = ["a", "b", "c"].map(|name| format!("stent::budgets {name}"));
        assert_eq!(found(&[("stent/tests/budgets.rs", all)]), expected);
    }

    #[test]
    fn a_test_that_programs_share_has_a_name_in_each() {
        let shared = ("stent/tests/shared/race.rs", "#[test]\nfn a() {}\nmod deep { #[test] fn b() {} }");
        let near = ("stent/tests/budgets.rs", "#[path = \"shared/race.rs\"]\npub(crate) mod race;");
        let far =
            ("examples/custom/tests/kill.rs", "#[path = \"../../../stent/tests/shared/race.rs\"] mod race;");

        let expected = [
            "custom::kill race::a",
            "custom::kill race::deep::b",
            "stent::budgets race::a",
            "stent::budgets race::deep::b",
        ];
        assert_eq!(found(&[near, far, shared]), expected);
    }

    #[test]
    fn a_case_is_named_by_its_area() {
        assert_eq!(found(&[(CASES, "G5  park::a_hint_wakes_it\n")]), ["conformance park::a_hint_wakes_it"]);
    }
}
