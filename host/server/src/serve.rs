//! Serves on a listener until told to stop, then drains.

use std::any::Any;
use std::time::Duration;

use axum::serve::{Listener, ListenerExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use crate::app::App;
use crate::router;

/// How long the last bytes may take to reach their readers once no request runs any more.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// Why serving ended other than it should.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The listener failed.
    #[error("the server cannot accept connections: {0}")]
    Accept(#[source] std::io::Error),
}

/// Serves until `shutdown` returns. Then `/ready` says 503 and new work is refused, and what runs may end within
/// [`Options::drain_timeout`](crate::Options::drain_timeout), a load that it waits for included; a stream that takes
/// longer ends with an error event. The models are closed then: their registry loads nothing more.
///
/// # Errors
///
/// When the listener fails.
pub async fn serve<L, F>(app: App, listener: L, shutdown: F) -> Result<(), Error>
where
    L: Listener,
    L::Addr: std::fmt::Debug,
    F: Future<Output = ()> + Send + 'static,
{
    let drain_timeout = app.options.drain_timeout;
    let models = app.models.clone();
    let (router, lifecycle) = router::with_lifecycle(app);
    let (drained, mut is_drained) = oneshot::channel::<()>();
    let stop = async move {
        shutdown.await;
        tracing::info!("draining: no new work, {} s for what runs", drain_timeout.as_secs());
        lifecycle.drain(drain_timeout).await;
        // Who still waits for a model to be loaded is told.
        models.registry().close();
        let _ = drained.send(());
    };
    let listener = listener.tap_io(|io| {
        // Events are small and each is wanted at once: nothing may wait for the acknowledgement of the one before.
        if let Some(stream) = (io as &mut dyn Any).downcast_mut::<TcpStream>() {
            let _ = stream.set_nodelay(true);
        }
    });
    let serving = axum::serve(listener, router).with_graceful_shutdown(stop).into_future();
    let too_slow = async {
        // Nothing is sent if serving fails first, and then nobody looks here.
        let _ = (&mut is_drained).await;
        tokio::time::sleep(FLUSH_TIMEOUT).await;
    };
    tokio::select! {
        served = serving => served.map_err(Error::Accept),
        () = too_slow => Ok(()),
    }
}
