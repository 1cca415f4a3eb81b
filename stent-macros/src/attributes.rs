//! Sorts the other attributes of a durable function: one function becomes several items, and each attribute belongs to some of
//! them. No attribute is dropped without need.

use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::parse::Parser;
use syn::punctuated::Punctuated;
use syn::{Attribute, Error, Meta, Result, Token, parse_quote};

/// The attributes of a durable function, by destination.
///
/// | Attribute | Public function | Other items | Body |
/// |---|---|---|---|
/// | `cfg` | yes | yes | inside them |
/// | `allow` | yes | yes | yes |
/// | `expect` | as `allow` | as `allow` | yes: only the body can fulfil it |
/// | `warn`, `deny`, `forbid` | yes | | yes |
/// | `doc`, `deprecated`, `must_use` | yes | | |
/// | all others, such as `tracing::instrument` | | | yes: the body is the function as written |
///
/// A `cfg_attr` goes to the same items as its content.
#[derive(Default)]
pub(crate) struct Attributes {
    /// Conditions, for every item.
    pub(crate) cfg: Vec<Attribute>,
    /// Lints that are allowed, for every item that is not a macro call.
    pub(crate) allow: Vec<Attribute>,
    /// For the function that callers see.
    pub(crate) public: Vec<Attribute>,
    /// For the function that holds the body.
    pub(crate) body: Vec<Attribute>,
}

impl Attributes {
    /// Sorts the attributes, including those at the start of the body (`#![allow(…)]`).
    ///
    /// # Errors
    /// If `durable` itself is among them.
    pub(crate) fn sort(attributes: &[Attribute]) -> Result<Self> {
        let mut sorted = Self::default();
        for attribute in attributes {
            sorted.place(&attribute.meta, &|meta| parse_quote!(#[#meta]))?;
        }
        Ok(sorted)
    }

    fn place(&mut self, meta: &Meta, attribute: &dyn Fn(TokenStream) -> Attribute) -> Result<()> {
        let name = meta.path().segments.last().map(|segment| segment.ident.to_string()).unwrap_or_default();
        let whole = attribute(meta.to_token_stream());
        match name.as_str() {
            "durable" => {
                return Err(Error::new_spanned(
                    meta,
                    "`#[durable]` is given twice; put all options into one",
                ));
            }
            "cfg" => self.cfg.push(whole),
            "cfg_attr" => return self.place_conditional(meta, attribute),
            "allow" => {
                self.allow.push(whole.clone());
                self.body.push(whole);
            }
            "expect" => {
                if let Meta::List(list) = meta {
                    let lints = &list.tokens;
                    self.allow.push(attribute(quote::quote!(allow(#lints))));
                }
                self.body.push(whole);
            }
            "warn" | "deny" | "forbid" => {
                self.public.push(whole.clone());
                self.body.push(whole);
            }
            "doc" | "deprecated" | "must_use" => self.public.push(whole),
            // The public function has it anyway, and it does nothing yet on an `async fn`.
            "track_caller" => {}
            _ => self.body.push(whole),
        }
        Ok(())
    }

    /// Splits `cfg_attr(condition, a, b)` into `cfg_attr(condition, a)` and `cfg_attr(condition, b)`.
    fn place_conditional(&mut self, meta: &Meta, attribute: &dyn Fn(TokenStream) -> Attribute) -> Result<()> {
        let parts = match meta {
            Meta::List(list) => Punctuated::<Meta, Token![,]>::parse_terminated
                .parse2(list.tokens.clone())
                .unwrap_or_default(),
            Meta::Path(_) | Meta::NameValue(_) => Punctuated::new(),
        };
        let mut parts = parts.iter();
        let Some(condition) = parts.next() else {
            // This is not a valid `cfg_attr`; the compiler reports it.
            self.body.push(attribute(meta.to_token_stream()));
            return Ok(());
        };
        for part in parts {
            self.place(part, &|inner| attribute(quote::quote!(cfg_attr(#condition, #inner))))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(attributes: &[Attribute]) -> [Vec<String>; 4] {
        let sorted = Attributes::sort(attributes).expect("attributes");
        [sorted.cfg, sorted.allow, sorted.public, sorted.body]
            .map(|list| list.iter().map(|one| one.to_token_stream().to_string()).collect())
    }

    #[test]
    fn each_attribute_goes_where_it_has_meaning() {
        let [cfg, allow, public, body] = sorted(&[
            parse_quote!(#[doc = "Charges."]),
            parse_quote!(#[cfg(unix)]),
            parse_quote!(#[allow(unused)]),
            parse_quote!(#[expect(clippy::too_many_lines, reason = "long")]),
            parse_quote!(#[deny(missing_docs)]),
            parse_quote!(#[deprecated]),
            parse_quote!(#[track_caller]),
            parse_quote!(#[tracing::instrument(skip(db))]),
        ]);

        assert_eq!(cfg, ["# [cfg (unix)]"]);
        assert_eq!(allow, ["# [allow (unused)]", "# [allow (clippy :: too_many_lines , reason = \"long\")]"]);
        assert_eq!(public, ["# [doc = \"Charges.\"]", "# [deny (missing_docs)]", "# [deprecated]"]);
        assert_eq!(
            body,
            [
                "# [allow (unused)]",
                "# [expect (clippy :: too_many_lines , reason = \"long\")]",
                "# [deny (missing_docs)]",
                "# [tracing :: instrument (skip (db))]",
            ]
        );
    }

    #[test]
    fn a_conditional_attribute_goes_where_its_content_goes() {
        let [cfg, _, public, body] =
            sorted(&[parse_quote!(#[cfg_attr(not(test), doc = "D", cfg(unix), inline)])]);

        assert_eq!(cfg, ["# [cfg_attr (not (test) , cfg (unix))]"]);
        assert_eq!(public, ["# [cfg_attr (not (test) , doc = \"D\")]"]);
        assert_eq!(body, ["# [cfg_attr (not (test) , inline)]"]);
    }

    #[test]
    fn attributes_inside_the_body_count_as_those_above_it() {
        let function: syn::ItemFn = parse_quote!(
            async fn charge() {
                #![allow(unused)]
            }
        );
        let [_, allow, _, body] = sorted(&function.attrs);
        assert_eq!(
            (allow, body),
            (vec!["# [allow (unused)]".to_owned()], vec!["# [allow (unused)]".to_owned()])
        );
    }

    #[test]
    fn durable_twice_is_an_error() {
        let error = Attributes::sort(&[parse_quote!(#[stent::durable(priority = 1)])]).err().expect("twice");
        assert_eq!(error.to_string(), "`#[durable]` is given twice; put all options into one");
    }
}
