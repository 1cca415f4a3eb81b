//! Writes the items that a durable function becomes.
//!
//! ```text
//! async fn charge(order: Order, State(db): State<Db>) -> Result<Receipt, ChargeError> { … }
//!
//!     fn charge(order: Order) -> Call<charge>        for callers; builds a description, runs nothing
//!   struct charge {}                               the function as a type; braced, so the value namespace stays free
//!   impl Function for charge                       name, options, needs, and `invoke` with the body inside
//!   impl charge { fn map(items) -> Map<charge> }   unless nothing is stored
//!   inventory::submit!                             into the default registry, at link time
//! ```
//!
//! The body stays an `async fn` of the user's own tokens, as an associated function of a type that only `invoke` can see.
//! Patterns, `return`, `?`, coercions, spans and lints therefore behave as without the attribute, a backtrace and
//! `tracing::instrument` show the original name, and a recursive call still means the public function.
//!
//! All variables that the expansion binds are hygienic, and all its paths start at `::stent`, `::core` or `::std`, so nothing
//! in the user's scope can capture them.

use proc_macro2::{Ident, Literal, Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{ItemFn, LitStr, Result, Type};

use crate::attributes::Attributes;
use crate::options::{Cached, Kind, Options, Retry, VERSION_SEPARATOR};
use crate::signature::{Output, Parameter, Signature};

/// Expands `#[durable(options)]` on an item.
///
/// # Errors
/// All problems of the options and the item, each at its place.
pub(crate) fn expand(options: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let options = syn::parse2::<Options>(options);
    let read = Signature::read(item).and_then(|(function, signature)| {
        let attributes = Attributes::sort(&function.attrs)?;
        Ok(Durable { function, signature, attributes })
    });
    match (options, read) {
        (Ok(options), Ok(durable)) => Ok(durable.items(&options)),
        (Ok(_), Err(error)) | (Err(error), Ok(_)) => Err(error),
        (Err(mut error), Err(other)) => {
            error.combine(other);
            Err(error)
        }
    }
}

/// A durable function, and its parsed parts.
struct Durable {
    function: ItemFn,
    signature: Signature,
    attributes: Attributes,
}

impl Durable {
    fn items(&self, options: &Options) -> TokenStream {
        let public = self.public_function();
        let marker = self.marker();
        let implementation = self.implementation(options);
        let map = self.map();
        let registration = self.registration();
        let errors = self.known_errors(options);
        quote!(#public #marker #implementation #map #errors #registration)
    }

    fn name(&self) -> &Ident {
        &self.function.sig.ident
    }

    /// The function that callers see. `allow(dead_code)`: the registry can reach it even if no other code does. Lints about the
    /// parameters are left to the body, so that none is reported twice.
    fn public_function(&self) -> TokenStream {
        let Attributes { cfg, allow, public, .. } = &self.attributes;
        let (vis, name) = (&self.function.vis, self.name());
        let names: Vec<_> = self.signature.stored().map(|(name, _)| name).collect();
        let types = self.signature.stored().map(|(_, ty)| ty);
        quote_spanned! {here(name)=>
            #(#cfg)*
            #(#public)*
            #[allow(dead_code, clippy::double_must_use, clippy::too_many_arguments)]
            #(#allow)*
            #[track_caller]
            #vis fn #name(#(#names: #types),*) -> ::stent::Call<#name> {
                ::stent::__private::call::<#name>((#(#names,)*))
            }
        }
    }

    fn marker(&self) -> TokenStream {
        let Attributes { cfg, allow, .. } = &self.attributes;
        let (vis, name) = (&self.function.vis, self.name());
        let doc = format!(
            "The durable function [`{0}`](fn@{0}) as a type: for a registry, and wherever else it is named and not \
             called.",
            name.unraw()
        );
        quote_spanned! {Span::mixed_site()=>
            #(#cfg)*
            #[doc = #doc]
            #[allow(dead_code, non_camel_case_types)]
            #(#allow)*
            #[derive(::core::fmt::Debug)]
            #vis struct #name {}
        }
    }

    /// Not `#[automatically_derived]`: it contains the user's body, and coverage and lints skip derived code.
    fn implementation(&self, options: &Options) -> TokenStream {
        let Attributes { cfg, allow, .. } = &self.attributes;
        let name = self.name();
        let args = self.args_type();
        let output = self.output_type();
        let stored_name = self.stored_name(options);
        let key = self.key(options);
        let options = options_expression(options);
        let states = self.signature.states();
        let invoke = self.invoke();
        quote_spanned! {Span::mixed_site()=>
            #(#cfg)*
            #(#allow)*
            impl ::stent::Function for #name {
                #args
                #output
                const NAME: &'static ::core::primitive::str = #stored_name;

                fn options() -> ::stent::FunctionOptions {
                    #options
                }

                fn needs() -> ::std::vec::Vec<::stent::__private::StateKey> {
                    ::std::vec![#(::stent::__private::StateKey::of::<#states>()),*]
                }

                #key

                #invoke
            }
        }
    }

    /// The stored name, with the version.
    fn stored_name(&self, options: &Options) -> LitStr {
        let name = options.name.clone().unwrap_or_else(|| {
            let name = self.name();
            LitStr::new(&name.unraw().to_string(), name.span())
        });
        match &options.version {
            None => name,
            Some(version) => {
                LitStr::new(&format!("{}{VERSION_SEPARATOR}{}", name.value(), version.value()), name.span())
            }
        }
    }

    /// `fn key`, which passes the stored arguments to the user's function by reference.
    fn key(&self, options: &Options) -> TokenStream {
        let Some(function) = &options.key else { return TokenStream::new() };
        let site = Span::mixed_site();
        let args = self.signature.stored().enumerate().map(|(i, _)| local("arg", i)).collect::<Vec<_>>();
        // Spanned like the path, because rustc points there if the function takes something else.
        let called = quote_spanned!(here(function)=> #function(#(#args),*));
        quote_spanned! {site=>
            fn key(args: &Self::Args) -> ::core::option::Option<::std::string::String> {
                let (#(#args,)*) = args;
                ::core::option::Option::Some(::std::string::ToString::to_string(&#called))
            }
        }
    }

    /// `fn invoke`: takes the arguments out of their tuple and the states from the worker, and passes both to the body in the
    /// order of its parameters.
    fn invoke(&self) -> TokenStream {
        let site = Span::mixed_site();
        let args = self.signature.stored().enumerate().map(|(i, _)| local("arg", i)).collect::<Vec<_>>();
        let states = self.signature.states().enumerate().map(|(i, _)| local("state", i)).collect::<Vec<_>>();
        let types = self.signature.states();
        let from = if states.is_empty() { quote!(_) } else { quote_spanned!(site=> states) };

        let (mut next_arg, mut next_state) = (args.iter(), states.iter());
        let passed = self.signature.parameters.iter().filter_map(|parameter| match parameter {
            Parameter::Stored { .. } => next_arg.next(),
            Parameter::State { .. } => next_state.next(),
        });

        let (body, name) = (self.body(), self.name());
        let called = quote_spanned!(site=> __Body::#name(#(#passed),*).await);
        let outcome = match &self.signature.output {
            Output::Plain(_) => quote_spanned!(site=> ::core::result::Result::Ok(#called)),
            Output::Named(ty) => {
                let (returned, failure) = (returned(ty), caught(ty));
                quote_spanned! {site=>
                    <#ty as #returned>::returned(#called).map_err(|error| #failure)
                }
            }
        };
        // Spanned like the function's name, because rustc points there if the future is not `Send`.
        let future = quote_spanned! {here(self.name())=>
            ::std::boxed::Box::pin(async move {
                #(let #states = match #states {
                    ::core::result::Result::Ok(state) => state,
                    ::core::result::Result::Err(failure) => return ::core::result::Result::Err(failure),
                };)*
                #outcome
            })
        };
        quote_spanned! {site=>
            fn invoke(
                args: Self::Args,
                #from: &::stent::__private::States,
            ) -> ::stent::__private::BoxFuture<
                'static,
                ::core::result::Result<Self::Output, ::stent::Failure>,
            > {
                #body

                let (#(#args,)*) = args;
                #(let #states = states.get::<#types>();)*
                #future
            }
        }
    }

    /// The user's function. It is an associated function, so its name is not in scope in its own body.
    fn body(&self) -> TokenStream {
        let attributes = &self.attributes.body;
        let (signature, block) = (&self.function.sig, &self.function.block);
        quote_spanned! {Span::mixed_site()=>
            #[allow(dead_code)]
            struct __Body;

            impl __Body {
                #(#attributes)*
                #signature #block
            }
        }
    }

    /// `map`, which takes tuples of the stored arguments, or the bare argument if there is one.
    fn map(&self) -> TokenStream {
        let Attributes { cfg, allow, public, .. } = &self.attributes;
        let (vis, name) = (&self.function.vis, self.name());
        let site = Span::mixed_site();
        let types: Vec<_> = self.signature.stored().map(|(_, ty)| ty).collect();
        let items = quote_spanned!(site=> ::core::iter::IntoIterator::into_iter(items));
        let (item, items) = match types.as_slice() {
            [] => return TokenStream::new(),
            [one] => {
                (quote!(#one), quote_spanned!(site=> ::core::iter::Iterator::map(#items, |item| (item,))))
            }
            many => (quote!((#(#many),*)), items),
        };
        let deprecated = public.iter().filter(|attribute| attribute.path().is_ident("deprecated"));
        let doc = format!(
            "Calls [`{0}`](fn@{0}) for every item, as one step of the function that awaits it; the results come in the \
             order of the items.",
            name.unraw()
        );
        quote_spanned! {site=>
            #(#cfg)*
            #(#allow)*
            impl #name {
                #[doc = #doc]
                #(#deprecated)*
                #[allow(clippy::impl_trait_in_params)]
                #[track_caller]
                #vis fn map(
                    items: impl ::core::iter::IntoIterator<
                        Item = #item,
                        IntoIter: ::core::marker::Send + 'static,
                    >,
                ) -> ::stent::Map<#name> {
                    ::stent::__private::map::<#name, _>(#items)
                }
            }
        }
    }

    fn registration(&self) -> TokenStream {
        let (cfg, name) = (&self.attributes.cfg, self.name());
        quote_spanned! {Span::mixed_site()=>
            #(#cfg)*
            ::stent::__private::inventory::submit! { ::stent::__private::Registration::of::<#name>() }
        }
    }

    /// Registers the error types that the function returns and names in the list of types that the process knows, so that they
    /// are found in boxes, and by the names that their authors gave them.
    fn known_errors(&self, options: &Options) -> TokenStream {
        let cfg = &self.attributes.cfg;
        let returned = match &self.signature.output {
            Output::Named(ty) => {
                let returned = returned(ty);
                Some(quote_spanned!(here(ty)=> <#ty as #returned>::Error))
            }
            Output::Plain(_) => None,
        };
        let kinds = options.retry.iter().filter_map(|retry| retry.retry_for.as_ref()).flatten();
        let named = kinds.filter_map(|kind| match kind {
            Kind::Text(_) => None,
            Kind::Type(ty) | Kind::Variant(ty, _) => Some(quote_spanned!(here(ty)=> #ty)),
        });
        returned
            .into_iter()
            .chain(named)
            .map(|ty| {
                quote_spanned! {Span::mixed_site()=>
                    #(#cfg)*
                    ::stent::known_error! { #ty }
                }
            })
            .collect()
    }

    /// Spanned like the parameter list, because rustc points there if a type is private or cannot be stored.
    fn args_type(&self) -> TokenStream {
        let types = self.signature.stored().map(|(_, ty)| ty);
        let span = self.function.sig.paren_token.span.join().resolved_at(Span::mixed_site());
        quote_spanned!(span=> type Args = (#(#types,)*);)
    }

    /// Spanned like the return type, for the same reason.
    fn output_type(&self) -> TokenStream {
        match &self.signature.output {
            Output::Plain(ty) => quote_spanned!(here(ty)=> type Output = #ty;),
            Output::Named(ty) => {
                let returned = returned(ty);
                quote_spanned!(here(ty)=> type Output = <#ty as #returned>::Output;)
            }
        }
    }
}

/// The trait that describes a return type: `Returned<true>` for a `Result`, whatever its name, and `Returned<false>` for any
/// other type.
///
/// An inherent constant wins over one from a trait, and only a `Result` has the inherent one.
fn returned(ty: &Type) -> TokenStream {
    let is_result = quote_spanned! {here(ty)=> {
        #[allow(unused_imports)]
        use ::stent::__private::IsPlain as _;
        ::stent::__private::IsResult::<#ty>::IS_RESULT
    }};
    quote_spanned!(here(ty)=> ::stent::__private::Returned<#is_result>)
}

/// Turns `error` into a failure. The traits are tried in order, by how often `Caught` is borrowed: a type that can be stored
/// keeps its fields, any other type keeps its texts. `Classify` is looked up in the same way.
fn caught(result: &Type) -> TokenStream {
    let site = Span::mixed_site();
    let caught = quote_spanned!(site=> ::stent::__private::Caught::new(error));
    let failure = quote_spanned!(here(result)=> (&&&#caught).into_failure());
    quote_spanned! {site=>
        {
            #[allow(unused_imports)]
            use ::stent::__private::{
                Classified as _, IntoFailureBoxed as _, IntoFailureSerde as _, IntoFailureShown as _, Unclassified as _,
            };
            let class = (&&::stent::__private::Classifier(&error)).class();
            class.of(#failure)
        }
    }
}

fn options_expression(options: &Options) -> TokenStream {
    let retry = options.retry.as_ref().map(retry_expression).into_iter();
    let queue = options.queue.iter();
    let priority = options.priority.iter();
    let tags = options.tags.iter().map(|tags| quote!(&[#(#tags),*]));
    let max_concurrent = options.max_concurrent.iter();
    let rate = options.rate.map(|rate| {
        let (max, per) = (rate.max, duration_expression(rate.per_ns));
        quote!(::stent::Rate { max: #max, per: #per })
    });
    let rate = rate.into_iter();
    let idempotent = options.idempotent.iter().map(|()| quote!(.idempotent()));
    let cached = options.cached.map(|cached| match cached {
        Cached::Forever => quote!(::stent::Cached::Forever),
        Cached::For(nanoseconds) => {
            let time = duration_expression(nanoseconds);
            quote!(::stent::Cached::For(#time))
        }
    });
    let cached = cached.into_iter();
    let max_duration = options.max_duration_ns.map(duration_expression).into_iter();
    let unchecked_args = options.unchecked_args.iter().map(|()| quote!(.unchecked_args()));
    quote! {
        ::stent::FunctionOptions::new()
            #(.retry(#retry))*
            #(.queue(#queue))*
            #(.priority(#priority))*
            #(.tags(#tags))*
            #(.max_concurrent(#max_concurrent))*
            #(.rate(#rate))*
            #(#idempotent)*
            #(.cached(#cached))*
            #(.max_duration(#max_duration))*
            #(#unchecked_args)*
    }
}

fn retry_expression(retry: &Retry) -> TokenStream {
    let max_attempts = retry.max_attempts.iter();
    let initial_delay = retry.initial_delay_ns.map(duration_expression).into_iter();
    let backoff_factor = retry.backoff_factor.iter();
    let max_delay = retry.max_delay_ns.map(duration_expression).into_iter();
    let jitter = retry.jitter.iter();
    let retry_for = retry.retry_for.iter().map(|kinds| {
        let kinds = kinds.iter().map(kind_expression);
        quote!(::std::vec![#(#kinds),*])
    });
    quote! {
        <::stent::RetryPolicy as ::core::default::Default>::default()
            #(.max_attempts(#max_attempts))*
            #(.initial_delay(#initial_delay))*
            #(.backoff_factor(#backoff_factor))*
            #(.max_delay(#max_delay))*
            #(.jitter(#jitter))*
            #(.retry_for(#retry_for))*
    }
}

/// The text of a kind. The runtime names a type, because it sees through aliases; for a variant, the compiler checks that it
/// exists.
fn kind_expression(kind: &Kind) -> TokenStream {
    match kind {
        Kind::Text(text) => {
            let message = "this kind begins with `stent::` but is not one of Stent's; see the constants of \
                           `stent::Failure`";
            quote_spanned! {here(text)=> {
                const _: () = if !::stent::__private::is_kind(#text) {
                    ::core::panic!(#message)
                };
                ::std::string::String::from(#text)
            }}
        }
        Kind::Type(ty) => quote_spanned!(here(ty)=> ::stent::__private::kind_of::<#ty>()),
        Kind::Variant(ty, variant) => {
            let name = variant.segments.last().map(|last| last.ident.unraw().to_string());
            quote_spanned! {here(variant)=> {
                let _ = |error: &#ty| ::core::matches!(error, #variant { .. });
                ::stent::__private::variant_of::<#ty>(#name)
            }}
        }
    }
}

fn duration_expression(nanoseconds: u64) -> TokenStream {
    let nanoseconds = Literal::u64_unsuffixed(nanoseconds);
    quote!(::core::time::Duration::from_nanos(#nanoseconds))
}

fn local(kind: &str, index: usize) -> Ident {
    format_ident!("{kind}{index}", span = Span::mixed_site())
}

/// The location of `tokens` in the user's code, with the macro's hygiene for names.
fn here(tokens: &impl Spanned) -> Span {
    tokens.span().resolved_at(Span::mixed_site())
}

#[cfg(test)]
mod tests;
