//! Who serves the pipes of a gateway: TCP connections, or the application itself.

use std::collections::HashMap;
use std::future::Future;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use adit_core::pki::Identity;
use adit_core::tunnel::Target;

use crate::join::join;
use crate::pipe::Pipe;
use crate::runtime::{Runtime, within};

/// What a connector wants, and may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dial {
    /// Who asks; its certificate was verified.
    pub peer: Identity,
    /// What it asks for.
    pub target: Target,
    /// The address that the target's name resolved to; unspecified (RFC 1122 §3.2.1.3) for the name of a target
    /// that the application serves itself.
    pub address: SocketAddr,
    /// How long the answer may take; the connector is refused after that.
    pub timeout: Duration,
}

pub(crate) type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;
/// Serves one pipe to its end.
pub(crate) type Server = Box<dyn FnOnce(Pipe) -> Boxed<()> + Send>;
/// Answers a wish: with a server, or with the reason why there is none.
pub(crate) type Answer = dyn Fn(Dial) -> Boxed<io::Result<Server>> + Send + Sync;

/// The answers of a gateway to wishes.
#[derive(Clone)]
pub(crate) struct Dialler {
    served: HashMap<Target, Arc<Answer>>,
    other: Arc<Answer>,
}

impl Dialler {
    /// Dials every target by TCP.
    pub(crate) fn tcp<R: Runtime>(runtime: R) -> Self {
        Self { served: HashMap::new(), other: Arc::new(move |dial| Box::pin(connect(runtime.clone(), dial))) }
    }

    /// Has `answer` dial all targets that are not served otherwise.
    pub(crate) fn set_other(&mut self, answer: Arc<Answer>) {
        self.other = answer;
    }

    /// Has `answer` serve `target`.
    pub(crate) fn serve(&mut self, target: Target, answer: Arc<Answer>) {
        self.served.insert(target, answer);
    }

    /// The targets that are served.
    pub(crate) fn served(&self) -> impl Iterator<Item = &Target> {
        self.served.keys()
    }

    /// Answers a wish in time.
    pub(crate) async fn dial<R: Runtime>(&self, runtime: &R, dial: Dial) -> io::Result<Server> {
        let answer = self.served.get(&dial.target).unwrap_or(&self.other);
        let limit = dial.timeout;
        within(runtime, limit, answer(dial)).await.unwrap_or_else(|| Err(ErrorKind::TimedOut.into()))
    }
}

/// Has `handler` serve the streams that it is given, each on a task of its own. It can't refuse.
pub(crate) fn serve_with<R, H, F>(handler: H) -> Arc<Answer>
where
    R: Runtime,
    H: Fn(R::Stream, Dial) -> F + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let handler = Arc::new(handler);
    Arc::new(move |dial| {
        let handler = Arc::clone(&handler);
        let server: Server = Box::new(move |pipe| Box::pin(handler(R::Stream::from(pipe), dial)));
        Box::pin(async move { Ok(server) })
    })
}

/// Has `dial` decide, and what it returns serve the stream.
pub(crate) fn dial_with<R, D, F, S, G>(dial: D) -> Arc<Answer>
where
    R: Runtime,
    D: Fn(Dial) -> F + Send + Sync + 'static,
    F: Future<Output = io::Result<S>> + Send + 'static,
    S: FnOnce(R::Stream) -> G + Send + 'static,
    G: Future<Output = ()> + Send + 'static,
{
    Arc::new(move |wish| {
        let answer = dial(wish);
        Box::pin(async move {
            let serve = answer.await?;
            let server: Server = Box::new(move |pipe| Box::pin(serve(R::Stream::from(pipe))));
            Ok(server)
        })
    })
}

async fn connect<R: Runtime>(runtime: R, dial: Dial) -> io::Result<Server> {
    let tcp = runtime.connect(dial.address).await?;
    Ok(Box::new(move |pipe| {
        Box::pin(async move {
            match join::<R>(tcp, pipe).await {
                Ok(moved) => tracing::trace!(?moved, "the target's connection has ended"),
                Err(error) => tracing::debug!(%error, "the target's connection has broken"),
            }
        })
    }))
}
