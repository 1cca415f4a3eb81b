//! A body that replaces that of a durable function in a test.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use stent_core::{Codec, Failure, Payload, own_failure};

use crate::function::failure::located;
use crate::function::values::encode_output;
use crate::function::{BoxFuture, Function, Registration, arguments};

type Invoke = dyn Fn(&Payload, Codec) -> BoxFuture<'static, Result<Payload, Failure>> + Send + Sync;

/// Another body of a function.
#[derive(Clone)]
pub(crate) struct Fake {
    pub(super) function: Registration,
    pub(super) invoke: Arc<Invoke>,
}

impl Fake {
    pub(crate) fn new<F, Fut>(body: impl Fn(F::Args) -> Fut + Send + Sync + 'static) -> Self
    where
        F: Function,
        Fut: Future<Output = Result<F::Output, Failure>> + Send + 'static,
    {
        let invoke = move |args: &Payload, codec: Codec| -> BoxFuture<'static, Result<Payload, Failure>> {
            match args.decode::<F::Args>() {
                Ok(args) => {
                    let body = body(args);
                    Box::pin(async move {
                        let output = body.await.map_err(located::<F>)?;
                        encode_output(F::NAME, codec, &output)
                    })
                }
                Err(error) => {
                    let message = format!("{}: {error}", arguments::<F>());
                    Box::pin(async move { Err(own_failure(Failure::CODEC, message).fatal()) })
                }
            }
        };
        Self { function: Registration::of::<F>(), invoke: Arc::new(invoke) }
    }
}

impl fmt::Debug for Fake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Fake").field(&self.function.name).finish()
    }
}
