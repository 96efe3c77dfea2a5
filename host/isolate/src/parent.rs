//! The parent: a model that passes everything on.

use std::cell::RefCell;
use std::io::ErrorKind;
use std::ops::{Range, RangeInclusive};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use minerva_engine::model::{self, Batch, Info, Model, Position, Slot, Token, Vocabulary};
use minerva_llama::{Error, Options};

use crate::Isolation;
use crate::message::{Command, Reply, VERSION};
use crate::process::Process;
use crate::rows::{self, Rows};
use crate::wire::{self, LIMITS};

/// A model in a process of its own.
pub struct Isolated {
    info: Info,
    vocabulary: Arc<dyn Vocabulary>,
    link: RefCell<Link>,
    rows: Rows,
    /// Rows of the last decode.
    count: usize,
}

/// The way to the child.
pub(crate) struct Link {
    socket: UnixStream,
    process: Option<Process>,
    timeout: Duration,
    /// Why nothing comes from there any more.
    gone: Option<String>,
}

/// Starts a process that loads a model. `progress` is as [`minerva_llama::load`]'s; one that cancels kills the process.
///
/// # Errors
///
/// As [`minerva_llama::load`], and when the process cannot be started, is of another version, or ends.
pub fn load(
    isolation: &Isolation,
    options: &Options,
    progress: impl FnMut(f32) -> bool,
) -> Result<Isolated, Error> {
    let program = &isolation.program;
    let failed = |what: &str, error: &std::io::Error| Error::Options {
        path: options.path.clone(),
        cause: format!("{what} ({}): {error}; --isolate=off does without it", program.display()),
    };
    let file = rows::file().map_err(|error| failed("no memory to share with its process", &error))?;
    let (ours, theirs) = UnixStream::pair().map_err(|error| failed("no socket for its process", &error))?;
    let process = Process::start(program, theirs, &file)
        .map_err(|error| failed("its process cannot be started", &error))?;
    let link =
        Link::new(ours, Some(process), isolation.timeout).map_err(|error| failed("its socket", &error))?;
    // After the child has read the whole file, and is content with its vocabulary.
    Isolated::over(link, file, options, progress, minerva_llama::load_vocabulary)
}

impl Link {
    pub(crate) fn new(
        socket: UnixStream,
        process: Option<Process>,
        timeout: Duration,
    ) -> std::io::Result<Self> {
        socket.set_read_timeout(Some(timeout))?;
        socket.set_write_timeout(Some(timeout))?;
        Ok(Self { socket, process, timeout, gone: None })
    }

    fn send(&mut self, command: &Command, payload: &[u8]) -> Result<(), String> {
        match &self.gone {
            Some(why) => Err(why.clone()),
            None => {
                wire::write(&mut self.socket, LIMITS, command, payload).map_err(|error| self.lost(&error))
            }
        }
    }

    fn receive(&mut self) -> Result<(Reply, Vec<u8>), String> {
        wire::read(&mut self.socket, LIMITS).map_err(|error| self.lost(&error))
    }

    /// What is wrong with the child, which is killed for it.
    fn lost(&mut self, error: &std::io::Error) -> String {
        let why = match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                if let Some(process) = &mut self.process {
                    process.kill();
                }
                format!("did not answer for {} s and was killed", self.timeout.as_secs_f64())
            }
            ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => {
                self.process.as_mut().map_or_else(|| "is gone".to_owned(), Process::end)
            }
            _ => {
                if let Some(process) = &mut self.process {
                    process.kill();
                }
                format!("was killed, because what it said cannot be understood: {error}")
            }
        };
        let why = format!("the model's process {why}");
        self.gone = Some(why.clone());
        why
    }
}

impl Isolated {
    /// The number of its process.
    #[must_use]
    pub fn process(&self) -> Option<u32> {
        self.link.borrow().process.as_ref().map(Process::id)
    }

    /// Loads a model over a link.
    pub(crate) fn over(
        mut link: Link,
        mut file: std::fs::File,
        options: &Options,
        mut progress: impl FnMut(f32) -> bool,
        vocabulary: impl FnOnce(&Path) -> Result<Arc<dyn Vocabulary>, Error>,
    ) -> Result<Self, Error> {
        let path = || options.path.clone();
        let failed = |cause: String| Error::Load { path: path(), cause };
        let command = Command::Load { version: VERSION.to_owned(), options: options.clone() };
        link.send(&command, &[]).map_err(failed)?;
        let mut info = loop {
            match link.receive().map_err(failed)?.0 {
                Reply::Progress(part) => {
                    if !progress(part) {
                        return Err(Error::Cancelled { path: path() });
                    }
                }
                Reply::Loaded(info) => break info,
                Reply::NotLoaded(failure) => return Err(failure.of(path())),
                other => return Err(failed(format!("its process said {other:?}"))),
            }
        };
        // A model that embeds makes no logits.
        let count = if info.embeds.is_some() { 0 } else { info.batch_tokens_max };
        let rows = rows::size(count, info.vocabulary_size).and_then(|bytes| Rows::new(&mut file, bytes));
        let rows = rows.map_err(|error| failed(format!("no memory for its logits: {error}")))?;
        link.send(&Command::MapRows, &[]).map_err(failed)?;
        if !matches!(link.receive().map_err(failed)?.0, Reply::Done) {
            return Err(failed("its process cannot map the memory for its logits".to_owned()));
        }
        let vocabulary = vocabulary(&options.path)?;
        if let Some(process) = &link.process {
            tracing::info!(
                process = process.id(),
                model = info.name,
                "the model runs in a process of its own"
            );
        }
        info.device.push_str(", in a process of its own");
        Ok(Self { info, vocabulary, link: RefCell::new(link), rows, count: 0 })
    }

    /// One command, and its answer.
    fn ask(&self, command: &Command, payload: &[u8]) -> Result<(Reply, Vec<u8>), model::Error> {
        let mut link = self.link.borrow_mut();
        let answer = link.send(command, payload).and_then(|()| link.receive());
        match answer.map_err(model::Error::Device)? {
            (Reply::Failed(failure), _) => Err(failure.into()),
            other => Ok(other),
        }
    }

    /// A command that is answered with its being done.
    fn tell(&self, command: &Command, payload: &[u8]) -> Result<Vec<u8>, model::Error> {
        match self.ask(command, payload)? {
            (Reply::Done, payload) => Ok(payload),
            (other, _) => Err(self.misunderstood(&other)),
        }
    }

    /// What a child says that is not of sound mind. It goes.
    fn misunderstood(&self, reply: &Reply) -> model::Error {
        let error = std::io::Error::other(format!("{reply:?}"));
        model::Error::Device(self.link.borrow_mut().lost(&error))
    }
}

impl Model for Isolated {
    fn info(&self) -> &Info {
        &self.info
    }

    fn vocabulary(&self) -> Arc<dyn Vocabulary> {
        Arc::clone(&self.vocabulary)
    }

    fn decode(&mut self, batch: &Batch) -> Result<(), model::Error> {
        self.count = 0;
        self.tell(&Command::Decode(batch.clone()), &[])?;
        self.count = batch.wants_logits.iter().filter(|&&wanted| wanted).count();
        Ok(())
    }

    fn logits(&self, row: usize) -> &[f32] {
        let logits = self.rows.get(row, self.info.vocabulary_size as usize).filter(|_| row < self.count);
        logits.unwrap_or_else(|| panic!("row {row} of logits; the last decode made {}", self.count))
    }

    fn embed(&mut self, texts: &[Vec<Token>]) -> Result<Vec<Vec<f32>>, model::Error> {
        let (reply, bytes) = self.ask(&Command::Embed(texts.to_vec()), &[])?;
        let Reply::Embedded(lengths) = &reply else { return Err(self.misunderstood(&reply)) };
        let mut numbers =
            bytes.chunks_exact(4).map(|four| f32::from_ne_bytes([four[0], four[1], four[2], four[3]]));
        let sum: u64 = lengths.iter().map(|&length| u64::from(length)).sum();
        if lengths.len() != texts.len() || sum * 4 != bytes.len() as u64 {
            return Err(self.misunderstood(&reply));
        }
        Ok(lengths.iter().map(|&length| numbers.by_ref().take(length as usize).collect()).collect())
    }

    fn remove(&mut self, slot: Slot, from: Position) -> Result<(), model::Error> {
        self.tell(&Command::Remove { slot, from }, &[]).map(drop)
    }

    fn discard(&mut self, slot: Slot, range: Range<Position>) -> Result<(), model::Error> {
        self.tell(&Command::Discard { slot, range }, &[]).map(drop)
    }

    fn copy(&mut self, from: Slot, to: Slot) -> Result<(), model::Error> {
        self.tell(&Command::Copy { from, to }, &[]).map(drop)
    }

    fn save(&mut self, slot: Slot) -> Result<Vec<u8>, model::Error> {
        self.tell(&Command::Save(slot), &[])
    }

    fn restore(&mut self, slot: Slot, state: &[u8]) -> Result<(), model::Error> {
        self.tell(&Command::Restore(slot), state).map(drop)
    }

    /// One that is gone holds none.
    fn positions(&self, slot: Slot) -> Option<RangeInclusive<Position>> {
        match self.ask(&Command::Positions(slot), &[]) {
            Ok((Reply::Positions(held), _)) => held.map(|(first, last)| first..=last),
            Ok((other, _)) => {
                self.misunderstood(&other);
                None
            }
            Err(_) => None,
        }
    }
}
