//! Steps at which a test can stop the world: the places between two writes where a crash would be worst.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

type Hook = dyn Fn(&str) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync;

/// What happens at each step. Nothing, unless a test says otherwise.
#[derive(Clone, Default)]
pub struct Faults(Option<Arc<Hook>>);

impl Faults {
    /// At every step, `hook` is asked with the step's name and awaited. One that never ends is a crash at this step,
    /// once its runtime is dropped.
    pub fn new<F>(hook: impl Fn(&str) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self(Some(Arc::new(move |step| Box::pin(hook(step)))))
    }

    /// The step with this name, as `lease.create:row`, is reached.
    pub async fn reach(&self, step: &str) {
        if let Some(hook) = &self.0 {
            hook(step).await;
        }
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Faults").field(&self.0.is_some()).finish()
    }
}
