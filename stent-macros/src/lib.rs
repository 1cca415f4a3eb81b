//! The `#[durable]` attribute of Stent. Use it through the `stent` crate, which exports it and all that its expansion
//! names.
//!
//! | Module | Does |
//! |---|---|
//! | `options` | reads what stands in the attribute's parentheses |
//! | `duration`, `rate` | check durations and rates while the user's crate compiles |
//! | `signature` | reads the function: stored parameters, state, what is returned |
//! | `attributes` | sorts the function's other attributes |
//! | `expand` | writes the items that a durable function becomes |
//!
//! The macro sees text and not types. Where it has to guess what a type is, it goes by the last name of its path, and
//! the compiler refuses the guess when it is wrong.

mod attributes;
mod duration;
mod expand;
mod options;
mod rate;
mod signature;

use proc_macro::TokenStream;

/// Makes an `async fn` durable: its arguments, its steps and its result are kept in a store, and a crash loses nothing.
///
/// ```ignore
/// use stent::prelude::*;
///
/// /// Charges the card.
/// #[durable(queue = "payments", retry(max_attempts = 5, initial_delay = "1s"))]
/// async fn charge(order: Order, State(cards): State<Cards>) -> Result<Receipt, ChargeError> {
///     cards.charge(&order).await
/// }
///
/// #[durable]
/// async fn checkout(orders: Vec<Order>) -> Result<Vec<Receipt>, ChargeError> {
///     let first = charge(orders[0].clone()).await?;            // a step: recorded, retried, never repeated
///     let rest = charge::map(orders[1..].to_vec()).await?;     // a fan-out over many items
///     Ok([vec![first], rest].concat())
/// }
/// ```
///
/// # What it leaves
///
/// | For `charge` | Is |
/// |---|---|
/// | `fn charge(order: Order) -> Call<charge>` | a description of a call. Awaited in a durable function it is a step, given to `stent.dispatch(…)` a new execution |
/// | `struct charge {}` | the function as a type, as in `Registry::new().with::<charge>()`. It has the function's visibility |
/// | `charge::map(items)` | a call for every item. An item is the parameter, or the tuple of them when there are several. Not there when nothing is stored |
/// | `impl Function for charge` | its name, options and body |
/// | an entry in the default registry | made at link time, without any call |
///
/// The type stands in the namespace of types and modules. A scope that has `fn charge` can therefore have no
/// `mod charge`, and a link in the docs says which it means: `` [`charge()`] `` or `` [`struct@charge`] ``.
///
/// # Options
///
/// All are optional, and each can be given once. What is not given is the runtime's default.
///
/// | Option | Value | Means |
/// |---|---|---|
/// | `cached`, `cached = "1h"` | nothing, or a duration | the result of a call answers the same call made again; with a duration, for so long |
/// | `idempotent` | | the same call, whoever makes it, runs once, and all have its result |
/// | `key = order_number` | path of a function | which calls are the same, for the two above: it is given the stored arguments by reference, and returns anything that has a text. Without it, the arguments decide |
/// | `max_concurrent = 10` | 1 or more | how many of its tasks run at the same time, on all workers together |
/// | `max_duration = "10m"` | duration | how long a call of it may take in all, from when it may start; zero is no limit |
/// | `name = "billing.charge"` | text, 1 to 255 bytes, without `@` | what the function is stored as, in place of its own name. Give it before a rename: executions find their code by it |
/// | `queue = "payments"` | text, 1 to 255 bytes | the queue its tasks wait in; workers choose the queues they serve |
/// | `priority = 5` | -32768 to 32767 | among tasks that are due, the larger goes first |
/// | `rate = "100/s"` | number, slash, unit or duration | how many of its tasks start in a stretch of time, on all workers together |
/// | `retry(…)` | see below | when and how often a failure is tried again |
/// | `tags = ["gpu", "eu"]` | texts, 1 to 255 bytes | what a worker needs one of to run it; without tags, every worker may |
/// | `unchecked_args` | | a replay does not compare the arguments of its calls with the recorded ones. For arguments that have another order in each run, such as a `HashSet` |
/// | `version = "2"` | text, 1 to 255 bytes, without `@` | which version this is. The store knows the function as `name@2`, so versions of one name stand side by side |
///
/// `retry`, or `retry()`, asks for the default policy. That is not the same as silence: a function that has recorded
/// steps is retried only when its own attribute says so, for its steps have retries of their own.
///
/// | In `retry(…)` | Value | Means |
/// |---|---|---|
/// | `max_attempts = 5` | 1 or more | how often it runs at most, the first time included |
/// | `initial_delay = "1s"` | duration | the wait before the first retry |
/// | `backoff_factor = 2.0` | 1 or more | what each further wait is multiplied by |
/// | `max_delay = "1m"` | duration | the longest wait |
/// | `jitter = 0.1` | 0 to 1 | the share of a wait by which it is spread, in either direction |
/// | `retry_for = [Timeout, ChargeError::Busy, "stent::Panic"]` | error types, variants of them, or texts | the kinds of failures that are worth another attempt; without it, all are. A variant is known by `stent::Classify`. A text stands for every kind that ends so |
///
/// A duration is a text of one or more `number unit` pairs, such as `"90s"`, `"1h30m"` or `"1.5d"`, with the units
/// `us`, `ms`, `s`, `m`, `h`, `d` and `w`. It is checked while the crate compiles.
///
/// # Parameters
///
/// A parameter is stored with the call, so its type is owned and can be serialized and deserialized. Its pattern may be
/// any that a function allows.
///
/// A parameter of type `State<T>` is not stored: it comes from the worker that runs the function, and callers do not
/// see it. A worker that has no `T` fails at its start. It is recognized by the name `State` and its one type argument,
/// so it cannot be imported under another name.
///
/// # Return type
///
/// A function that can fail returns a `Result`; the value is stored, and the error is turned into a failure, which is
/// retried. The compiler tells whether a type is one, whatever it is called: `Result<T, E>`, `io::Result<T>`, or an alias such
/// as `type R<T> = Result<T, Error>`. Any other type is the value itself.
///
/// # Other attributes
///
/// They keep their meaning. Docs, `deprecated` and `must_use` go to the function that callers see, `cfg` and `allow` to
/// all items, and everything else, such as `tracing::instrument`, to the function that holds the body, which has the
/// parameters as they were written.
///
/// # Errors
///
/// The attribute refuses functions that could not be stored and started again by name: those that are not asynchronous,
/// take `self`, are generic, `unsafe`, `const` or `extern`, borrow a parameter or a result, or hide a type behind
/// `impl`. It refuses options that do not exist, are given twice or have a value out of range. Each error stands at its
/// place in the source and says what to write.
#[proc_macro_attribute]
pub fn durable(options: TokenStream, item: TokenStream) -> TokenStream {
    let item = proc_macro2::TokenStream::from(item);
    let expanded = expand::expand(options.into(), item.clone()).unwrap_or_else(|error| {
        // Without its options, or else as it was written, the function is still there for those who call it, so the
        // one error is not buried under theirs.
        let rest = expand::expand(proc_macro2::TokenStream::new(), item.clone()).unwrap_or(item);
        let error = error.into_compile_error();
        quote::quote!(#error #rest)
    });
    expanded.into()
}
