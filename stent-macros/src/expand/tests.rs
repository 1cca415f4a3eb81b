//! The expansion, item by item. The tests of the runtime check that it compiles, runs and triggers no lints.

use quote::ToTokens;
use syn::{File, ImplItem, Item, ItemFn, ItemImpl, ItemStruct, parse_quote};

use super::*;

/// A parsed expansion.
struct Expanded(File);

impl Expanded {
    fn of(options: TokenStream, item: TokenStream) -> Self {
        let tokens = expand(options, item).unwrap_or_else(|error| panic!("{error}"));
        Self(syn::parse2(tokens).expect("an expansion is a list of items"))
    }

    fn function(&self) -> &ItemFn {
        let found = self.0.items.iter().find_map(|item| match item {
            Item::Fn(function) => Some(function),
            _ => None,
        });
        found.expect("a function")
    }

    fn marker(&self) -> &ItemStruct {
        let found = self.0.items.iter().find_map(|item| match item {
            Item::Struct(marker) => Some(marker),
            _ => None,
        });
        found.expect("a struct")
    }

    fn implementation(&self) -> &ItemImpl {
        self.impls().find(|one| one.trait_.is_some()).expect("an implementation of `Function`")
    }

    fn inherent(&self) -> Option<&ItemImpl> {
        self.impls().find(|one| one.trait_.is_none())
    }

    fn impls(&self) -> impl Iterator<Item = &ItemImpl> {
        self.0.items.iter().filter_map(|item| match item {
            Item::Impl(one) => Some(one),
            _ => None,
        })
    }

    /// The member of the `Function` implementation with this name, as text.
    fn member(&self, name: &str) -> String {
        let found = self.implementation().items.iter().find(|item| match item {
            ImplItem::Fn(function) => function.sig.ident == name,
            ImplItem::Const(constant) => constant.ident == name,
            ImplItem::Type(ty) => ty.ident == name,
            _ => false,
        });
        text(found.unwrap_or_else(|| panic!("no member {name}")))
    }
}

fn text(tokens: impl ToTokens) -> String {
    tokens.to_token_stream().to_string()
}

/// Spaces do not count: `&&` is printed with or without spaces, depending on who wrote it.
fn assert_holds(text: &str, part: TokenStream) {
    let dense = |text: &str| text.replace(char::is_whitespace, "");
    assert!(dense(text).contains(&dense(&part.to_string())), "not in the expansion: {part}\n{text}");
}

fn charge() -> Expanded {
    Expanded::of(
        quote!(retry(max_attempts = 5, initial_delay = "1.5s"), queue = "payments", priority = -5),
        quote! {
            /// Charges the card.
            pub async fn charge(mut order: Order, n: u32, State(db): State<Db>) -> Result<Receipt, ChargeError> {
                order.pay(n, db).await?
            }
        },
    )
}

#[test]
fn callers_see_a_function_of_the_stored_parameters() {
    let expanded = charge();
    let function = expanded.function();

    let signature: syn::Signature = parse_quote!(fn charge(order: Order, n: u32) -> ::stent::Call<charge>);
    assert_eq!(text(&function.sig), text(signature));
    assert_eq!(text(&function.vis), "pub");
    assert_eq!(text(&function.block), text(quote!({ ::stent::__private::call::<charge>((order, n,)) })));
    let attributes = function.attrs.iter().map(text).collect::<String>();
    assert_holds(&attributes, quote!(#[doc = r" Charges the card."]));
    assert_holds(&attributes, quote!(#[track_caller]));
}

#[test]
fn the_type_is_braced_documented_and_as_visible_as_the_function() {
    let expanded = charge();
    let marker = expanded.marker();

    assert_eq!(text(&marker.vis), "pub");
    assert!(matches!(&marker.fields, syn::Fields::Named(fields) if fields.named.is_empty()));
    assert_holds(&text(marker), quote!(#[derive(::core::fmt::Debug)]));
    assert!(text(marker).contains("The durable function [`charge`](fn@charge) as a type"));
}

#[test]
fn the_implementation_has_types_name_options_and_needs() {
    let expanded = charge();

    assert_eq!(text(&expanded.implementation().self_ty), "charge");
    assert_holds(&expanded.member("Args"), quote!(= (Order, u32,);));
    assert_holds(
        &expanded.member("Output"),
        quote!(::stent::__private::IsResult::<Result<Receipt, ChargeError>>::IS_RESULT),
    );
    assert_holds(&expanded.member("NAME"), quote!(= "charge";));
    assert_holds(&expanded.member("needs"), quote!(::std::vec![::stent::__private::StateKey::of::<Db>()]));
    let options = expanded.member("options");
    assert_holds(&options, quote!(::stent::FunctionOptions::new().retry));
    assert_holds(
        &options,
        quote!(.max_attempts(5u32).initial_delay(::core::time::Duration::from_nanos(1500000000))),
    );
    assert_holds(&options, quote!(.queue("payments").priority(-5i16)));
}

#[test]
fn invoke_passes_arguments_and_states_in_the_order_of_the_parameters() {
    let expanded = Expanded::of(
        quote!(),
        quote!(
            async fn ship(State(db): State<Db>, parcel: Parcel, clock: State<Clock>, (w, h): (u8, u8)) {}
        ),
    );
    let invoke = expanded.member("invoke");

    assert_holds(&invoke, quote!(let (arg0, arg1,) = args;));
    assert_holds(&invoke, quote!(let state0 = states.get::<Db>(); let state1 = states.get::<Clock>();));
    assert_holds(&invoke, quote!(::core::result::Result::Ok(__Body::ship(state0, arg0, state1, arg1).await)));
}

#[test]
fn the_body_stays_as_it_was_written() {
    let invoke = charge().member("invoke");
    assert_holds(
        &invoke,
        quote! {
            async fn charge(mut order: Order, n: u32, State(db): State<Db>) -> Result<Receipt, ChargeError> {
                order.pay(n, db).await?
            }
        },
    );
}

#[test]
fn the_arms_of_a_result_are_told_apart() {
    let invoke = charge().member("invoke");
    assert_holds(&invoke, quote!(::returned(__Body::charge(arg0, arg1, state0).await).map_err));
    assert_holds(&invoke, quote!((&&&::stent::__private::Caught::new(error)).into_failure()));
}

#[test]
fn map_takes_bare_items_for_one_parameter_and_tuples_for_more() {
    let map = |item| Expanded::of(quote!(), item).inherent().map(text);

    let many = map(quote!(
        async fn f(a: u8, State(s): State<S>, b: u16) {}
    ))
    .expect("two are stored");
    assert_holds(&many, quote!(Item = (u8, u16),));
    assert_holds(
        &many,
        quote!(::stent::__private::map::<f, _>(::core::iter::IntoIterator::into_iter(items))),
    );

    let one = map(quote!(
        async fn f(a: u8, State(s): State<S>) {}
    ))
    .expect("one is stored");
    assert_holds(&one, quote!(Item = u8,));
    assert_holds(&one, quote!(|item| (item,)));

    assert_eq!(
        map(quote!(
            async fn f(State(s): State<S>) {}
        )),
        None
    );
}

#[test]
fn the_function_is_registered() {
    let registration = text(charge().0.items.last());
    assert_eq!(
        registration,
        text(quote!(
            ::stent::__private::inventory::submit! { ::stent::__private::Registration::of::<charge>() }
        ))
    );
}

#[test]
fn error_types_that_are_returned_or_named_are_known() {
    let known = |options, item| {
        let items = Expanded::of(options, item).0.items;
        items.iter().map(text).filter(|text| text.contains("known_error")).collect::<Vec<_>>()
    };

    let item = quote!(
        async fn f() -> Result<u8, ChargeError> {}
    );
    let entries = known(quote!(retry(retry_for = [Gone, Bank::Busy, "Late"])), item);
    assert_eq!(entries.len(), 3);
    assert!(entries[0].contains("Result < u8 , ChargeError >"), "{}", entries[0]);
    assert_eq!(entries[1], text(quote!(::stent::known_error! { Gone })));
    assert_eq!(entries[2], text(quote!(::stent::known_error! { Bank })));

    let plain = quote!(
        async fn f() {}
    );
    assert_eq!(known(quote!(), plain), Vec::<String>::new());
}

#[test]
fn a_function_without_anything_is_durable_too() {
    let expanded = Expanded::of(
        quote!(),
        quote!(
            async fn r#loop() {}
        ),
    );

    assert_holds(&expanded.member("Args"), quote!(= ();));
    assert_holds(&expanded.member("Output"), quote!(= ();));
    assert_holds(&expanded.member("NAME"), quote!(= "loop";));
    assert_holds(&expanded.member("options"), quote!({ ::stent::FunctionOptions::new() }));
    assert_holds(&expanded.member("needs"), quote!(::std::vec![]));
}

#[test]
fn the_name_option_is_the_stored_name() {
    let expanded = Expanded::of(
        quote!(name = "billing.charge"),
        quote!(
            async fn charge() {}
        ),
    );
    assert_holds(&expanded.member("NAME"), quote!(= "billing.charge";));
}

#[test]
fn the_version_is_a_part_of_the_stored_name() {
    let expanded = Expanded::of(
        quote!(version = "2"),
        quote!(
            async fn charge() {}
        ),
    );
    assert_holds(&expanded.member("NAME"), quote!(= "charge@2";));
}

#[test]
fn options_are_handed_to_the_runtime_one_by_one() {
    let expanded = Expanded::of(
        quote!(
            tags = ["gpu", "eu"],
            max_concurrent = 10,
            rate = "5/10s",
            idempotent,
            cached = "1s",
            key = number,
            max_duration = "1s",
            unchecked_args,
            retry(retry_for = ["Timeout", errors::Gone, ChargeError::Declined])
        ),
        quote!(
            async fn charge(order: Order, State(db): State<Db>, n: u32) {}
        ),
    );
    let options = expanded.member("options");
    assert_holds(&options, quote!(.tags(&["gpu", "eu"]).max_concurrent(10u32)));
    assert_holds(
        &options,
        quote!(.rate(::stent::Rate { max: 5u32, per: ::core::time::Duration::from_nanos(10000000000) })),
    );
    assert_holds(
        &options,
        quote!(.idempotent().cached(::stent::Cached::For(::core::time::Duration::from_nanos(1000000000)))),
    );
    assert_holds(
        &options,
        quote!(.max_duration(::core::time::Duration::from_nanos(1000000000)).unchecked_args()),
    );
    assert_holds(&options, quote!(::std::string::String::from("Timeout")));
    assert_holds(&options, quote!(::stent::__private::kind_of::<errors::Gone>()));
    assert_holds(&options, quote!(::core::matches!(error, ChargeError::Declined { .. })));
    assert_holds(&options, quote!(::stent::__private::variant_of::<ChargeError>("Declined")));

    let key = expanded.member("key");
    assert_holds(&key, quote!(let (arg0, arg1,) = args;));
    assert_holds(&key, quote!(::std::string::ToString::to_string(&number(arg0, arg1))));
}

#[test]
fn bare_retry_writes_the_default_policy_out() {
    let expanded = Expanded::of(
        quote!(retry),
        quote!(
            async fn charge() {}
        ),
    );
    assert_holds(
        &expanded.member("options"),
        quote!(.retry(<::stent::RetryPolicy as ::core::default::Default>::default())),
    );
}

#[test]
fn a_named_output_may_be_a_result_and_any_other_is_none() {
    let output = |item| Expanded::of(quote!(), item).member("Output");

    for named in [
        output(quote!(
            async fn f() -> Outcome<u8> {}
        )),
        output(quote!(
            async fn f() -> Result<u8, Oops> {}
        )),
    ] {
        assert_holds(&named, quote!(as ::stent::__private::Returned<));
    }
    assert_holds(
        &output(quote!(
            async fn f() -> (u8, u8) {}
        )),
        quote!(= (u8, u8);),
    );
}

#[test]
fn a_condition_holds_for_every_item() {
    let expanded = Expanded::of(
        quote!(),
        quote! {
            #[cfg(unix)]
            async fn f(a: u8) -> u8 { a }
        },
    );
    assert_eq!(expanded.0.items.len(), 6);
    for item in &expanded.0.items {
        assert!(text(item).starts_with("# [cfg (unix)]"), "{}", text(item));
    }
}

#[test]
fn unknown_attributes_go_to_the_body() {
    let expanded = Expanded::of(
        quote!(),
        quote!(
            #[tracing::instrument]
            async fn f() {}
        ),
    );

    assert_holds(
        &expanded.member("invoke"),
        quote!(
            #[tracing::instrument]
            async fn f() {}
        ),
    );
    assert!(!text(expanded.function()).contains("tracing"));
}

#[test]
fn a_deprecated_function_has_a_deprecated_map() {
    let expanded = Expanded::of(
        quote!(),
        quote!(
            #[deprecated = "use charge"]
            async fn f(a: u8) {}
        ),
    );

    assert_holds(&text(expanded.function()), quote!(#[deprecated = "use charge"]));
    assert_holds(&text(expanded.inherent()), quote!(#[deprecated = "use charge"]));
}

#[test]
fn faults_of_options_and_function_are_told_together() {
    let error = expand(
        quote!(quue = "a"),
        quote!(
            fn charge(a: &str) {}
        ),
    )
    .expect_err("three faults");
    assert_eq!(error.into_iter().count(), 3);
}
