//! Imports between the rooms of `stent` point down, and come from where a thing is defined.
//!
//! A room is a module that `stent/src/lib.rs` declares, with all that is in it. The list below says which rooms there are;
//! an import may only lead to a room further down. Code that is compiled for tests only is exempt: a unit test may start a
//! whole `Stent` to see one part of it, and no user's build has that arrow. So is what documentation links to.

use std::collections::BTreeMap;

use quote::ToTokens;
use syn::Item;

use super::Finding;
use super::checkout::File;
use super::source::{self, Module, Path};

const ROOT: &str = "stent/src/lib.rs";

/// The rooms from top to bottom. Rooms in one line are siblings: neither may import the other.
const ROOMS: &[&[&str]] = &[
    // The facade: what only users and the macros use.
    &["prelude", "testing", "view", "units", "backend", "__private"],
    &["stent"],
    // From outside, and the loop that runs durable code. Both know what that code uses, and not each other.
    &["execution", "worker"],
    &["durable"],
    &["engine"],
    &["function"],
    // Leaves.
    &["trace"],
    &["metrics"],
    &["names"],
    &["error"],
];

/// An arrow that is not allowed and stands nevertheless.
struct Exception {
    /// The module that imports, and what it imports, in full.
    from: &'static str,
    to: &'static str,
    /// Why, and what would end it.
    reason: &'static str,
}

/// Each is a debt. One that nothing needs any more is a finding too.
const EXCEPTIONS: &[Exception] = &[];

const TABLE: &str = "xtask/src/tidy/rooms.rs";

pub(super) fn check(files: &[File]) -> Vec<Finding> {
    judge(files, ROOMS, EXCEPTIONS)
}

fn judge(files: &[File], rooms: &[&[&str]], exceptions: &[Exception]) -> Vec<Finding> {
    let modules = source::modules(ROOT, files);
    let Some((root, modules)) = modules.split_first() else {
        return vec![Finding::new(ROOT, "the crate has no root", format!("name its place in {TABLE}"))];
    };
    let crate_root = Root::of(root, modules);
    let floor = |room: &str| rooms.iter().position(|rooms| rooms.contains(&room));
    let mut findings = crate_root.unknown(rooms);
    let mut used = vec![false; exceptions.len()];
    for module in modules.iter().filter(|module| !module.is_test) {
        for path in uses(module) {
            let to = match crate_root.resolve(&module.path, &path.names) {
                Target::Elsewhere => continue,
                Target::Root(finding) => {
                    findings.push(finding.at(&module.file.path, path.line));
                    continue;
                }
                Target::Module(to) => to,
            };
            let (own, other) = (module.path[0].as_str(), to[0].as_str());
            let (Some(here), Some(there)) = (floor(own), floor(other)) else { continue };
            if own == other || here < there {
                continue;
            }
            let (from, to) = (module.name(), to.join("::"));
            let excepted =
                exceptions.iter().position(|it| is_within(&from, it.from) && is_within(&to, it.to));
            if let Some(excepted) = excepted {
                used[excepted] = true;
                continue;
            }
            let place = if here == there { "beside" } else { "above" };
            findings.push(
                Finding::new(
                    &module.file.path,
                    format!("{own} imports `{to}`, and {other} is {place} it"),
                    format!(
                        "move what both need to a room below, or hand it in as a value; the rooms are in {TABLE}"
                    ),
                )
                .at(path.line),
            );
        }
    }
    let stale = exceptions.iter().zip(used).filter(|(_, used)| !used);
    findings.extend(stale.map(|(exception, _)| {
        let what = format!("nothing in {} imports {} any more", exception.from, exception.to);
        Finding::new(TABLE, what, format!("take the exception out; it was for this: {}", exception.reason))
    }));
    findings.sort_by(|a, b| (&a.path, a.line, &a.what).cmp(&(&b.path, b.line, &b.what)));
    findings.dedup();
    findings
}

/// The paths in a module's own code. Macros that are exported name the root of the crate because they are used elsewhere.
fn uses(module: &Module<'_>) -> Vec<Path> {
    let is_ours = |item: &&Item| !is_exported_macro(item);
    let code = module.items.iter().filter(is_ours).map(source::shipped);
    let mut paths: Vec<_> = code.flat_map(source::paths).collect();
    for path in &mut paths {
        if path.names[0] == "$crate" {
            "crate".clone_into(&mut path.names[0]);
        }
    }
    paths
}

fn is_exported_macro(item: &Item) -> bool {
    matches!(item, Item::Macro(item)
        if item.attrs.iter().any(|attribute| attribute.path().is_ident("macro_export")))
}

/// Whether a path is another, or something in it.
fn is_within(path: &str, whole: &str) -> bool {
    path.strip_prefix(whole).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// Where a path leads.
enum Target {
    /// To another crate, to the prelude, or to something near.
    Elsewhere,
    Module(Vec<String>),
    /// To a name of the crate's root.
    Root(Shortcut),
}

/// A name that is imported from the root, and where it is defined.
struct Shortcut {
    name: String,
    defined: Option<String>,
}

impl Shortcut {
    fn at(self, file: &str, line: usize) -> Finding {
        let remedy = self.defined.map_or_else(
            || "give it a room, and import it from there".to_owned(),
            |path| format!("import it from where it is defined: `{path}`"),
        );
        let what = format!("`crate::{}` is imported from the root of the crate", self.name);
        Finding::new(file, what, remedy).at(line)
    }
}

/// What stands at the root of the crate.
struct Root {
    /// The modules and their lines.
    modules: BTreeMap<String, usize>,
    /// The modules that have the macros which are exported, by their names.
    macros: BTreeMap<String, Vec<String>>,
    /// What is exported from elsewhere, by its name here.
    exports: BTreeMap<String, String>,
}

impl Root {
    fn of(root: &Module<'_>, modules: &[Module<'_>]) -> Self {
        let mut exports = BTreeMap::new();
        let mut rooms = BTreeMap::new();
        for item in root.items {
            match item {
                Item::Mod(module) => {
                    rooms.insert(module.ident.to_string(), module.ident.span().start().line);
                }
                Item::Use(_) => {
                    for path in source::paths(item.to_token_stream()) {
                        let Some(alias) = &path.alias else { continue };
                        exports.insert(alias.clone(), path.text());
                    }
                }
                _ => {}
            }
        }
        let mut macros = BTreeMap::new();
        for module in modules {
            let exported = module.items.iter().filter(|item| is_exported_macro(item));
            macros.extend(exported.filter_map(|item| match item {
                Item::Macro(item) => Some((item.ident.as_ref()?.to_string(), module.path.clone())),
                _ => None,
            }));
        }
        for path in exports.values_mut() {
            let first = path.split("::").next().unwrap_or_default();
            if rooms.contains_key(first) {
                *path = format!("crate::{path}");
            }
        }
        Self { modules: rooms, macros, exports }
    }

    /// Rooms that the list does not have, and rooms of the list that are not there.
    fn unknown(&self, rooms: &[&[&str]]) -> Vec<Finding> {
        let listed = || rooms.iter().copied().flatten();
        let new = self.modules.iter().filter(|(room, _)| listed().all(|known| known != room));
        let new = new.map(|(room, line)| {
            let remedy = format!("say in {TABLE} and in ARCHITECTURE.md which rooms it may import");
            Finding::new(ROOT, format!("`{room}` is none of the rooms"), remedy).at(*line)
        });
        let gone = listed().filter(|room| !self.modules.contains_key(**room));
        let gone = gone.map(|room| Finding::new(TABLE, format!("there is no room `{room}`"), "take it out"));
        new.chain(gone).collect()
    }

    /// Where `path` leads that stands in the module `from`.
    fn resolve(&self, from: &[String], path: &[String]) -> Target {
        let supers = path.iter().take_while(|name| *name == "super").count();
        let base = match path[0].as_str() {
            "crate" => &from[..0],
            "super" => &from[..from.len().saturating_sub(supers)],
            _ => return Target::Elsewhere,
        };
        let full = [base, &path[supers.max(1)..]].concat();
        let Some(first) = full.first() else { return Target::Elsewhere };
        if self.modules.contains_key(first) {
            return Target::Module(full);
        }
        match self.macros.get(first) {
            Some(module) => Target::Module([module, &full[..]].concat()),
            None => Target::Root(Shortcut { name: first.clone(), defined: self.exports.get(first).cloned() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUSE: &[&[&str]] = &[&["facade"], &["left", "right"], &["base"]];

    fn whats(files: &[(&str, &str)], exceptions: &[Exception]) -> Vec<String> {
        let lib = "mod facade; mod left; mod right;\nmod base;\npub use base::{Error, thing::{self, Thing as Renamed}};\n\
                   pub use other::Foreign;";
        let bare = ["facade", "left", "right", "base"].map(|room| (format!("stent/src/{room}.rs"), ""));
        let bare = bare.iter().map(|(path, text)| (path.as_str(), *text));
        let missing = bare.filter(|(path, _)| files.iter().all(|(own, _)| own != path));
        let root = files.iter().all(|(path, _)| *path != ROOT).then_some((ROOT, lib));
        let files = files.iter().copied().chain(missing).chain(root);
        let files: Vec<_> = files.map(|(path, text)| File::new(path, text)).collect();
        let told =
            |finding: Finding| format!("{}:{}: {}", finding.path, finding.line.unwrap_or(0), finding.what);
        judge(&files, HOUSE, exceptions).into_iter().map(told).collect()
    }

    #[test]
    fn arrows_down_pass_however_they_are_written() {
        let left = "use crate::base::Thing;\nuse super::base;\nmod own { use super::super::base::x; use super::y; }\n\
                    fn f(own: own::Y) -> crate::base::Thing { crate::left::g(std::mem::take(own)) }";
        assert_eq!(whats(&[("stent/src/left.rs", left)], &[]), [""; 0]);
    }

    #[test]
    fn an_arrow_up_is_found_with_its_line() {
        let up = |line| format!("stent/src/base.rs:{line}: base imports `left::Thing`, and left is above it");
        for (line, text) in [
            (2, "\nuse crate::{left::Thing};"),
            (1, "use super::left::Thing as T;"),
            (1, "fn f() -> crate::left::Thing {}"),
            (2, "fn f() {\n    use crate::left::Thing;\n}"),
            (1, "fn f() { println!(\"{}\", crate::left::Thing) }"),
            (2, "macro_rules! m { () => {\n $crate::left::Thing } }"),
            (2, "mod own {\n fn f(_: super::super::left::Thing) {} }"),
        ] {
            assert_eq!(whats(&[("stent/src/base.rs", text)], &[]), [up(line)], "{text}");
        }
        let deep = [("stent/src/base.rs", "mod deep;"), ("stent/src/base/deep.rs", "use crate::left::*;")];
        assert_eq!(
            whats(&deep, &[]),
            ["stent/src/base/deep.rs:1: base imports `left::*`, and left is above it"]
        );
    }

    #[test]
    fn an_arrow_between_siblings_is_found() {
        let found = whats(&[("stent/src/left.rs", "use crate::right::Thing;")], &[]);
        assert_eq!(found, ["stent/src/left.rs:1: left imports `right::Thing`, and right is beside it"]);
    }

    #[test]
    fn a_name_of_the_root_is_found_and_told_its_definition() {
        let found = whats(&[("stent/src/left.rs", "use crate::{Error, Renamed};\nuse super::Foreign;")], &[]);
        let at_root = |line, name| {
            format!("stent/src/left.rs:{line}: `crate::{name}` is imported from the root of the crate")
        };
        assert_eq!(found, [at_root(1, "Error"), at_root(1, "Renamed"), at_root(2, "Foreign")]);

        let shortcut = Shortcut { name: "Error".into(), defined: Some("crate::base::Error".into()) };
        assert!(shortcut.at("a.rs", 1).remedy.ends_with("`crate::base::Error`"));
    }

    #[test]
    fn a_room_that_nobody_has_placed_and_one_that_is_gone_are_found() {
        let lib = "mod facade;\nmod left;\nmod right;\nmod cellar;";
        let found = whats(&[(ROOT, lib)], &[]);
        assert_eq!(
            found,
            [
                "stent/src/lib.rs:4: `cellar` is none of the rooms",
                "xtask/src/tidy/rooms.rs:0: there is no room `base`"
            ]
        );
    }

    #[test]
    fn an_exception_holds_for_its_arrow_and_no_longer_than_that() {
        let exceptions = [Exception { from: "base::deep", to: "left::Thing", reason: "a test" }];
        let deep = |text| [("stent/src/base.rs", "mod deep;"), ("stent/src/base/deep.rs", text)];

        assert_eq!(whats(&deep("use crate::left::Thing;"), &exceptions), [""; 0]);
        assert_eq!(
            whats(&deep("use crate::left::Thinner;"), &exceptions),
            [
                "stent/src/base/deep.rs:1: base imports `left::Thinner`, and left is above it",
                "xtask/src/tidy/rooms.rs:0: nothing in base::deep imports left::Thing any more"
            ]
        );
    }

    #[test]
    fn tests_documentation_and_exported_macros_are_exempt() {
        let base = "//! [`Thing`](crate::left::Thing)\n#[cfg(test)]\nmod tests { use crate::left::Thing; }\n\
                    #[cfg(test)]\nuse crate::left::Thing;\nstruct S;\n\
                    impl S {\n #[cfg(test)]\n fn f() -> crate::left::Thing {} }\n\
                    #[macro_export]\nmacro_rules! m { () => { $crate::left::Thing } }\nfn f() { crate::m!() }";
        assert_eq!(whats(&[("stent/src/base.rs", base)], &[]), [""; 0]);
    }
}
