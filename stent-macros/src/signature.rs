//! Reads the function below `#[durable]`: which parameters are stored, which come from the worker, and the return type.
//! Refuses every function that could not be stored and started again by name. Knows nothing of options.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, format_ident};
use syn::spanned::Spanned;
use syn::{
    Error, FnArg, GenericArgument, GenericParam, Ident, Item, ItemFn, Pat, PatType, PathArguments, Result,
    ReturnType, Safety, Type, TypePath,
};

const BORROWED_PARAMETER: &str = "parameters are stored, so they must be owned; take `T` or `State<T>`";
const BORROWED_RESULT: &str = "results are stored, so they must be owned; return `T` or `Result<T, E>`";

/// A function that can be durable.
pub(crate) struct Signature {
    /// Its parameters, in order.
    pub(crate) parameters: Vec<Parameter>,
    /// Its return type.
    pub(crate) output: Output,
}

/// One parameter.
pub(crate) enum Parameter {
    /// A stored parameter of the call; `name` is the name that callers see.
    Stored { name: Ident, ty: Type },
    /// `State<of>`: comes from the worker that runs the function.
    State { of: Type },
}

/// The return type of a function, as far as its text shows.
pub(crate) enum Output {
    /// A type by a name. The compiler knows whether it is a `Result`, which may have any name.
    Named(Type),
    /// Not a `Result`: a tuple, for example, or nothing. The function can fail only by a panic.
    Plain(Type),
}

impl Signature {
    /// Parses an item and checks that it can be a durable function.
    ///
    /// # Errors
    /// All problems, each at its place.
    pub(crate) fn read(item: TokenStream) -> Result<(ItemFn, Self)> {
        let span = item.span();
        let Ok(Item::Fn(function)) = syn::parse2(item) else {
            return Err(Error::new(span, "`#[durable]` goes on an `async fn`"));
        };
        let mut problems = Problems::default();
        check_kind(&function, &mut problems);
        let parameters = read_parameters(&function, &mut problems);
        let output = read_output(&function.sig.output, &mut problems);
        problems.none()?;
        Ok((function, Self { parameters, output }))
    }

    /// The parameters that are stored.
    pub(crate) fn stored(&self) -> impl Iterator<Item = (&Ident, &Type)> {
        self.parameters.iter().filter_map(|parameter| match parameter {
            Parameter::Stored { name, ty } => Some((name, ty)),
            Parameter::State { .. } => None,
        })
    }

    /// The types of state that the worker must have.
    pub(crate) fn states(&self) -> impl Iterator<Item = &Type> {
        self.parameters.iter().filter_map(|parameter| match parameter {
            Parameter::Stored { .. } => None,
            Parameter::State { of } => Some(of),
        })
    }
}

fn check_kind(function: &ItemFn, problems: &mut Problems) {
    let signature = &function.sig;
    if signature.asyncness.is_none() {
        let message = format!("a durable function is asynchronous; write `async fn {}`", signature.ident);
        problems.add(signature.fn_token, &message);
    }
    if let Some(token) = &signature.constness {
        problems.add(token, "a durable function cannot be `const`; remove it");
    }
    if let Safety::Unsafe(token) = &signature.safety {
        let message = "a durable function cannot be `unsafe`: after a crash, Stent could not uphold the contract of \
                       the call; use an `unsafe` block in the body";
        problems.add(token, message);
    }
    if let Some(abi) = &signature.abi {
        problems.add(abi, "a durable function cannot be `extern`; call the foreign function from its body");
    }
    if let Some(GenericParam::Lifetime(lifetime)) = signature.generics.params.first() {
        problems.add(lifetime, BORROWED_PARAMETER);
    } else if !signature.generics.params.is_empty() {
        let message = "a durable function cannot be generic: it is stored by name, and a name identifies one \
                       function; use concrete types";
        problems.add(&signature.generics.params, message);
    } else if let Some(clause) = &signature.generics.where_clause {
        problems.add(clause, "a durable function is not generic, so it takes no `where` clause; remove it");
    }
}

fn read_parameters(function: &ItemFn, problems: &mut Problems) -> Vec<Parameter> {
    let inputs = function.sig.inputs.iter().enumerate();
    let parameters = inputs.filter_map(|(position, input)| match input {
        FnArg::Receiver(receiver) => {
            let message = "a durable function has no `self`: Stent must be able to start it by its name alone; write \
                           a free function and pass what it needs as parameters or as `State<T>`";
            problems.add(receiver, message);
            None
        }
        FnArg::Typed(parameter) => Some(read_parameter(position, parameter, problems)),
    });
    parameters.collect()
}

fn read_parameter(position: usize, parameter: &PatType, problems: &mut Problems) -> Parameter {
    if let Some(attribute) = parameter.attrs.iter().find(|one| one.path().is_ident("cfg")) {
        let message =
            "the stored arguments of a call cannot depend on `cfg`; write two functions, each with its `cfg`";
        problems.add(attribute, message);
    }
    if let Some(of) = state_type(&parameter.ty) {
        return Parameter::State { of: of.clone() };
    }
    check_type(&parameter.ty, BORROWED_PARAMETER, problems);
    Parameter::Stored { name: parameter_name(position, &parameter.pat), ty: (*parameter.ty).clone() }
}

/// The parameter's name as callers see it. A name that the user chose gets the macro's hygiene, so that lints about its use
/// stay away; a name that the macro makes up does not, so the two cannot clash, even if both are `arg0`.
fn parameter_name(position: usize, pattern: &Pat) -> Ident {
    match pattern {
        Pat::Ident(named) => {
            let mut name = named.ident.clone();
            name.set_span(name.span().resolved_at(Span::mixed_site()));
            name
        }
        _ => format_ident!("arg{position}", span = Span::call_site()),
    }
}

fn read_output(output: &ReturnType, problems: &mut Problems) -> Output {
    let ReturnType::Type(_, ty) = output else {
        return Output::Plain(syn::parse_quote!(()));
    };
    let ty = (**ty).clone();
    if !is_result(&ty) {
        check_type(&ty, BORROWED_RESULT, problems);
    } else if let Some(GenericArgument::Type(value)) = generic_arguments(&ty).next() {
        // The error is turned into a failure and not stored itself, so it may borrow forever, as `&'static str` does.
        check_type(value, BORROWED_RESULT, problems);
    }
    match ty {
        Type::Path(_) | Type::Group(_) | Type::Paren(_) | Type::Macro(_) => Output::Named(ty),
        _ => Output::Plain(ty),
    }
}

fn state_type(ty: &Type) -> Option<&Type> {
    let last = path_of(ty)?.path.segments.last()?;
    let PathArguments::AngleBracketed(arguments) = &last.arguments else { return None };
    match arguments.args.first() {
        Some(GenericArgument::Type(of)) if last.ident == "State" && arguments.args.len() == 1 => Some(of),
        _ => None,
    }
}

/// Whether a type is named `Result`, so that its second argument is an error.
fn is_result(ty: &Type) -> bool {
    let last = path_of(ty).and_then(|path| path.path.segments.last());
    last.is_some_and(|segment| segment.ident.to_string().ends_with("Result"))
}

/// The path of a type, even if a `macro_rules!` wrapped it in an invisible group.
fn path_of(ty: &Type) -> Option<&TypePath> {
    match ty {
        Type::Path(path) => Some(path),
        Type::Group(group) => path_of(&group.elem),
        Type::Paren(paren) => path_of(&paren.elem),
        _ => None,
    }
}

fn generic_arguments(ty: &Type) -> impl Iterator<Item = &GenericArgument> {
    let segments = path_of(ty).into_iter().flat_map(|path| &path.path.segments);
    let lists = segments.filter_map(|segment| match &segment.arguments {
        PathArguments::AngleBracketed(arguments) => Some(&arguments.args),
        PathArguments::None | PathArguments::Parenthesized(_) => None,
    });
    lists.flatten()
}

/// Checks a type for parts that cannot be stored or read back: borrows, and types without a name.
fn check_type(ty: &Type, borrowed: &str, problems: &mut Problems) {
    match ty {
        Type::Reference(reference) => problems.add(reference, borrowed),
        Type::ImplTrait(anonymous) => {
            problems.add(
                anonymous,
                "a stored value needs a type that can be named; write the type in place of `impl`",
            );
        }
        Type::Never(never) => {
            problems
                .add(never, "a durable function must return a value to store; return `()` in place of `!`");
        }
        Type::Group(group) => check_type(&group.elem, borrowed, problems),
        Type::Paren(paren) => check_type(&paren.elem, borrowed, problems),
        Type::Array(array) => check_type(&array.elem, borrowed, problems),
        Type::Slice(slice) => check_type(&slice.elem, borrowed, problems),
        Type::Tuple(tuple) => tuple.elems.iter().for_each(|elem| check_type(elem, borrowed, problems)),
        Type::Path(_) => generic_arguments(ty).for_each(|argument| match argument {
            GenericArgument::Type(ty) => check_type(ty, borrowed, problems),
            GenericArgument::Lifetime(lifetime) if lifetime.ident != "static" => {
                problems.add(lifetime, borrowed);
            }
            _ => {}
        }),
        _ => {}
    }
}

/// All problems of a function, so that they are reported together.
#[derive(Default)]
struct Problems(Option<Error>);

impl Problems {
    fn add(&mut self, at: impl ToTokens, message: &str) {
        let error = Error::new_spanned(at, message);
        match &mut self.0 {
            Some(first) => first.combine(error),
            none => *none = Some(error),
        }
    }

    fn none(self) -> Result<()> {
        self.0.map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use quote::quote;

    use super::*;

    fn read(item: TokenStream) -> Signature {
        Signature::read(item).expect("a durable function").1
    }

    fn errors(item: TokenStream) -> Vec<String> {
        Signature::read(item)
            .err()
            .expect("no durable function")
            .into_iter()
            .map(|error| error.to_string())
            .collect()
    }

    fn text(tokens: impl ToTokens) -> String {
        tokens.to_token_stream().to_string()
    }

    #[test]
    fn state_parameters_are_told_from_stored_ones() {
        let signature = read(quote! {
            async fn ship(mut parcel: Parcel, State(db): State<Db>, _: u8, clock: stent::State<Arc<Clock>>) {}
        });

        let stored: Vec<_> = signature.stored().map(|(name, ty)| (text(name), text(ty))).collect();
        assert_eq!(stored, [("parcel", "Parcel"), ("arg2", "u8")].map(|(a, b)| (a.to_owned(), b.to_owned())));
        assert_eq!(signature.states().map(text).collect::<Vec<_>>(), ["Db", "Arc < Clock >"]);
    }

    #[test]
    fn a_type_that_is_merely_called_state_is_stored() {
        let signature = read(quote!(
            async fn vote(state: State, pair: geo::State<A, B>) {}
        ));
        assert_eq!(signature.stored().count(), 2);
    }

    #[test]
    fn parameters_without_a_name_get_one() {
        let signature = read(quote!(
            async fn area((w, h): (u32, u32), Json(body): Json<Body>, r#type: u8) {}
        ));
        assert_eq!(
            signature.stored().map(|(name, _)| text(name)).collect::<Vec<_>>(),
            ["arg0", "arg1", "r#type"]
        );
    }

    #[test]
    fn a_type_by_a_name_may_be_a_result() {
        for output in [
            quote!(Result<u32, Oops>),
            quote!(io::Result<()>),
            quote!(R<u32>),
            quote!(u32),
            quote!((Result<u32, &'static str>)),
        ] {
            assert!(matches!(read(quote!(async fn f() -> #output {})).output, Output::Named(_)), "{output}");
        }
        for output in [quote!((u32, String)), quote!([u8; 4]), quote!(())] {
            assert!(matches!(read(quote!(async fn f() -> #output {})).output, Output::Plain(_)), "{output}");
        }
    }

    #[test]
    fn no_return_type_is_the_unit() {
        let Output::Plain(ty) = read(quote!(
            async fn f() {}
        ))
        .output
        else {
            panic!("not a result")
        };
        assert_eq!(text(ty), "()");
    }

    #[test]
    fn only_asynchronous_free_functions_can_be_durable() {
        for (item, expected) in [
            (
                quote!(
                    struct Charge;
                ),
                "`#[durable]` goes on an `async fn`",
            ),
            (
                quote!(
                    async fn charge();
                ),
                "`#[durable]` goes on an `async fn`",
            ),
            (
                quote!(
                    fn charge() {}
                ),
                "a durable function is asynchronous; write `async fn charge`",
            ),
            (
                quote!(
                    async fn charge(&self) {}
                ),
                "a durable function has no `self`",
            ),
            (
                quote!(
                    async fn charge<T>(x: T) {}
                ),
                "a durable function cannot be generic",
            ),
            (
                quote!(
                    async fn charge<const N: usize>() {}
                ),
                "a durable function cannot be generic",
            ),
            (
                quote!(
                    async fn charge<'a>() {}
                ),
                BORROWED_PARAMETER,
            ),
            (
                quote!(
                    async fn charge()
                    where
                        String: Clone,
                    {
                    }
                ),
                "a durable function is not generic",
            ),
            (
                quote!(
                    const async fn charge() {}
                ),
                "a durable function cannot be `const`",
            ),
            (
                quote!(
                    async unsafe fn charge() {}
                ),
                "a durable function cannot be `unsafe`",
            ),
            (
                quote!(
                    async extern "C" fn charge() {}
                ),
                "a durable function cannot be `extern`",
            ),
        ] {
            let found = errors(item.clone());
            assert_eq!(found.len(), 1, "{item}: {found:?}");
            assert!(found[0].starts_with(expected), "{item}: {found:?}");
        }
    }

    #[test]
    fn what_is_stored_is_owned_and_has_a_name() {
        for (item, expected) in [
            (
                quote!(
                    async fn f(x: &str) {}
                ),
                BORROWED_PARAMETER,
            ),
            (
                quote!(
                    async fn f(x: Option<&'static str>) {}
                ),
                BORROWED_PARAMETER,
            ),
            (
                quote!(
                    async fn f(x: &State<Db>) {}
                ),
                BORROWED_PARAMETER,
            ),
            (
                quote!(
                    async fn f(x: Vec<(u8, [&u8; 2])>) {}
                ),
                BORROWED_PARAMETER,
            ),
            (
                quote!(
                    async fn f() -> &'static str {}
                ),
                BORROWED_RESULT,
            ),
            (
                quote!(
                    async fn f() -> Result<&'static str, Oops> {}
                ),
                BORROWED_RESULT,
            ),
            (
                quote!(
                    async fn f(x: impl Serialize) {}
                ),
                "a stored value needs a type that can be named",
            ),
            (
                quote!(
                    async fn f() -> Result<impl Serialize, Oops> {}
                ),
                "a stored value needs a type that can be named",
            ),
            (
                quote!(
                    async fn f(#[cfg(unix)] x: u8) {}
                ),
                "the stored arguments of a call cannot depend on `cfg`",
            ),
        ] {
            let found = errors(item.clone());
            assert_eq!(found.len(), 1, "{item}: {found:?}");
            assert!(found[0].starts_with(expected), "{item}: {found:?}");
        }
    }

    #[test]
    fn what_lives_for_ever_may_be_borrowed_where_it_is_not_stored() {
        read(quote!(
            async fn f(x: Cow<'static, str>) {}
        ));
        read(quote!(
            async fn f(State(db): State<&'static Db>) -> Result<(), &'static str> {}
        ));
    }

    #[test]
    fn everything_wrong_is_told_at_once() {
        assert_eq!(
            errors(quote!(
                fn f<T>(a: &str, b: impl Serialize) {}
            ))
            .len(),
            4
        );
    }
}
