//! What a gateway asks of the runtime: names to look up, targets to dial.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use adit_core::gateway::Gateway;
use adit_core::io::{Completion, PipeId};

use crate::dialler::{Dial, Dialler};
use crate::drive::Driven;
use crate::hub::Request;
use crate::pipe::Pipe;
use crate::runtime::{Runtime, within};
use crate::stream::Stream;

/// How long the system's resolver may take.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves a request on a task of its own.
pub(crate) fn serve<R: Runtime>(
    runtime: &R,
    shared: &Arc<Driven<Gateway, R>>,
    dialler: &Arc<Dialler>,
    request: Request,
) {
    let (here, shared, dialler) = (runtime.clone(), Arc::clone(shared), Arc::clone(dialler));
    match request {
        Request::Resolve { query, host } => runtime.spawn(async move {
            let result = resolve(&here, host).await;
            shared.complete(Completion::Resolved { query, result });
        }),
        Request::Dial { pipe, to, timeout } => {
            runtime.spawn(async move { dial(&here, shared, &dialler, pipe, to, timeout).await });
        }
    }
}

async fn resolve<R: Runtime>(runtime: &R, host: String) -> Result<Vec<IpAddr>, ErrorKind> {
    let found = within(runtime, RESOLVE_TIMEOUT, runtime.resolve(host)).await.ok_or(ErrorKind::TimedOut)?;
    // The resolver's own errors have no kind; what they say is that there is no such name, for now at least.
    let mut addresses = Vec::new();
    for ip in found.map_err(|_| ErrorKind::NotFound)? {
        if !addresses.contains(&ip) {
            addresses.push(ip);
        }
    }
    if addresses.is_empty() { Err(ErrorKind::NotFound) } else { Ok(addresses) }
}

async fn dial<R: Runtime>(
    runtime: &R,
    shared: Arc<Driven<Gateway, R>>,
    dialler: &Dialler,
    pipe: PipeId,
    address: SocketAddr,
    timeout: Duration,
) {
    let wish =
        shared.with(|hub| hub.machine().wish(pipe).map(|(peer, target)| (peer.clone(), target.clone())));
    let unanswered = Unanswered { shared: &shared, pipe };
    let answer = match wish {
        Some((peer, target)) => dialler.dial(runtime, Dial { peer, target, address, timeout }).await,
        // Its connector has gone.
        None => Err(ErrorKind::NotConnected.into()),
    };
    match answer {
        Ok(server) => {
            let stream = Stream::new(Arc::clone(&shared), pipe);
            unanswered.answer(Ok(address));
            server(Pipe::new(stream, address, ())).await;
        }
        Err(error) => {
            tracing::debug!(?pipe, %error, "the target was not reached");
            unanswered.answer(Err(error.kind()));
        }
    }
}

/// A dial that the machine waits for, however the application's dialler ends: it keeps the pipe until then.
struct Unanswered<'a, R: Runtime> {
    shared: &'a Driven<Gateway, R>,
    pipe: PipeId,
}

impl<R: Runtime> Unanswered<'_, R> {
    fn answer(self, result: Result<SocketAddr, ErrorKind>) {
        self.shared.complete(Completion::Dialled { pipe: self.pipe, result });
        std::mem::forget(self);
    }
}

impl<R: Runtime> Drop for Unanswered<'_, R> {
    fn drop(&mut self) {
        let result = Err(ErrorKind::ConnectionAborted);
        self.shared.complete(Completion::Dialled { pipe: self.pipe, result });
    }
}
