//! What a machine asks of the runtime: names to look up, targets to dial.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use adit_core::io::{Completion, PipeId};
use adit_driver::{Pipes, Request, Shared, Stream};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use crate::join::join;
use crate::reactor::TokioReactor;

/// How long the system's resolver may take.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves a request on a task of its own.
pub(crate) fn serve<M>(shared: &Arc<Shared<M, TokioReactor>>, request: Request)
where
    M: Pipes<Event: Send> + Send + 'static,
{
    let shared = Arc::clone(shared);
    match request {
        Request::Resolve { query, host } => drop(tokio::spawn(async move {
            let result = resolve(&host).await;
            shared.complete(Completion::Resolved { query, result });
        })),
        Request::Dial { pipe, to, timeout } => drop(tokio::spawn(dial(shared, pipe, to, timeout))),
    }
}

async fn resolve(host: &str) -> Result<Vec<IpAddr>, ErrorKind> {
    let found = timeout(RESOLVE_TIMEOUT, lookup_host((host, 0))).await.map_err(|_| ErrorKind::TimedOut)?;
    // The resolver's own errors have no kind; what they say is that there is no such name, for now at least.
    let mut addresses = Vec::new();
    for address in found.map_err(|_| ErrorKind::NotFound)? {
        if !addresses.contains(&address.ip()) {
            addresses.push(address.ip());
        }
    }
    if addresses.is_empty() { Err(ErrorKind::NotFound) } else { Ok(addresses) }
}

async fn dial<M: Pipes>(shared: Arc<Shared<M, TokioReactor>>, pipe: PipeId, to: SocketAddr, limit: Duration) {
    match connect(to, limit).await {
        Ok(tcp) => {
            let stream = Stream::new(Arc::clone(&shared), pipe);
            shared.complete(Completion::Dialled { pipe, result: Ok(to) });
            match join(tcp, stream).await {
                Ok(moved) => tracing::trace!(?pipe, ?moved, "the target's connection has ended"),
                Err(error) => tracing::debug!(?pipe, %error, "the target's connection has broken"),
            }
        }
        Err(error) => {
            tracing::debug!(?pipe, %error, "the target was not reached");
            shared.complete(Completion::Dialled { pipe, result: Err(error.kind()) });
        }
    }
}

async fn connect(to: SocketAddr, limit: Duration) -> io::Result<TcpStream> {
    timeout(limit, TcpStream::connect(to)).await.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn addresses_and_names_are_resolved() {
        assert_eq!(resolve("127.0.0.1").await, Ok(vec!["127.0.0.1".parse().unwrap()]));
        assert_eq!(resolve("::1").await, Ok(vec!["::1".parse().unwrap()]));
        assert!(!resolve("localhost").await.unwrap().is_empty());
        assert_eq!(resolve("nothing.invalid").await, Err(ErrorKind::NotFound));
    }

    #[tokio::test]
    async fn a_refused_dial_is_told_apart() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let free = listener.local_addr().unwrap();
        drop(listener);
        let error = connect(free, Duration::from_secs(1)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    }
}
