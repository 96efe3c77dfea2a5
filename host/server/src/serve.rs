//! Serves on a listener until told to stop, then drains.

use std::any::Any;
use std::sync::Arc;

use axum::Router;
use axum::serve::Listener;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Duration, timeout};
use tokio_io_timeout::TimeoutStream;

use crate::app::{App, ConnectionLimits};
use crate::router;
use crate::tls::Tls;

/// How long the last bytes may take to reach their readers once no request runs any more.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// Most bytes of a request's head, and of what is read and written at a time.
const BUFFER_BYTES_MAX: usize = 64 << 10;

/// Serves until `shutdown` returns. Then `/ready` says 503 and new work is refused, and what runs may end within
/// [`Options::drain_timeout`](crate::Options::drain_timeout); a load that it waits for included; a
/// stream that takes longer ends with an error event. The models are closed then: their registry loads nothing more.
pub async fn serve<L, F>(app: App, mut listener: L, shutdown: F)
where
    L: Listener,
    F: Future<Output = ()> + Send + 'static,
{
    let models = app.models.clone();
    let (drain_timeout, limits, tls) =
        (app.options.drain_timeout, app.options.connections, app.options.tls.clone());
    let (router, lifecycle) = router::with_lifecycle(app);
    let drained = async move {
        shutdown.await;
        tracing::info!("draining: no new work, {} s for what runs", drain_timeout.as_secs());
        lifecycle.drain(drain_timeout).await;
        // Who still waits for a model to be loaded is told.
        models.registry().close();
    };
    tokio::pin!(drained);
    let places = Arc::new(Semaphore::new(limits.connections_max));
    // Connections end when this is dropped, and it sees when the last one has.
    let open = watch::Sender::new(());
    loop {
        let next = async {
            // The semaphore is never closed. Who finds no place waits in the system's own queue.
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, (mut io, _)) = tokio::select! {
            next = next => next,
            () = &mut drained => break,
        };
        // Events are small and each is wanted at once: nothing may wait for the acknowledgement of the one before.
        if let Some(stream) = (&mut io as &mut dyn Any).downcast_mut::<TcpStream>() {
            let _ = stream.set_nodelay(true);
        }
        let connection = Connection { router: router.clone(), limits, closing: open.subscribe() };
        let tls = tls.clone();
        tokio::spawn(async move {
            connection.secured(io, tls).await;
            drop(place);
        });
    }
    drop(listener);
    open.send_replace(());
    let _ = timeout(FLUSH_TIMEOUT, open.closed()).await;
}

/// One connection, from its first byte to its last.
struct Connection {
    router: Router,
    limits: ConnectionLimits,
    closing: watch::Receiver<()>,
}

impl Connection {
    async fn secured(self, io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, tls: Option<Tls>) {
        let Some(tls) = tls else { return self.serve(io).await };
        match timeout(self.limits.head_timeout, tls.accept(io)).await {
            Ok(Ok(io)) => self.serve(io).await,
            Ok(Err(error)) => tracing::debug!(%error, "a client could not agree with us on TLS"),
            Err(_) => tracing::debug!("a client took too long to agree with us on TLS"),
        }
    }

    async fn serve(mut self, io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let mut io = TimeoutStream::new(io);
        io.set_write_timeout(Some(self.limits.write_timeout));
        let connection = http1::Builder::new()
            // As llama-server's and most others'. Names have no case, but there are clients that look them up with one.
            .title_case_headers(true)
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.head_timeout)
            .max_buf_size(BUFFER_BYTES_MAX)
            .max_header_size(BUFFER_BYTES_MAX)
            .serve_connection(TokioIo::new(Box::pin(io)), TowerToHyperService::new(self.router))
            .with_upgrades();
        tokio::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            _ = self.closing.changed() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            // Clients that hang up are the rule. What ended by a time limit of ours is for whoever looks into it.
            tracing::debug!(%error, "a connection broke");
        }
    }
}
