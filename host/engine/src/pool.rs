//! The threads on which samplers run, beside the worker: a plugin that is slow or hangs costs its own request time.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, unbounded};
use tokio::sync::oneshot;

use crate::Error;
use crate::model::Token;
use crate::sampling::{Outcome, Sampling};
use crate::sequence::{End, Owner};
use crate::step::Candidates;

/// A few threads and what they have done. At most one task a sequence is under way, so the channels are bounded
/// by the number of slots, and closing ones are as many as requests end.
pub(crate) struct Pool {
    tasks: Option<Sender<Task>>,
    returned: Receiver<Returned>,
    threads: Vec<JoinHandle<()>>,
}

/// What samplers are to do.
pub(crate) enum Task {
    Advance {
        owner: Owner,
        sampling: Box<Sampling>,
        committed: Vec<Token>,
    },
    /// And begins the step anew, unless the answer ends there.
    Rollback {
        owner: Owner,
        sampling: Box<Sampling>,
        count: u32,
        ends: bool,
    },
    Pick {
        owner: Owner,
        sampling: Box<Sampling>,
        cut: Candidates,
    },
    Close {
        sampling: Box<Sampling>,
        end: End,
        to: oneshot::Sender<Result<End, Error>>,
    },
}

/// What came of it. The sampling is gone where the code of a native sampler panicked.
pub(crate) struct Returned {
    pub owner: Owner,
    pub sampling: Option<Box<Sampling>>,
    /// An outcome after a pick, none after an advance.
    pub result: Result<Option<Outcome>, Error>,
}

impl Pool {
    pub(crate) fn start(threads: usize) -> Self {
        let (tasks, receive_task) = unbounded();
        let (return_to, returned) = unbounded();
        let spawn = |index: usize| {
            let (tasks, return_to): (Receiver<Task>, Sender<Returned>) =
                (receive_task.clone(), return_to.clone());
            // Grammars may recurse deeper than plugins, whose stack is wasmtime's.
            let thread =
                std::thread::Builder::new().name(format!("minerva-sampling-{index}")).stack_size(16 << 20);
            thread.spawn(move || tasks.iter().for_each(|task| run(task, &return_to)))
        };
        // Fewer threads than wished for are enough, as long as there is one.
        let threads: Vec<_> = (0..threads.max(1)).filter_map(|index| spawn(index).ok()).collect();
        Self { tasks: Some(tasks), returned, threads }
    }

    /// Hands a task to the next free thread.
    pub(crate) fn submit(&self, task: Task) {
        if let Some(tasks) = &self.tasks {
            // The threads end only after this sender is dropped.
            let _ = tasks.send(task);
        }
    }

    /// What came back, as it comes.
    pub(crate) fn returned(&self) -> &Receiver<Returned> {
        &self.returned
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.tasks = None;
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn run(task: Task, return_to: &Sender<Returned>) {
    let (owner, done) = match task {
        Task::Advance { owner, mut sampling, committed } => {
            let advance = move || {
                let result = sampling.advance(&committed).map(|()| None);
                (sampling, result)
            };
            (owner, catch_unwind(AssertUnwindSafe(advance)))
        }
        Task::Rollback { owner, mut sampling, count, ends } => {
            let roll_back = move || {
                let result = sampling.rollback(count);
                let result = if ends { result } else { result.and_then(|()| sampling.advance(&[])) };
                (sampling, result.map(|()| None))
            };
            (owner, catch_unwind(AssertUnwindSafe(roll_back)))
        }
        Task::Pick { owner, mut sampling, cut } => {
            let pick = move || {
                let result = sampling.pick(cut).map(Some);
                (sampling, result)
            };
            (owner, catch_unwind(AssertUnwindSafe(pick)))
        }
        Task::Close { sampling, mut end, to } => {
            match catch_unwind(AssertUnwindSafe(move || sampling.close())) {
                Ok(reports) => {
                    end.samplers = reports;
                    let _ = to.send(Ok(end));
                }
                Err(_) => {
                    let _ = to.send(Err(panicked()));
                }
            }
            return;
        }
    };
    let returned = match done {
        Ok((sampling, result)) => Returned { owner, sampling: Some(sampling), result },
        Err(_) => Returned { owner, sampling: None, result: Err(panicked()) },
    };
    // The worker may be gone; then nobody waits for this.
    let _ = return_to.send(returned);
}

fn panicked() -> Error {
    Error::Internal("a native sampler panicked".into())
}
