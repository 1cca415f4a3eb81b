//! The `#[durable]` attribute of Stent. Use it through the `stent` crate, which exports it and everything that its expansion
//! names.
//!
//! | Module | Does |
//! |---|---|
//! | `options` | reads the options in the attribute's parentheses |
//! | `duration`, `rate` | check durations and rates while the user's crate compiles |
//! | `signature` | reads the function: stored parameters, states, return type |
//! | `attributes` | sorts the function's other attributes |
//! | `expand` | writes the items that a durable function becomes |
//!
//! The macro sees text, not types. Where it has to guess a type, it uses the last name of its path, and the compiler rejects a
//! wrong guess.

mod attributes;
mod duration;
mod expand;
mod options;
mod rate;
mod signature;

use proc_macro::TokenStream;

/// Makes an `async fn` durable: a store keeps its arguments, steps and result, and a crash loses nothing.
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
/// async fn checkout(orders: Vec<Order>) -> Result<Vec<Receipt>, stent::Error> {
///     let first = charge(orders[0].clone()).await?;            // a step: recorded, retried, never repeated
///     let rest = charge::map(orders[1..].to_vec()).await?;     // a fan-out over many items
///     Ok([vec![first], rest].concat())
/// }
/// ```
///
/// # What it generates
///
/// | For `charge` | Meaning |
/// |---|---|
/// | `fn charge(order: Order) -> Call<charge>` | a description of a call. Awaited in a durable function, it is a step; passed to `stent.dispatch(…)`, a new execution |
/// | `struct charge {}` | the function as a type, as in `Registry::new().with::<charge>()`. It has the function's visibility |
/// | `charge::map(items)` | a call for every item. An item is the parameter, or a tuple of the parameters if there are several. Not generated if there are no stored parameters |
/// | `impl Function for charge` | its name, options and body |
/// | an entry in the default registry | made at link time, without any call |
///
/// The type is in the namespace of types and modules. A scope that has `fn charge` can therefore have no `mod charge`, and a
/// link in docs must say which it means: `` [`charge()`] `` or `` [`struct@charge`] ``.
///
/// # Options
///
/// All options are optional, and each can be given once. The runtime's defaults apply otherwise.
///
/// | Option | Value | Meaning |
/// |---|---|---|
/// | `cached`, `cached = "1h"` | nothing, or a duration | an equal call gets the kept result; with a duration, for that long |
/// | `idempotent` | | equal calls of all callers run once, and all get the result |
/// | `key = order_number` | path of a function | decides which calls are equal, for the two options above: it takes the stored arguments by reference, and returns anything that can be displayed. Without it, the arguments decide |
/// | `max_concurrent = 10` | 1 or more | how many of its tasks run at the same time, on all workers together |
/// | `max_duration = "10m"` | duration | how long a call may take in total, from its scheduled start; zero is no limit |
/// | `name = "billing.charge"` | text, 1 to 255 bytes, without `@` | the stored name of the function, in place of its own. Set it before you rename the function: executions find their code by this name |
/// | `queue = "payments"` | text, 1 to 255 bytes | the queue of its tasks; workers choose the queues they serve |
/// | `priority = 5` | -32768 to 32767 | among due tasks, the larger priority goes first |
/// | `rate = "100/s"` | number, slash, unit or duration | how many of its tasks start per period, on all workers together |
/// | `retry(…)` | see below | when and how often a failure is retried |
/// | `tags = ["gpu", "eu"]` | texts, 1 to 255 bytes | a worker needs one of these tags to run it; without tags, every worker may |
/// | `unchecked_args` | | a replay does not compare the arguments of calls with the recorded ones. For arguments with another order in each run, such as a `HashSet` |
/// | `version = "2"` | text, 1 to 255 bytes, without `@` | the version. The store knows the function as `name@2`, so versions of one name exist side by side |
///
/// `retry`, or `retry()`, selects the default policy. That differs from no `retry`: a function that has recorded steps is
/// retried only if its own attribute says so, because its steps have their own retries.
///
/// | In `retry(…)` | Value | Meaning |
/// |---|---|---|
/// | `max_attempts = 5` | 1 or more | the maximum number of attempts, including the first |
/// | `initial_delay = "1s"` | duration | the delay before the first retry |
/// | `backoff_factor = 2.0` | 1 or more | multiplies each further delay |
/// | `max_delay = "1m"` | duration | the longest delay |
/// | `jitter = 0.1` | 0 to 1 | spreads a delay by this share, in either direction |
/// | `retry_for = [Timeout, ChargeError::Busy, "stent::Panic"]` | error types, variants, or texts | the kinds of failures to retry; without it, all. Variants are known through `stent::Classify`. A text matches every kind that ends with it |
///
/// A duration is a text of one or more `number unit` pairs, such as `"90s"`, `"1h30m"` or `"1.5d"`, with the units `us`, `ms`,
/// `s`, `m`, `h`, `d` and `w`. It is checked at compile time.
///
/// # Parameters
///
/// A parameter is stored with the call, so its type is owned and implements serde's `Serialize` and `Deserialize`. Its pattern
/// may be any that a function allows.
///
/// A parameter of type `State<T>` is not stored: it comes from the worker that runs the function, and callers do not see it. A
/// worker that has no `T` fails at its start. The macro recognizes it by the name `State` with one type argument, so it cannot
/// be imported under another name.
///
/// # Return type
///
/// A function that can fail returns a `Result`; the value is stored, and the error is turned into a failure, which is retried.
/// The compiler decides whether a type is a `Result`, whatever its name: `Result<T, E>`, `io::Result<T>`, or an alias such as
/// `type R<T> = Result<T, Error>`. Any other type is the value itself.
///
/// # Other attributes
///
/// Other attributes keep their meaning. Docs, `deprecated` and `must_use` go to the function that callers see, `cfg` and
/// `allow` to all items, and everything else, such as `tracing::instrument`, to the function that holds the body, which has
/// the parameters as written.
///
/// # Errors
///
/// The attribute refuses functions that could not be stored and started again by name: functions that are not asynchronous,
/// take `self`, are generic, `unsafe`, `const` or `extern`, borrow a parameter or a result, or hide a type behind `impl`. It
/// also refuses options that do not exist, are given twice or have a value out of range. Each error is reported at its place in
/// the source and says what to write.
#[proc_macro_attribute]
pub fn durable(options: TokenStream, item: TokenStream) -> TokenStream {
    let item = proc_macro2::TokenStream::from(item);
    let expanded = expand::expand(options.into(), item.clone()).unwrap_or_else(|error| {
        // Without its options, or else as written, the function still exists for its callers, so that the one error is not
        // buried under theirs.
        let rest = expand::expand(proc_macro2::TokenStream::new(), item.clone()).unwrap_or(item);
        let error = error.into_compile_error();
        quote::quote!(#error #rest)
    });
    expanded.into()
}
