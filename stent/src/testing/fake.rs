//! Fakes: other bodies for durable functions, and the arguments with which they were called. Dispatches nothing.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use stent_core::Failure;

use crate::durable::call::Call;
use crate::function::fake::Fake;
use crate::function::{BoxFuture, Function};

/// A durable function by its name in the code, as in `builder.fake(charge, …)` and `test.calls(charge)`. Every function
/// with `#[durable]` is one.
pub trait DurableFn<F: Function, A> {}

/// A closure that takes the arguments of a durable function.
pub trait FakeBody<F: Function, A>: Send + Sync + 'static {
    /// Calls the closure.
    fn call(&self, args: F::Args) -> BoxFuture<'static, Result<F::Output, Failure>>;
}

macro_rules! arities {
    ($($($name:ident)*;)*) => {$(
        impl<Fun, C, $($name),*> DurableFn<Fun, ($($name,)*)> for C
        where
            Fun: Function,
            C: Fn($($name),*) -> Call<Fun>,
        {
        }

        #[allow(non_snake_case, reason = "parameters are named as their types are")]
        impl<Fun, Body, Fut, $($name),*> FakeBody<Fun, ($($name,)*)> for Body
        where
            Fun: Function<Args = ($($name,)*)>,
            Body: Fn($($name),*) -> Fut + Send + Sync + 'static,
            Fut: Future<Output = Result<Fun::Output, Failure>> + Send + 'static,
        {
            fn call(&self, ($($name,)*): ($($name,)*)) -> BoxFuture<'static, Result<Fun::Output, Failure>> {
                Box::pin(self($($name),*))
            }
        }
    )*};
}

arities! {
    ;
    A;
    A B;
    A B C1;
    A B C1 D;
    A B C1 D E;
    A B C1 D E G;
    A B C1 D E G H;
    A B C1 D E G H I;
}

/// The arguments of calls, by function.
type ByFunction = BTreeMap<&'static str, Vec<Box<dyn Any + Send>>>;

/// The calls of the fakes of one test.
#[derive(Clone, Default)]
pub(super) struct Calls(Arc<Mutex<ByFunction>>);

impl Calls {
    /// A fake of a function, which records its calls here.
    pub(super) fn fake<F, A, B>(&self, body: B) -> Fake
    where
        F: Function<Args: Clone>,
        B: FakeBody<F, A>,
        A: 'static,
    {
        self.lock().entry(F::NAME).or_default();
        let calls = self.clone();
        let body = Arc::new(body);
        Fake::new::<F, _>(move |args: F::Args| {
            let kept: Box<dyn Any + Send> = Box::new(args.clone());
            calls.lock().entry(F::NAME).or_default().push(kept);
            body.call(args)
        })
    }

    /// The arguments of the calls of a function's fake, in order; `None` if it has none.
    pub(super) fn of<F: Function<Args: Clone>>(&self) -> Option<Vec<F::Args>> {
        let calls = self.lock();
        let args = calls.get(F::NAME)?.iter().filter_map(|args| args.downcast_ref::<F::Args>());
        Some(args.cloned().collect())
    }

    fn lock(&self) -> MutexGuard<'_, ByFunction> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let calls = self.lock();
        f.debug_map().entries(calls.iter().map(|(function, calls)| (function, calls.len()))).finish()
    }
}
