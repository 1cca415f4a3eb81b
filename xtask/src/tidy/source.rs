//! Looks at Rust source as tokens, roughly: enough to tell code from comments, literals and tests, and to find paths,
//! imports and attributes in it. Not a parser; the compiler has seen the code before.

/// The code of a source: comments and the insides of literals are blanked, and line breaks stay, so that a place in
/// the result is the same line as in the source.
pub(super) fn code(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let (from, to, end) = match bytes[at] {
            b'/' if bytes[at..].starts_with(b"//") => {
                let end = find(bytes, at, b"\n").unwrap_or(bytes.len());
                (at, end, end)
            }
            b'/' if bytes[at..].starts_with(b"/*") => {
                let end = block_comment_end(bytes, at);
                (at, end, end)
            }
            b'r' if raw_hashes(bytes, at).is_some() => {
                let hashes = raw_hashes(bytes, at).expect("just seen");
                let close = [b"\"".as_slice(), &b"#".repeat(hashes)].concat();
                let from = at + hashes + 2;
                let to = find(bytes, from, &close).unwrap_or(bytes.len());
                (from, to, to + close.len())
            }
            b'"' => {
                let to = quote_end(bytes, at + 1, b'"');
                (at + 1, to, to + 1)
            }
            b'\'' if is_char_literal(text, at) => {
                let to = quote_end(bytes, at + 1, b'\'');
                (at + 1, to, to + 1)
            }
            _ => (at, at, at + 1),
        };
        let to = to.min(bytes.len());
        blank(&mut out[from..to]);
        at = end;
    }
    String::from_utf8(out).expect("whole characters were blanked")
}

/// The code without what `#[cfg(test)]` stands on.
pub(super) fn without_tests(code: &str) -> String {
    let mut out = code.as_bytes().to_vec();
    for attribute in attributes(code) {
        let condition: String = attribute.body.split_whitespace().collect();
        if condition == "cfg(test)" || condition.starts_with("cfg(all(test") {
            let end = item_end(code.as_bytes(), attribute.end);
            blank(&mut out[attribute.start..end]);
        }
    }
    String::from_utf8(out).expect("whole items were blanked")
}

/// The code without what macros quote: that is code for somewhere else.
pub(super) fn without_quotes(code: &str) -> String {
    let mut out = code.as_bytes().to_vec();
    for (at, name) in code.match_indices("quote!").chain(code.match_indices("quote_spanned!")) {
        let open =
            at + name.len() + code[at + name.len()..].bytes().take_while(u8::is_ascii_whitespace).count();
        if let Some(end) = bracket_end(code.as_bytes(), open) {
            blank(&mut out[open..end]);
        }
    }
    String::from_utf8(out).expect("whole brackets were blanked")
}

/// The code without the macros that it declares: that is code for wherever they are used.
pub(super) fn without_macros(code: &str) -> String {
    let mut out = code.as_bytes().to_vec();
    for (at, _) in code.match_indices("macro_rules!") {
        blank(&mut out[at..item_end(code.as_bytes(), at)]);
    }
    String::from_utf8(out).expect("whole items were blanked")
}

/// An attribute: `#[body]` or `#![body]`.
pub(super) struct Attribute<'a> {
    pub(super) line: usize,
    pub(super) body: &'a str,
    start: usize,
    end: usize,
}

impl Attribute<'_> {
    /// The place after it.
    pub(super) const fn end(&self) -> usize {
        self.end
    }

    /// What stands in its quotes, in the source whose code it was found in.
    pub(super) fn quoted<'a>(&self, source: &'a str) -> Option<&'a str> {
        source[self.start..self.end].split('"').nth(1)
    }
}

/// Every attribute of the code.
pub(super) fn attributes(code: &str) -> Vec<Attribute<'_>> {
    let bytes = code.as_bytes();
    let opens = code.match_indices('#').filter_map(|(start, _)| {
        let open = start + if bytes.get(start + 1) == Some(&b'!') { 2 } else { 1 };
        (bytes.get(open) == Some(&b'[')).then_some((start, open))
    });
    let whole = opens.filter_map(|(start, open)| {
        let end = bracket_end(bytes, open)?;
        Some(Attribute { line: line(code, start), body: code[open + 1..end - 1].trim(), start, end })
    });
    whole.collect()
}

/// The lines in which `path`, such as `Instant::now` or `HashMap`, stands in the code. A path that ends in `::`
/// matches whatever follows.
pub(super) fn uses(code: &str, path: &str) -> Vec<usize> {
    let bytes = code.as_bytes();
    let whole = code.match_indices(path).filter(|(at, _)| {
        let before = at.checked_sub(1).is_none_or(|before| !is_word(bytes[before]));
        let after = path.ends_with("::") || bytes.get(at + path.len()).is_none_or(|after| !is_word(*after));
        before && after
    });
    whole.map(|(at, _)| line(code, at)).collect()
}

/// Every path that the code imports, in full, with its line: `use std::{fs, io::Read}` gives `std::fs` and
/// `std::io::Read`.
pub(super) fn imports(code: &str) -> Vec<(usize, String)> {
    let bytes = code.as_bytes();
    let mut found = Vec::new();
    for (at, _) in code.match_indices("use ") {
        let begins = at.checked_sub(1).is_none_or(|before| !is_word(bytes[before]));
        if let (true, Some(end)) = (begins, find(bytes, at, b";")) {
            let tree: String = code[at + 4..end].split_whitespace().collect::<Vec<_>>().join(" ");
            let mut paths = Vec::new();
            expand("", &tree, &mut paths);
            found.extend(paths.into_iter().map(|path| (line(code, at), path)));
        }
    }
    found
}

fn expand(prefix: &str, tree: &str, paths: &mut Vec<String>) {
    let tree = tree.trim();
    let Some((head, rest)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap_or(tree).trim().trim_start_matches("::");
        let path = format!("{prefix}{path}");
        // `use std::fs::{self}` imports `std::fs`.
        paths.push(path.strip_suffix("::self").unwrap_or(&path).to_owned());
        return;
    };
    let prefix = format!("{prefix}{}", head.trim().trim_start_matches("::"));
    let inner = rest.trim_end().strip_suffix('}').unwrap_or(rest);
    let mut depth = 0_usize;
    let branches = inner.split(|c| {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    });
    branches.filter(|branch| !branch.trim().is_empty()).for_each(|branch| expand(&prefix, branch, paths));
}

fn blank(bytes: &mut [u8]) {
    bytes.iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
}

fn line(code: &str, at: usize) -> usize {
    code[..at].matches('\n').count() + 1
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

fn find(bytes: &[u8], from: usize, what: &[u8]) -> Option<usize> {
    bytes.get(from..)?.windows(what.len()).position(|window| window == what).map(|at| from + at)
}

/// The number of hashes when a raw string begins here: `r"`, `r#"`, `br##"`. None for `r#type` and for `var"`.
fn raw_hashes(bytes: &[u8], at: usize) -> Option<usize> {
    let prefixed = matches!(at.checked_sub(1).map(|before| bytes[before]), Some(b'b' | b'c'));
    let before = at.checked_sub(1 + usize::from(prefixed));
    if before.is_some_and(|before| is_word(bytes[before])) {
        return None;
    }
    let hashes = bytes[at + 1..].iter().take_while(|byte| **byte == b'#').count();
    (bytes.get(at + 1 + hashes) == Some(&b'"')).then_some(hashes)
}

fn block_comment_end(bytes: &[u8], start: usize) -> usize {
    let mut depth = 0_usize;
    let mut at = start;
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if bytes[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    bytes.len()
}

/// Where the literal ends that begins before `from`: the place of its closing quote.
fn quote_end(bytes: &[u8], from: usize, quote: u8) -> usize {
    let mut at = from;
    while at < bytes.len() && bytes[at] != quote {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    at.min(bytes.len())
}

/// Tells `'x'` from the lifetime `'x`.
fn is_char_literal(text: &str, at: usize) -> bool {
    let mut rest = text[at + 1..].chars();
    match rest.next() {
        Some('\\') => true,
        Some(_) => rest.next() == Some('\''),
        None => false,
    }
}

/// The place after the bracket that closes the one at `open`, of whatever kind.
pub(super) fn bracket_end(bytes: &[u8], open: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, byte) in bytes.iter().enumerate().skip(open) {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.checked_sub(1)?,
            _ => {}
        }
        if depth == 0 {
            return Some(at + 1);
        }
    }
    None
}

/// The end of the item that begins at `from`, further attributes before it included.
fn item_end(bytes: &[u8], from: usize) -> usize {
    let mut at = from;
    while at < bytes.len() {
        match bytes[at] {
            b';' => return at + 1,
            b'{' => return bracket_end(bytes, at).unwrap_or(bytes.len()),
            b'(' | b'[' => at = bracket_end(bytes, at).unwrap_or(bytes.len()),
            _ => at += 1,
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_no_code() {
        let text = r###"
let a = "x // HashMap"; // HashMap
/* HashMap /* nested */ HashMap */ let b = r#"HashMap " "#;
let c = '"'; let d: &'static str = b"HashMap"; let e = '\''; /// HashMap
let HashMap = r#type;
"###;
        assert_eq!(uses(&code(text), "HashMap"), [5]);
        assert_eq!(code(text).len(), text.len());
    }

    #[test]
    fn an_escaped_quote_does_not_end_a_string() {
        assert_eq!(uses(&code(r#"let a = "\" HashMap"; HashMap"#), "HashMap"), [1]);
        assert!(code(r"'\u{1F600}' '\\' 'ß' x").ends_with('x'));
    }

    #[test]
    fn an_unfinished_source_is_read_to_its_end() {
        for text in ["/* a", "\"a", "r#\"a", "'", "\"\\", "#[cfg(test)] mod x {", "use a::{"] {
            let code = code(text);
            without_tests(&without_quotes(&code));
            imports(&code);
        }
    }

    #[test]
    fn tests_are_left_out_with_their_attributes() {
        let source = "fn a() { A::b() }\n#[cfg(test)]\n#[allow(x)]\nmod tests { fn c() { A::b() } }\nfn d() { A::b() }";
        assert_eq!(uses(&without_tests(source), "A::b"), [1, 5]);
        assert_eq!(uses(&without_tests("#[cfg(test)]\nuse A::b;\nfn c() { A::b }"), "A::b"), [3]);
        assert_eq!(uses(&without_tests("#[cfg(not(test))]\nuse A::b;"), "A::b"), [2]);
    }

    #[test]
    fn what_macros_quote_is_left_out() {
        let source = "a(parse_quote!(#[x])); quote::quote! {\n #[x] mod y {} }\nquote_spanned!(at => #[x]); #[x] struct Y;";
        let lines: Vec<_> =
            attributes(&without_quotes(source)).iter().map(|attribute| attribute.line).collect();
        assert_eq!(lines, [3]);
    }

    #[test]
    fn a_path_is_found_as_a_whole_only() {
        let source = "MyInstant::now(); std::time::Instant::now();\nInstant::nowhere(); operand::x; rand::x";
        assert_eq!(uses(source, "Instant::now"), [1]);
        assert_eq!(uses(source, "rand::"), [2]);
    }

    #[test]
    fn imports_are_spelled_out() {
        let source = "use std::{fs as f, io::{self, Read}};\npub(crate) use ::std::env;\nfn reuse() {}";
        let found = imports(source);
        let expected = [(1, "std::fs"), (1, "std::io"), (1, "std::io::Read"), (2, "std::env")];
        assert_eq!(found, expected.map(|(line, path)| (line, path.to_owned())));
    }

    #[test]
    fn what_an_attribute_quotes_is_read_from_the_source() {
        let source = "// \"no\"\n#[path = \"a/b.rs\"]\nmod b;\n#[test]";
        let quoted: Vec<_> =
            attributes(&code(source)).iter().map(|attribute| attribute.quoted(source)).collect();
        assert_eq!(quoted, [Some("a/b.rs"), None]);
    }

    #[test]
    fn attributes_are_read_whole() {
        let source = "#![allow(a)]\n#[expect(\n  b,\n)]\nfn x(#[c] y: [u8; 2]) {}";
        let found: Vec<_> =
            attributes(source).into_iter().map(|attribute| (attribute.line, attribute.body)).collect();
        assert_eq!(found, [(1, "allow(a)"), (2, "expect(\n  b,\n)"), (5, "c")]);
    }
}
