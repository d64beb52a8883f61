//! Peer URLs: accepts connections and serves them over HTTP/1.1.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use net::{BoundSocket, Connection, ConnectionLimit, Listener, LocalAddress, Secured, Security};
use tokio::sync::Notify;

use crate::deadline::Deadline;
use crate::gate::Gate;
use crate::handlers::handle;
use crate::transport::{Shared, Transport};

/// After a failed accept (too many open files), how long to leave the listener alone.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The listening side.
pub struct Server {
    shared: Arc<Shared>,
    gate: Arc<dyn Gate>,
}

impl Server {
    /// Serves on the transport's thread; it ends with the transport.
    pub fn new(transport: &Transport, gate: Arc<dyn Gate>) -> Self {
        Self { shared: Arc::clone(&transport.shared), gate }
    }

    /// Serves whoever connects. The answer is where the socket really listens.
    pub fn open(
        &self,
        socket: BoundSocket,
        limit: ConnectionLimit,
        security: Security,
    ) -> io::Result<LocalAddress> {
        let listener = {
            let _entered = self.shared.runtime.enter();
            socket.listen(limit)?
        };
        let address = listener.local_address()?;
        let (shared, gate) = (Arc::clone(&self.shared), Arc::clone(&self.gate));
        self.shared.runtime.spawn(accept(shared, gate, listener, security));
        Ok(address)
    }
}

async fn accept(shared: Arc<Shared>, gate: Arc<dyn Gate>, listener: Listener, security: Security) {
    loop {
        match listener.accept().await {
            Ok(connection) => {
                let (shared, gate) = (Arc::clone(&shared), Arc::clone(&gate));
                tokio::spawn(serve(shared, gate, connection, security.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "failed to accept a peer's connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(
    shared: Arc<Shared>,
    gate: Arc<dyn Gate>,
    connection: Connection,
    security: Security,
) {
    let Connection { stream, peer, permit } = connection;
    let Some(Secured { stream, .. }) = security.secure(stream, peer).await else { return };
    let stream = Deadline::new(stream, shared.identity.write_timeout);
    // In this time the head of a request must be there, also that of the next one.
    let head = shared.identity.read_timeout;
    // Ends the connection when its stream is replaced, or stuck.
    let hang_up = Arc::new(Notify::new());
    let service = {
        let hang_up = Arc::clone(&hang_up);
        service_fn(move |request| {
            let (shared, gate) = (Arc::clone(&shared), Arc::clone(&gate));
            let hang_up = Arc::clone(&hang_up);
            async move { Ok::<_, Infallible>(handle(&shared, &*gate, request, hang_up).await) }
        })
    };
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(head);
    let served = builder.serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        // What breaks a connection is told where it is read.
        _ = served => {}
        () = hang_up.notified() => {}
    }
    drop(permit);
}
