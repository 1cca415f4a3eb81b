//! Parses Rust sources: paths, attributes, modules and tests, each with its location. Knows no rule.
//!
//! It walks the tokens of a file that `syn` has parsed. It uses tokens, because rules about paths must also see the paths in
//! macro calls, whose arguments are only tokens for `syn`, as for the compiler.

use proc_macro2::{Delimiter, Group, Ident, Spacing, TokenStream, TokenTree};
use quote::ToTokens;
use syn::ext::IdentExt;
use syn::punctuated::Punctuated;
use syn::token::Comma;
use syn::{Expr, ExprLit, Lit, Meta};

use super::checkout::File;
use super::links;

/// A piece of a file.
pub(super) struct Piece {
    /// The enclosing modules, without those of the file itself.
    pub(super) module: Vec<String>,
    pub(super) line: usize,
    /// Whether it is compiled into this crate for its users: neither a test nor in a macro that other crates use.
    pub(super) is_shipped: bool,
    pub(super) what: What,
}

pub(super) enum What {
    Path(Path),
    /// An attribute, also within `cfg_attr`, and its string if it is `name = "string"`.
    Attribute {
        name: String,
        value: Option<String>,
    },
    /// A module, with the files that `#[path]` names, and whether its content is in a file of its own.
    Module {
        name: String,
        paths: Vec<String>,
        has_file: bool,
    },
    /// A function that a test runner runs.
    Test(String),
}

/// A path in code, or a path that an import contains: `use std::{fs, io::Read}` has `std::fs` and
/// `std::io::Read`.
pub(super) struct Path {
    /// Its names, without `r#`, and with `crate` for `$crate`. `*` means all names of a module, and `$` a name that only the
    /// use of a macro defines.
    pub(super) names: Vec<String>,
    /// Whether a macro of this name is used: `name!(…)`.
    pub(super) is_macro: bool,
    /// The name that an import gives it here.
    pub(super) alias: Option<String>,
}

impl Path {
    pub(super) fn text(&self) -> String {
        self.names.join("::")
    }
}

/// A piece of a crate: the module and the file that it is in.
pub(super) struct Found<'a> {
    pub(super) module: Vec<String>,
    pub(super) file: &'a File,
    pub(super) is_shipped: bool,
    pub(super) piece: &'a Piece,
}

/// The pieces of the crate whose root is at `root`, in all of its files. A file that is missing, or is not Rust, has none.
pub(super) fn of_crate<'a>(root: &str, files: &'a [File]) -> Vec<Found<'a>> {
    let mut found = Vec::new();
    of_file(root, folder_of(root), &[], true, files, &mut found);
    found
}

/// Collects the pieces of the module in the file at `path`. The files of its own modules are in `folder`.
fn of_file<'a>(
    path: &str,
    folder: &str,
    module: &[String],
    is_shipped: bool,
    files: &'a [File],
    found: &mut Vec<Found<'a>>,
) {
    let Some(file) = files.iter().find(|file| file.path == path) else { return };
    for piece in file.pieces().unwrap_or_default() {
        let (is_shipped, around) = (is_shipped && piece.is_shipped, [module, &piece.module].concat());
        if let What::Module { name, paths, has_file: true } = &piece.what {
            let inner = [&around[..], std::slice::from_ref(name)].concat();
            let beside =
                [&[folder.to_owned()], &piece.module[..], std::slice::from_ref(name)].concat().join("/");
            for path in paths.iter().filter_map(|path| links::resolve(&file.path, path)) {
                of_file(&path, folder_of(&path), &inner, is_shipped, files, found);
            }
            for path in [format!("{beside}.rs"), format!("{beside}/mod.rs")] {
                of_file(&path, &beside, &inner, is_shipped, files, found);
            }
        }
        found.push(Found { module: around, file, is_shipped, piece });
    }
}

fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// The pieces of a file.
pub(super) fn pieces(file: &syn::File) -> Vec<Piece> {
    let mut pieces = Vec::new();
    Walk { pieces: &mut pieces, module: Vec::new(), is_shipped: true, tests: Tests::Marked }
        .walk(file.to_token_stream());
    pieces
}

/// Which functions are tests.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tests {
    Marked,
    All,
    None,
}

/// The macro that makes a test for each store of every function in it.
const EVERY_STORE: &str = "on_every_store";

/// Strings of these attributes are not code.
const PROSE: &[&str] =
    &["doc", "allow", "expect", "deprecated", "must_use", "error", "cfg", "path", "ignore"];

/// Keywords of items, which end with a semicolon or a block and may contain commas before that.
const ITEMS: &[&str] = &["fn", "struct", "enum", "impl", "trait", "type", "const", "static", "union", "let"];

struct Walk<'a> {
    pieces: &'a mut Vec<Piece>,
    module: Vec<String>,
    is_shipped: bool,
    tests: Tests,
}

impl Walk<'_> {
    fn walk(&mut self, code: TokenStream) {
        let tokens: Vec<TokenTree> = code.into_iter().collect();
        // The attributes of the current item or field, and whether it is an item, which may contain commas.
        let (mut attributes, mut is_item) = (Vec::<Meta>::new(), None);
        let outer = self.is_shipped;
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            let rest = &tokens[at + 1..];
            let mut has_ended = false;
            match token {
                TokenTree::Punct(sign) if sign.as_char() == '#' => match rest {
                    [TokenTree::Group(group), ..] => {
                        attributes.extend(self.attribute(group));
                        self.is_shipped = outer && !attributes.iter().any(is_for_others);
                    }
                    [bang, TokenTree::Group(group), ..] if is_punct(bang, '!') => {
                        drop(self.attribute(group));
                        at += 1;
                    }
                    _ => {}
                },
                TokenTree::Group(group) => {
                    let inner = self.tests_after(&tokens[..at]);
                    let outer = std::mem::replace(&mut self.tests, inner);
                    self.walk(group.stream());
                    self.tests = outer;
                    has_ended = group.delimiter() == Delimiter::Brace;
                }
                TokenTree::Ident(word) if word == "mod" && matches!(rest, [TokenTree::Ident(_), ..]) => {
                    at += self.module(&rest[0], rest.get(1), &attributes) + 1;
                    has_ended = true;
                }
                TokenTree::Ident(word)
                    if word == "use" && !rest.first().is_some_and(|it| is_punct(it, '<')) =>
                {
                    let end = rest.iter().position(|token| is_punct(token, ';')).unwrap_or(rest.len());
                    self.import(&rest[..end], &[]);
                    (at, has_ended) = (at + end, true);
                }
                TokenTree::Ident(word) if word == "crate" && at > 0 && is_word(&tokens[at - 1], "extern") => {
                    self.path_at(token, vec!["extern crate".into()], false, None);
                }
                TokenTree::Ident(word) => {
                    is_item = is_item.or(ITEMS.iter().any(|item| word == item).then_some(true));
                    if let (true, [TokenTree::Ident(name), ..]) =
                        (word == "fn" && self.is_test(&attributes), rest)
                    {
                        self.push(name.span().start().line, What::Test(name.unraw().to_string()));
                    }
                    at += self.path(&tokens, at);
                }
                TokenTree::Punct(sign) => match sign.as_char() {
                    ':' => is_item = is_item.or(Some(false)),
                    sign => has_ended = sign == ';' || sign == ',' && is_item != Some(true),
                },
                TokenTree::Literal(_) => {}
            }
            if has_ended {
                attributes.clear();
                (is_item, self.is_shipped) = (None, outer);
            }
            at += 1;
        }
        self.is_shipped = outer;
    }

    /// Which functions are tests in the group that follows.
    fn tests_after(&self, before: &[TokenTree]) -> Tests {
        match before {
            [.., word, bang] if is_punct(bang, '!') && is_word(word, EVERY_STORE) => Tests::All,
            [.., word, bang, _] if is_punct(bang, '!') && is_word(word, "macro_rules") => Tests::None,
            _ if self.tests == Tests::All => Tests::Marked,
            _ => self.tests,
        }
    }

    fn push(&mut self, line: usize, what: What) {
        self.pieces.push(Piece { module: self.module.clone(), line, is_shipped: self.is_shipped, what });
    }

    fn path_at(&mut self, token: &TokenTree, names: Vec<String>, is_macro: bool, alias: Option<String>) {
        self.push(token.span().start().line, What::Path(Path { names, is_macro, alias }));
    }

    /// Reads the brackets of an attribute, and returns the attributes that it contains.
    fn attribute(&mut self, group: &Group) -> Vec<Meta> {
        let Ok(meta) = syn::parse2::<Meta>(group.stream()) else { return Vec::new() };
        let line = group.span_open().start().line;
        let metas = flat(meta);
        for meta in &metas {
            let name = meta.path().to_token_stream().to_string();
            if !PROSE.contains(&name.as_str()) {
                self.strings(meta.to_token_stream(), line);
            }
            self.push(line, What::Attribute { name, value: value(meta) });
        }
        metas
    }

    /// Reads the strings of an attribute as code: `#[serde(with = "crate::units")]`.
    fn strings(&mut self, code: TokenStream, line: usize) {
        for token in code {
            match token {
                TokenTree::Group(group) => self.strings(group.stream(), line),
                TokenTree::Literal(literal) => {
                    if let Lit::Str(text) = Lit::new(literal)
                        && let Ok(code) = text.value().parse()
                    {
                        let before = self.pieces.len();
                        self.walk(code);
                        self.pieces[before..].iter_mut().for_each(|piece| piece.line = line);
                    }
                }
                _ => {}
            }
        }
    }

    /// Reads a module; returns 1 if it has read the braces after the module's name.
    fn module(&mut self, name: &TokenTree, after: Option<&TokenTree>, attributes: &[Meta]) -> usize {
        let (name, line) = (unraw(name), name.span().start().line);
        let paths = attributes.iter().filter(|meta| meta.path().is_ident("path"));
        let paths = paths.filter_map(value).collect();
        let has_file = !matches!(after, Some(TokenTree::Group(_)));
        self.push(line, What::Module { name: name.clone(), paths, has_file });
        let Some(TokenTree::Group(content)) = after else { return 0 };
        self.module.push(name);
        self.walk(content.stream());
        self.module.pop();
        1
    }

    /// Whether a function with these attributes is a test.
    fn is_test(&self, attributes: &[Meta]) -> bool {
        let last = |meta: &Meta| meta.path().segments.last().map(|segment| segment.ident.to_string());
        let is_marked = || attributes.iter().any(|meta| last(meta).is_some_and(|name| name == "test"));
        self.tests == Tests::All || self.tests == Tests::Marked && is_marked()
    }

    /// Reads the trees of an import, which are below the names in `before`.
    fn import(&mut self, trees: &[TokenTree], before: &[String]) {
        for tree in trees.split(|token| is_punct(token, ',')) {
            let Some(first) = tree.first() else { continue };
            let (mut names, mut alias, mut is_whole) = (before.to_vec(), None, true);
            let mut tokens = tree.iter();
            while let Some(token) = tokens.next() {
                match token {
                    TokenTree::Ident(word) if word == "as" => alias = tokens.next().map(unraw),
                    TokenTree::Punct(sign) if sign.as_char() == '*' => names.push("*".into()),
                    TokenTree::Punct(sign) if sign.as_char() == '$' => {
                        names.push(tokens.next().map_or_else(String::new, of_macro));
                    }
                    TokenTree::Ident(_) => names.push(unraw(token)),
                    TokenTree::Group(group) => {
                        let inner: Vec<_> = group.stream().into_iter().collect();
                        self.import(&inner, &names);
                        is_whole = false;
                    }
                    _ => {}
                }
            }
            if is_whole {
                // `use std::fs::{self}` imports `std::fs`.
                if names.len() > 1 && names.last().is_some_and(|name| name == "self") {
                    names.pop();
                }
                let alias = alias.or_else(|| names.last().cloned()).filter(|alias| alias != "*");
                self.path_at(first, names, false, alias);
            }
        }
    }

    /// Reads the path that begins at `start`; returns the number of its further tokens.
    fn path(&mut self, tokens: &[TokenTree], start: usize) -> usize {
        let word = &tokens[start];
        let is_keyword = syn::parse2::<Ident>(word.to_token_stream()).is_err();
        if is_keyword && !["crate", "self", "super", "Self"].iter().any(|root| is_word(word, root)) {
            return 0;
        }
        let mut names = vec![unraw(word)];
        let mut at = start;
        while is_double_colon(&tokens[at + 1..]) {
            match &tokens[at + 3..] {
                [TokenTree::Ident(next), ..] => names.push(next.unraw().to_string()),
                [sign, name, ..] if is_punct(sign, '$') => {
                    names.push(of_macro(name));
                    at += 1;
                }
                _ => break,
            }
            at += 3;
        }
        let is_macro = matches!(&tokens[at + 1..], [bang, TokenTree::Group(_), ..] if is_punct(bang, '!'));
        self.path_at(word, names, is_macro, None);
        at - start
    }
}

/// Whether an item with this attribute is for tests, or a macro for other crates.
fn is_for_others(meta: &Meta) -> bool {
    let text: String = meta.to_token_stream().to_string().split_whitespace().collect();
    text == "cfg(test)" || text.starts_with("cfg(all(test,") || text.starts_with("macro_export")
}

/// The string of `name = "string"`.
fn value(meta: &Meta) -> Option<String> {
    match meta {
        Meta::NameValue(meta) => match &meta.value {
            Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(text.value()),
            _ => None,
        },
        _ => None,
    }
}

/// An attribute, or the attributes within a `cfg_attr`.
fn flat(meta: Meta) -> Vec<Meta> {
    match &meta {
        Meta::List(list) if list.path.is_ident("cfg_attr") => {
            let parsed = list.parse_args_with(Punctuated::<Meta, Comma>::parse_terminated);
            parsed.into_iter().flatten().skip(1).flat_map(flat).collect()
        }
        _ => vec![meta],
    }
}

fn unraw(token: &TokenTree) -> String {
    token.to_string().trim_start_matches("r#").to_owned()
}

/// The name after a `$`.
fn of_macro(name: &TokenTree) -> String {
    if is_word(name, "crate") { "crate".into() } else { "$".into() }
}

fn is_punct(token: &TokenTree, sign: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == sign)
}

fn is_word(token: &TokenTree, name: &str) -> bool {
    matches!(token, TokenTree::Ident(word) if word == name)
}

fn is_double_colon(tokens: &[TokenTree]) -> bool {
    matches!(tokens, [TokenTree::Punct(first), TokenTree::Punct(second), ..]
        if first.as_char() == ':' && first.spacing() == Spacing::Joint && second.as_char() == ':')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every path of more than one name, by line and module.
    fn paths(text: &str) -> String {
        let pieces = pieces(&syn::parse_file(text).expect("it is Rust"));
        let path = |piece: &Piece| match &piece.what {
            What::Path(path) if path.names.len() > 1 && piece.is_shipped => {
                Some(format!("{}{} {}", piece.line, piece.module.join("/"), path.text()))
            }
            _ => None,
        };
        pieces.iter().filter_map(path).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn paths_are_read_however_they_are_written() {
        for (text, found) in [
            (
                "const A: &str = \"a::b\"; // a::b\n/* a::b /* a::b */ */ const B: char = '\"';\n/// a::b\nfn f() { c::d }",
                "4 c::d",
            ),
            (
                "use a::{b as c, d::{self, E}};\npub(crate) use ::f::g::*;",
                "1 a::b, 1 a::d, 1 a::d::E, 2 f::g::*",
            ),
            ("fn f() { a::b::<c::D>(\n  e!(f, crate::g::h)) }", "1 a::b, 1 c::D, 2 crate::g::h"),
            ("fn f() -> impl T + use<'a> { j::k }", "1 j::k"),
            (
                "macro_rules! m { ($a:ident) => { $crate::b; use crate::{$a}; crate::$a::c } }",
                "1 crate::b, 1 crate::$, 1 crate::$::c",
            ),
            ("fn f() { mod m { use super::a; } use b::c; }", "1m super::a, 1 b::c"),
            ("#[serde(with = \"a::b\")] #[doc = \"c::d\"] #[tool(\"e::f\")] struct S;", "1 a::b, 1 e::f"),
        ] {
            assert_eq!(paths(text), found, "{text}");
        }
    }

    #[test]
    fn code_for_tests_and_for_other_crates_is_not_shipped() {
        let text = "#[cfg(test)]\nuse a::{b, c};\n#[cfg(not(test))]\nuse a::c;\n#[cfg(all(test, unix))]\nfn d() { a::d }\n\
                    impl E {\n#[cfg(test)]\nfn f<A, B>() { a::f }\nfn g() { a::g } }\n#[macro_export]\nmacro_rules! m { () => { a::m } }\n\
                    struct S {\n#[cfg(test)]\nx: *const a::x,\ny: a::y }\n#[cfg(test)] mod t { use a::t; }";
        assert_eq!(paths(text), "4 a::c, 10 a::g, 16 a::y");
    }

    #[test]
    fn modules_are_found_where_the_compiler_finds_them() {
        let files = [
            (
                "a/src/lib.rs",
                "mod b; mod c { mod d; }\n#[cfg_attr(unix, path = \"../elsewhere/e.rs\")]\nmod e;",
            ),
            ("a/src/b.rs", "#[cfg(test)]\nmod f;"),
            ("a/src/b/f/mod.rs", "mod g;"),
            ("a/src/b/f/g.rs", "x!(g);"),
            ("a/src/c/d.rs", "x!(d);"),
            ("a/src/e.rs", "x!(e);"),
            ("a/elsewhere/e.rs", "mod h;"),
            ("a/elsewhere/h.rs", "x!(h);"),
            ("a/src/nobodys.rs", "x!(nobodys);"),
        ];
        let files = files.map(|(path, text)| File::new(path, text));
        let found = of_crate("a/src/lib.rs", &files);
        let found =
            found.iter().filter(|found| matches!(&found.piece.what, What::Path(path) if path.is_macro));
        let found: Vec<_> = found.map(|found| (found.module.join("::"), found.is_shipped)).collect();
        let expected = [("b::f::g", false), ("c::d", true), ("e::h", true), ("e", true)];
        assert_eq!(found, expected.map(|(name, is_shipped)| (name.to_owned(), is_shipped)));
    }
}
