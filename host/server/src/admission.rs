//! Which requests are let in, and how the server ends: it drains, then it closes.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRef, FromRequestParts};
use axum::http::request::Parts;
use tokio::sync::watch;

use crate::client::{Client, Permit};
use crate::failure::Failure;
use crate::metrics::Answers;
use crate::traces::Trace;

/// How far the server is from its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Requests are let in.
    Serving,
    /// No new work; what runs may end.
    Draining,
    /// What still runs ends now, with an error.
    Closing,
}

/// The phase of a server, and how many requests for work it has let in. Clones share it.
#[derive(Clone)]
pub(crate) struct Lifecycle {
    answers: Answers,
    phase: Arc<watch::Sender<Phase>>,
    admitted: Arc<watch::Sender<usize>>,
}

impl Lifecycle {
    pub(crate) fn new(answers: Answers) -> Self {
        Self {
            answers,
            phase: Arc::new(watch::Sender::new(Phase::Serving)),
            admitted: Arc::new(watch::Sender::new(0)),
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Lets no more work in and waits for what is in, for so long; then ends what is left.
    pub(crate) async fn drain(&self, timeout: Duration) {
        self.phase.send_replace(Phase::Draining);
        let mut admitted = self.admitted.subscribe();
        if tokio::time::timeout(timeout, admitted.wait_for(|count| *count == 0)).await.is_err() {
            let left = *self.admitted.borrow();
            tracing::warn!(
                left,
                "the drain timeout is over with {left} requests still running; they end now"
            );
        }
        self.phase.send_replace(Phase::Closing);
    }

    /// Returns when what still runs has to end.
    pub(crate) async fn closing(&self) {
        let mut phase = self.phase.subscribe();
        // The sender lives in `self`, so waiting cannot fail.
        let _ = phase.wait_for(|phase| *phase == Phase::Closing).await;
    }

    /// Returns when no more work is let in.
    pub(crate) async fn draining(&self) {
        let mut phase = self.phase.subscribe();
        let _ = phase.wait_for(|phase| *phase >= Phase::Draining).await;
    }

    /// Lets a request in, unless the server is ending.
    pub(crate) fn admit(&self) -> Result<Admission, Failure> {
        let admission = Admission { lifecycle: self.clone(), client: None, permit: None, trace: None };
        self.admitted.send_modify(|count| *count += 1);
        // Looked at after the count is raised: a drain that begins now sees this request.
        if self.phase() == Phase::Serving { Ok(admission) } else { Err(ending()) }
    }
}

/// What those are told who come too late, or took too long.
pub(crate) fn ending() -> Failure {
    Failure::unavailable("the server is shutting down")
}

/// Held as long as a request runs, so that a drain waits for it. An extractor: a handler that has it is one of
/// those that a drain waits for.
pub(crate) struct Admission {
    lifecycle: Lifecycle,
    /// Who asks, and its permit; absent where no layer looked at keys.
    client: Option<Client>,
    permit: Option<Arc<Permit>>,
    trace: Option<Trace>,
}

impl Admission {
    /// Returns when the request has to end.
    pub(crate) fn closing(&self) -> impl Future<Output = ()> + Send + use<> {
        let lifecycle = self.lifecycle.clone();
        async move { lifecycle.closing().await }
    }

    /// Returns when no new work is let in any more.
    pub(crate) async fn draining(&self) {
        self.lifecycle.draining().await;
    }

    /// Tells the one who asks from others in the engine's queue.
    pub(crate) fn tenant(&self) -> u64 {
        self.client.as_ref().map_or(0, Client::id)
    }

    /// Where what the request does is noted, if it is.
    pub(crate) fn trace(&self) -> Option<&Trace> {
        self.trace.as_ref()
    }

    /// Puts an error into the log, the metrics and the trace that comes when the status is out already.
    pub(crate) fn broken(&self, failure: &Failure) {
        if let Some(trace) = &self.trace {
            trace.broke(failure.type_name());
        }
        failure.log();
        self.lifecycle.answers.count_broken(failure.type_name());
    }
}

impl Clone for Admission {
    fn clone(&self) -> Self {
        self.lifecycle.admitted.send_modify(|count| *count += 1);
        let Self { lifecycle, client, permit, trace } = self;
        Self {
            lifecycle: lifecycle.clone(),
            client: client.clone(),
            permit: permit.clone(),
            trace: trace.clone(),
        }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.lifecycle.admitted.send_modify(|count| *count -= 1);
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Admission
where
    Lifecycle: FromRef<S>,
{
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let mut admission = Lifecycle::from_ref(state).admit()?;
        admission.client = parts.extensions.get().cloned();
        admission.permit = parts.extensions.get().cloned();
        admission.trace = parts.extensions.get().cloned();
        Ok(admission)
    }
}
