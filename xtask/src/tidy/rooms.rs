//! Imports between the rooms of `stent` point down, and come from where a thing is defined.
//!
//! A room is a module that `stent/src/lib.rs` declares, with all that is in it. The list below says which rooms there are;
//! an import may only lead to a room further down. Code that hides where an import leads is a finding too: another name
//! for the root of the crate, `include!`, and a `#[path]` out of the folder of a room.
//!
//! Code that is compiled for tests only is exempt: a unit test may start a whole `Stent` to see one part of it, and no
//! user's build has that arrow. So is what documentation links to.

use std::collections::BTreeMap;

use quote::ToTokens;
use syn::Item;
use syn::ext::IdentExt;

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
    for module in std::iter::once(root).chain(modules).filter(|module| !module.is_test) {
        findings.extend(foreign_files(module));
        for path in uses(module) {
            if is_include(&path) {
                let what = "`include!` brings in code of another file";
                let remedy = "make it a module, and import from it";
                findings.push(Finding::new(&module.file.path, what, remedy).at(path.line));
                continue;
            }
            let to = match crate_root.resolve(&module.path, &path) {
                Target::Crate(what) => {
                    let remedy = "name the module through `crate::`";
                    findings.push(Finding::new(&module.file.path, what, remedy).at(path.line));
                    continue;
                }
                // The root exports from every room.
                _ if module.path.is_empty() => continue,
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

fn is_include(path: &Path) -> bool {
    let is_imported = || path.names.len() == 2 && ["std", "core"].contains(&path.names[0].as_str());
    path.names.last().is_some_and(|name| name == "include") && (path.is_macro || is_imported())
}

/// A finding for each `#[path]` that leads out of the folder of its room.
fn foreign_files(module: &Module<'_>) -> Vec<Finding> {
    let source = ROOT.trim_end_matches("lib.rs");
    let file = module.file.path.strip_prefix(source).unwrap_or(&module.file.path);
    let is_own = |path: &str| {
        let goes_down = !path.starts_with('/') && path.split('/').all(|part| part != "..");
        // The root and the rooms' own files lie beside each other: a path from there begins among the rooms.
        let is_in_room = match file.strip_suffix(".rs") {
            Some("lib") => !path.contains('/'),
            Some(room) if !room.contains('/') => path.starts_with(&format!("{room}/")),
            _ => true,
        };
        goes_down && is_in_room
    };
    let attributes = module.items.iter().flat_map(source::shipped_attributes);
    let foreign = attributes.filter_map(|(line, meta)| {
        let path = source::path_attribute(&meta).filter(|path| !is_own(path))?;
        let what = format!("the file of a module, `{path}`, lies outside the folder of its room");
        Some(Finding::new(&module.file.path, what, "move the file into the folder of the room").at(line))
    });
    foreign.collect()
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
    /// To the crate's root, under a name that hides where paths lead. The text is the finding.
    Crate(String),
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
                Item::Mod(module) if !source::is_for_tests(&module.attrs) => {
                    rooms.insert(module.ident.unraw().to_string(), module.ident.span().start().line);
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
    fn resolve(&self, from: &[String], path: &Path) -> Target {
        let text = path.text();
        if path.is_absolute {
            return if path.names[0] == "stent" {
                Target::Crate(format!("`::{text}` names the crate as other crates do"))
            } else {
                Target::Elsewhere
            };
        }
        let rest = path.names.strip_prefix(&["self".to_owned()]).unwrap_or(&path.names);
        let supers = rest.iter().take_while(|name| *name == "super").count();
        let (base, rest) = match path.names[0].as_str() {
            "crate" => (&from[..0], &rest[1..]),
            "self" | "super" => (&from[..from.len().saturating_sub(supers)], &rest[supers..]),
            _ => return Target::Elsewhere,
        };
        let full = [base, rest].concat();
        let Some(first) = full.first() else {
            return path.alias.as_ref().map_or(Target::Elsewhere, |alias| {
                Target::Crate(format!("`{text}` is the root of the crate, and is called `{alias}` here"))
            });
        };
        if first == "$" {
            return Target::Crate(format!("which room `{text}` leads to depends on the use of a macro"));
        }
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

    fn in_deep(text: &str) -> Vec<String> {
        whats(&[("stent/src/base.rs", "mod deep;"), ("stent/src/base/deep.rs", text)], &[])
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
    fn an_arrow_up_through_self_and_raw_names_is_found() {
        for text in [
            "use self::super::super::left::Thing;",
            "fn f(_: self::super::super::left::Thing) {}",
            "use self::super::super::{left::Thing};",
            "use crate::r#left::Thing;",
            "use super::super::r#left::r#Thing;",
            "macro_rules! m { () => { use $crate::{left::Thing}; } }",
        ] {
            let up = "stent/src/base/deep.rs:1: base imports `left::Thing`, and left is above it";
            assert_eq!(in_deep(text), [up], "{text}");
        }
        assert_eq!(
            in_deep("use self::super::super::base::x; fn f(self) { self.g(self::y, super::z) }"),
            [""; 0]
        );
    }

    #[test]
    fn another_name_for_the_root_is_found() {
        let called = |text, alias| format!("`{text}` is the root of the crate, and is called `{alias}` here");
        let outside = |path| format!("`{path}` names the crate as other crates do");
        for (text, what) in [
            ("use crate as root;", called("crate", "root")),
            ("use crate::{self as root};", called("crate", "root")),
            ("use super::super as up;", called("super::super", "up")),
            ("use self::super::super as up;", called("self::super::super", "up")),
            ("use super::{super::{self as up}};", called("super::super", "up")),
            ("fn f() { use crate as root; }", called("crate", "root")),
            ("macro_rules! m { () => { use $crate as root; } }", called("crate", "root")),
            ("extern crate self as stent;", called("crate", "stent")),
            ("extern crate stent as other;", outside("::stent")),
            ("use ::stent::Thing;", outside("::stent::Thing")),
            ("fn f() -> ::stent::Thing { g() }", outside("::stent::Thing")),
            ("fn f() { return ::stent::Thing }", outside("::stent::Thing")),
        ] {
            assert_eq!(in_deep(text), [format!("stent/src/base/deep.rs:1: {what}")], "{text}");
        }
        let fine = "pub(super) fn f() {} pub(crate) use super as base; use super::deep as me; use ::std::fs;\n\
                    fn g() { T::<u8>::stent() }";
        assert_eq!(in_deep(fine), [""; 0]);

        let root = "extern crate self as stent;\nmod facade; mod left; mod right; mod base; use left::Thing;";
        assert_eq!(whats(&[(ROOT, root)], &[]), [format!("{ROOT}:1: {}", called("crate", "stent"))]);
    }

    #[test]
    fn a_module_that_only_the_use_of_a_macro_names_is_found() {
        for (text, path) in [
            ("macro_rules! m { ($a:ident) => { crate::$a::Thing } }", "crate::$"),
            ("macro_rules! m { ($a:ident) => { use super::super::$a; } }", "super::super::$"),
        ] {
            let what = format!("which room `{path}` leads to depends on the use of a macro");
            assert_eq!(in_deep(text), [format!("stent/src/base/deep.rs:1: {what}")], "{text}");
        }
    }

    #[test]
    fn an_arrow_up_in_an_attribute_of_serde_is_found() {
        for attribute in [
            "serde(default, with = \"crate::left::Thing\")",
            "serde(bound(serialize = \"T: super::super::left::Thing\"))",
            "cfg_attr(feature = \"x\", serde(with = \"crate::left::Thing\"))",
        ] {
            let text = format!("struct S {{\n #[{attribute}]\n field: u8 }}");
            let up = "stent/src/base/deep.rs:2: base imports `left::Thing`, and left is above it";
            assert_eq!(in_deep(&text), [up], "{text}");
        }
        let fine = "#[serde(rename_all = \"snake_case\", default = \"crate::base::x\")]\n\
                    #[expect(dead_code, reason = \"crate::left::Thing\")] struct S;";
        assert_eq!(in_deep(fine), [""; 0]);
    }

    #[test]
    fn code_from_a_file_of_another_room_is_found() {
        let what = "`include!` brings in code of another file";
        for text in
            ["include!(\"../left/port.rs\");", "fn f() { std::include! { \"x\" } }", "use std::include as i;"]
        {
            assert_eq!(in_deep(text), [format!("stent/src/base/deep.rs:1: {what}")], "{text}");
        }
        for text in [
            "#[path = \"../left/port.rs\"] mod port;",
            "#[cfg_attr(unix, path = \"../left/port.rs\")] mod port;",
            "mod own { #[path = \"../left/port.rs\"] mod port; }",
            "fn f() { #[path = \"../left/port.rs\"] mod port; }",
        ] {
            let what = "the file of a module, `../left/port.rs`, lies outside the folder of its room";
            assert_eq!(in_deep(text), [format!("stent/src/base/deep.rs:1: {what}")], "{text}");
        }
        let fine = "#[path = \"port_of_unix.rs\"] mod port; fn f() { include_str!(\"../x\"); include != 1 }";
        assert_eq!(in_deep(fine), [""; 0]);

        let beside = whats(&[("stent/src/base.rs", "#[path = \"left/port.rs\"] mod port;")], &[]);
        let what = "the file of a module, `left/port.rs`, lies outside the folder of its room";
        assert_eq!(beside, [format!("stent/src/base.rs:1: {what}")]);
        assert_eq!(whats(&[("stent/src/base.rs", "#[path = \"base/p.rs\"] mod port;")], &[]), [""; 0]);
        let root = "mod facade; mod left; mod right; #[path = \"left/port.rs\"] mod base;";
        assert_eq!(whats(&[(ROOT, root)], &[]), [format!("{ROOT}:1: {what}")]);
    }

    #[test]
    fn files_that_only_some_builds_have_are_read() {
        let base = "#[cfg_attr(unix, path = \"base/unix.rs\")]\nmod port;";
        let up = "use crate::left::Thing;";
        let files =
            [("stent/src/base.rs", base), ("stent/src/base/unix.rs", up), ("stent/src/base/port.rs", up)];
        let found = ["port", "unix"].map(|file| {
            format!("stent/src/base/{file}.rs:1: base imports `left::Thing`, and left is above it")
        });
        assert_eq!(whats(&files, &[]), found);
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
    fn a_module_for_tests_is_no_room() {
        let lib = "mod facade; mod left; mod right; mod base;\n#[cfg(test)]\nmod names_of_the_root;";
        assert_eq!(whats(&[(ROOT, lib)], &[]), [""; 0]);
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
