//! Rust sources as `syn` reads them: the modules of a crate, and the paths and attributes in code. Knows no rule.

use proc_macro2::{Delimiter, Ident, Spacing, TokenStream, TokenTree};
use quote::ToTokens;
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};
use syn::punctuated::Punctuated;
use syn::token::Comma;
use syn::{Attribute, Expr, Item, ItemExternCrate, ItemUse, Lit, Meta, UseTree};

use super::checkout::File;
use super::links;

/// A module of a crate, in a file of its own or in braces.
pub(super) struct Module<'a> {
    /// Its name, and those of the modules around it; the root has none.
    pub(super) path: Vec<String>,
    pub(super) file: &'a File,
    pub(super) items: &'a [Item],
    /// Whether it, or a module around it, is compiled for tests only.
    pub(super) is_test: bool,
}

impl Module<'_> {
    pub(super) fn name(&self) -> String {
        self.path.join("::")
    }
}

/// The modules of the crate whose root is at `root`, its root first. A file that is not there, or is no Rust, has none.
pub(super) fn modules<'a>(root: &str, files: &'a [File]) -> Vec<Module<'a>> {
    let mut found = Vec::new();
    let folder = root.rsplit_once('/').map_or("", |(folder, _)| folder);
    of_file(root, folder, Vec::new(), false, files, &mut found);
    found
}

/// Gathers the module in the file at `path`. The files of its own modules lie in `folder`.
fn of_file<'a>(
    path: &str,
    folder: &str,
    name: Vec<String>,
    is_test: bool,
    files: &'a [File],
    found: &mut Vec<Module<'a>>,
) {
    if let Some(file) = files.iter().find(|file| file.path == path)
        && let Ok(code) = file.code()
    {
        of_items(file, &code.items, folder, name, is_test, files, found);
    }
}

fn of_items<'a>(
    file: &'a File,
    items: &'a [Item],
    folder: &str,
    name: Vec<String>,
    is_test: bool,
    files: &'a [File],
    found: &mut Vec<Module<'a>>,
) {
    found.push(Module { path: name.clone(), file, items, is_test });
    for item in items {
        let Item::Mod(module) = item else { continue };
        let is_test = is_test || is_for_tests(&module.attrs);
        let word = module.ident.unraw().to_string();
        let inner = [&name[..], std::slice::from_ref(&word)].concat();
        let beside = format!("{folder}/{word}");
        if let Some((_, items)) = &module.content {
            of_items(file, items, &beside, inner, is_test, files, found);
            continue;
        }
        for (_, meta) in attributes(tokens_of(&module.attrs)) {
            let Some(path) = path_attribute(&meta) else { continue };
            let path = links::resolve(&file.path, &path).unwrap_or(path);
            let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
            of_file(&path, folder, inner.clone(), is_test, files, found);
        }
        // Behind `cfg_attr`, a path holds for some builds only, and the others look beside.
        if module.attrs.iter().all(|attribute| path_attribute(&attribute.meta).is_none()) {
            of_file(&format!("{beside}.rs"), &beside, inner.clone(), is_test, files, found);
            of_file(&format!("{beside}/mod.rs"), &beside, inner, is_test, files, found);
        }
    }
}

fn tokens_of(attributes: &[Attribute]) -> TokenStream {
    attributes.iter().map(ToTokens::to_token_stream).collect()
}

/// The file that `#[path = "file"]` names.
pub(super) fn path_attribute(meta: &Meta) -> Option<String> {
    let Meta::NameValue(meta) = meta else { return None };
    match &meta.value {
        Expr::Lit(literal) if meta.path.is_ident("path") => match &literal.lit {
            Lit::Str(text) => Some(text.value()),
            _ => None,
        },
        _ => None,
    }
}

/// The code of an item without what in it is compiled for tests only. Modules in it are not part of it.
pub(super) fn shipped(item: &Item) -> TokenStream {
    if is_for_tests(&attributes_of(item)) {
        return TokenStream::new();
    }
    let mut item = item.clone();
    match &mut item {
        Item::Mod(_) => return TokenStream::new(),
        Item::Impl(block) => block.items.retain(|item| !is_for_tests(&attributes_of(item))),
        Item::Trait(block) => block.items.retain(|item| !is_for_tests(&attributes_of(item))),
        _ => {}
    }
    item.into_token_stream()
}

/// The attributes in what is shipped of an item, with their lines. A module's own attributes are among them, those in
/// it are not.
pub(super) fn shipped_attributes(item: &Item) -> Vec<(usize, Meta)> {
    attributes(match item {
        Item::Mod(module) if !is_for_tests(&module.attrs) => tokens_of(&module.attrs),
        _ => shipped(item),
    })
}

/// The outer attributes of any piece of syntax.
pub(super) fn attributes_of(syntax: &impl ToTokens) -> Vec<Attribute> {
    let outer = |input: ParseStream<'_>| {
        let attributes = Attribute::parse_outer(input)?;
        input.parse::<TokenStream>()?;
        Ok(attributes)
    };
    outer.parse2(syntax.to_token_stream()).unwrap_or_default()
}

/// Whether `#[cfg(test)]` or `#[cfg(all(test, …))]` is among these.
pub(super) fn is_for_tests(attributes: &[Attribute]) -> bool {
    let is_test = |attribute: &Attribute| {
        let condition: String = attribute.meta.to_token_stream().to_string().split_whitespace().collect();
        condition == "cfg(test)" || condition.starts_with("cfg(all(test,")
    };
    attributes.iter().any(is_test)
}

/// A path as it stands in code, or as an import spells it out: `use std::{fs, io::Read}` has `std::fs` and
/// `std::io::Read`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Path {
    pub(super) line: usize,
    /// Its names, without `r#`. `$crate` stands for the crate of a macro, `*` for all names of a module, and `$` for a
    /// name that only the use of a macro gives.
    pub(super) names: Vec<String>,
    /// Whether it begins with the name of a crate: `::std::env`.
    pub(super) is_absolute: bool,
    /// Whether a macro of this name is used: `name!(…)`.
    pub(super) is_macro: bool,
    /// What an import calls it here.
    pub(super) alias: Option<String>,
}

impl Path {
    const fn new(line: usize, names: Vec<String>) -> Self {
        Self { line, names, is_absolute: false, is_macro: false, alias: None }
    }

    pub(super) fn text(&self) -> String {
        self.names.join("::")
    }
}

/// Every path in code, also in what macros are given, in the order of the code. After them, the paths in the strings of
/// serde's attributes: `#[serde(with = "path")]`.
pub(super) fn paths(code: TokenStream) -> Vec<Path> {
    let mut found = Vec::new();
    gather(code.clone(), &mut found);
    for (line, meta) in attributes(code) {
        if let Meta::List(list) = meta
            && list.path.is_ident("serde")
        {
            let before = found.len();
            gather_strings(list.tokens, &mut found);
            found[before..].iter_mut().for_each(|path| path.line = line);
        }
    }
    found
}

fn gather_strings(code: TokenStream, found: &mut Vec<Path>) {
    for token in code {
        match token {
            TokenTree::Group(group) => gather_strings(group.stream(), found),
            TokenTree::Literal(literal) => {
                if let Lit::Str(text) = Lit::new(literal)
                    && let Ok(code) = text.value().parse()
                {
                    gather(code, found);
                }
            }
            _ => {}
        }
    }
}

fn gather(code: TokenStream, found: &mut Vec<Path>) {
    let tokens: Vec<TokenTree> = code.into_iter().collect();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        match token {
            TokenTree::Group(group) => gather(group.stream(), found),
            TokenTree::Ident(word) if word == "use" => {
                let rest = tokens[at..].iter().position(|token| is_punct(Some(token), ';'));
                let end = rest.map_or(tokens.len(), |rest| at + rest + 1);
                let is_dollar =
                    |at: usize| is_punct(tokens.get(at), '$') && is_word(tokens.get(at + 1), "crate");
                let import = (at..end).filter(|at| !is_dollar(*at)).map(|at| tokens[at].clone()).collect();
                // `use<'a>` bounds a type, and imports nothing.
                if let Ok(import) = syn::parse2::<ItemUse>(import) {
                    let before = found.len();
                    imported(&import.tree, &mut Vec::new(), found);
                    let is_absolute = import.leading_colon.is_some();
                    found[before..].iter_mut().for_each(|path| path.is_absolute = is_absolute);
                    at = end;
                    continue;
                }
            }
            TokenTree::Ident(word) if word == "extern" && is_word(tokens.get(at + 1), "crate") => {
                let end = tokens[at..].iter().position(|token| is_punct(Some(token), ';'));
                let end = end.map_or(tokens.len(), |end| at + end + 1);
                let item: TokenStream = tokens[at..end].iter().cloned().collect();
                if let Ok(item) = syn::parse2::<ItemExternCrate>(item) {
                    let is_self = item.ident == "self";
                    let name = if is_self { "crate".into() } else { item.ident.unraw().to_string() };
                    let alias = item.rename.map_or_else(|| name.clone(), |(_, alias)| alias.to_string());
                    let line = word.span().start().line;
                    found.push(Path {
                        is_absolute: !is_self,
                        alias: Some(alias),
                        ..Path::new(line, vec![name])
                    });
                    at = end;
                    continue;
                }
            }
            TokenTree::Ident(word) => {
                let mut path = Path::new(word.span().start().line, vec![word.unraw().to_string()]);
                if word == "crate" && at > 0 && is_punct(tokens.get(at - 1), '$') {
                    "$crate".clone_into(&mut path.names[0]);
                }
                let start = at;
                while is_double_colon(&tokens[at + 1..]) && may_lead(&tokens[at]) {
                    match tokens.get(at + 3) {
                        Some(TokenTree::Ident(next)) => path.names.push(next.unraw().to_string()),
                        Some(TokenTree::Punct(sign)) if sign.as_char() == '$' => {
                            path.names.push("$".into());
                            at += 2;
                            break;
                        }
                        _ => break,
                    }
                    at += 3;
                }
                path.is_absolute = begins_with_colons(&tokens[..start], path.names.len());
                path.is_macro = is_punct(tokens.get(at + 1), '!')
                    && matches!(tokens.get(at + 2), Some(TokenTree::Group(_)));
                found.push(path);
            }
            _ => {}
        }
        at += 1;
    }
}

fn is_punct(token: Option<&TokenTree>, sign: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == sign)
}

fn is_word(token: Option<&TokenTree>, name: &str) -> bool {
    matches!(token, Some(TokenTree::Ident(word)) if word == name)
}

/// Whether a path may go on after this word: `return ::std::env::args()` has none that begins with `return`.
fn may_lead(word: &TokenTree) -> bool {
    ["crate", "self", "super", "Self"].iter().any(|name| is_word(Some(word), name))
        || syn::parse2::<Ident>(word.clone().into()).is_ok()
}

/// Whether `::` stands at the end of these, and with it begins a path of so many names. A single name after `>` is one of
/// a type's own: `T::<u8>::new`.
fn begins_with_colons(before: &[TokenTree], names: usize) -> bool {
    let [rest @ .., _, _] = before else { return false };
    is_double_colon(&before[rest.len()..]) && (names > 1 || !is_punct(rest.last(), '>'))
}

fn is_double_colon(tokens: &[TokenTree]) -> bool {
    matches!(tokens, [TokenTree::Punct(first), TokenTree::Punct(second), ..]
        if first.as_char() == ':' && first.spacing() == Spacing::Joint && second.as_char() == ':')
}

/// What an import brings, below the names that stand before it.
pub(super) fn imported(tree: &UseTree, before: &mut Vec<String>, found: &mut Vec<Path>) {
    let mut leaf = |ident: &Ident, alias: &Ident| {
        let (name, alias) = (ident.unraw().to_string(), alias.unraw().to_string());
        let mut names = before.clone();
        // `use std::fs::{self}` imports `std::fs`.
        if name != "self" || names.is_empty() {
            names.push(name);
        }
        let alias = if alias == "self" { names.last().cloned() } else { Some(alias) };
        found.push(Path { alias, ..Path::new(ident.span().start().line, names) });
    };
    match tree {
        UseTree::Path(path) => {
            before.push(path.ident.unraw().to_string());
            imported(&path.tree, before, found);
            before.pop();
        }
        UseTree::Name(name) => leaf(&name.ident, &name.ident),
        UseTree::Rename(name) => leaf(&name.ident, &name.rename),
        UseTree::Glob(glob) => {
            let names = [&before[..], &["*".to_owned()]].concat();
            let line = glob.star_token.spans[0].start().line;
            found.push(Path::new(line, names));
        }
        UseTree::Group(group) => group.items.iter().for_each(|tree| imported(tree, before, found)),
    }
}

/// Every attribute of a file, with its line: also behind `cfg_attr`, and in what macros are given, but not in what they
/// quote, which is code for somewhere else.
pub(super) fn attributes(code: TokenStream) -> Vec<(usize, Meta)> {
    let mut found = Vec::new();
    gather_attributes(code, &mut found);
    found
}

fn gather_attributes(code: TokenStream, found: &mut Vec<(usize, Meta)>) {
    let tokens: Vec<TokenTree> = code.into_iter().collect();
    for (at, token) in tokens.iter().enumerate() {
        let TokenTree::Group(group) = token else { continue };
        let before = |distance: usize| at.checked_sub(distance).and_then(|at| tokens.get(at));
        let is_inner = is_punct(before(1), '!');
        if group.delimiter() == Delimiter::Bracket && is_punct(before(if is_inner { 2 } else { 1 }), '#') {
            if let Ok(meta) = syn::parse2::<Meta>(group.stream()) {
                flatten(group.span_open().start().line, meta, found);
            }
        } else if !(is_inner
            && matches!(before(2), Some(TokenTree::Ident(name)) if quotes(&name.to_string())))
        {
            gather_attributes(group.stream(), found);
        }
    }
}

fn quotes(name: &str) -> bool {
    name.ends_with("quote") || name.ends_with("quote_spanned")
}

fn flatten(line: usize, meta: Meta, found: &mut Vec<(usize, Meta)>) {
    if meta.path().is_ident("cfg_attr") {
        let attributes = arguments(&meta).into_iter().skip(1);
        attributes.for_each(|meta| flatten(line, meta, found));
    } else {
        found.push((line, meta));
    }
}

/// What stands in an attribute's brackets.
pub(super) fn arguments(meta: &Meta) -> Vec<Meta> {
    let Meta::List(list) = meta else { return Vec::new() };
    let parsed = list.parse_args_with(Punctuated::<Meta, Comma>::parse_terminated);
    parsed.map_or_else(|_| Vec::new(), |arguments| arguments.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths_in(text: &str) -> Vec<(usize, String)> {
        let code = text.parse().expect("it is Rust");
        paths(code).into_iter().map(|path| (path.line, path.text())).collect()
    }

    fn named<'a>(path: &'a (usize, String), name: &str) -> Option<&'a usize> {
        (path.1 == name).then_some(&path.0)
    }

    #[test]
    fn comments_and_literals_are_no_code() {
        let text = r###"
let a = "x // HashMap"; // HashMap
/* HashMap /* nested */ HashMap */ let b = r#"HashMap " "#;
let c = '"'; let d: &'static str = b"HashMap"; let e = '\''; /// HashMap
let HashMap = r#type;
"###;
        let found = paths_in(text);
        let lines: Vec<_> = found.iter().filter_map(|path| named(path, "HashMap")).collect();
        assert_eq!(lines, [&5]);
    }

    #[test]
    fn imports_are_spelled_out() {
        let found = paths_in("use std::{fs as f, io::{self, Read}};\npub(crate) use ::std::env::*;");
        let imports: Vec<_> = found.into_iter().filter(|(_, path)| path.starts_with("std")).collect();
        let expected = [(1, "std::fs"), (1, "std::io"), (1, "std::io::Read"), (2, "std::env::*")];
        assert_eq!(imports, expected.map(|(line, path)| (line, path.to_owned())));
    }

    #[test]
    fn paths_are_read_whole_and_also_in_macros() {
        let found =
            paths_in("a::b::<c::D>(\n  e!(f, crate::g::h, $crate::i)); fn x() -> impl T + use<'a> { j::k }");
        let found: Vec<_> = found.into_iter().filter(|(_, path)| path.contains("::")).collect();
        let expected = [(1, "a::b"), (1, "c::D"), (2, "crate::g::h"), (2, "$crate::i"), (2, "j::k")];
        assert_eq!(found, expected.map(|(line, path)| (line, path.to_owned())));
    }

    #[test]
    fn code_for_tests_is_not_shipped() {
        let text = "#[cfg(test)]\nuse A::b;\n#[cfg(not(test))]\nuse A::c;\n#[cfg(all(test, unix))]\nfn d() { A::d }\n\
                    impl E {\n#[cfg(test)]\nfn f() { A::f }\nfn g() { A::g } }";
        let file = syn::parse_file(text).expect("it is Rust");
        let found: Vec<_> = file.items.iter().map(shipped).flat_map(paths).map(|path| path.text()).collect();
        let found: Vec<_> = found.into_iter().filter(|path| path.starts_with("A::")).collect();
        assert_eq!(found, ["A::c", "A::g"]);
    }

    #[test]
    fn attributes_are_read_whole_and_not_in_quotes() {
        let source = "#![allow(a)]\n#[expect(\n  b,\n)]\nfn x(#[c] y: [u8; 2]) { quote! { #[no] }; parse_quote!(#[no]) }\n\
                      m! { #[cfg_attr(test, d, e = \"f\")] g }";
        let found = attributes(source.parse().expect("it is Rust"));
        let found: Vec<_> =
            found.into_iter().map(|(line, meta)| (line, meta.path().to_token_stream().to_string())).collect();
        let expected = [(1, "allow"), (2, "expect"), (5, "c"), (6, "d"), (6, "e")];
        assert_eq!(found, expected.map(|(line, name)| (line, name.to_owned())));
    }

    #[test]
    fn modules_are_found_where_the_compiler_finds_them() {
        let files = [
            ("a/src/lib.rs", "mod b; mod c { mod d; }\n#[path = \"../elsewhere/e.rs\"]\nmod e;"),
            ("a/src/b.rs", "#[cfg(test)]\nmod f;"),
            ("a/src/b/f/mod.rs", "mod g;"),
            ("a/src/b/f/g.rs", ""),
            ("a/src/c/d.rs", ""),
            ("a/elsewhere/e.rs", "mod h;"),
            ("a/elsewhere/h.rs", ""),
            ("a/src/nobodys.rs", ""),
        ];
        let files = files.map(|(path, text)| File::new(path, text));
        let modules = modules("a/src/lib.rs", &files);
        let found: Vec<_> = modules.iter().map(|module| (module.name(), module.is_test)).collect();
        let expected = [
            ("", false),
            ("b", false),
            ("b::f", true),
            ("b::f::g", true),
            ("c", false),
            ("c::d", false),
            ("e", false),
            ("e::h", false),
        ];
        assert_eq!(found, expected.map(|(name, is_test)| (name.to_owned(), is_test)));
    }
}
