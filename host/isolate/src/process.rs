//! The child as a process: started with little, listened to, and ended.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tracing::level_filters::LevelFilter;

use crate::COMMAND;

/// Of the environment, what a GPU's libraries look for; anything else may be a secret.
const VARIABLES: [&str; 6] =
    ["PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR"];
const PREFIXES: [&str; 8] = ["CUDA_", "NVIDIA_", "GGML_", "VK_", "MESA_", "HIP_", "ROCR_", "HSA_"];

/// The most of a line that is logged.
const LINE_BYTES_MAX: u64 = 8192;

/// How long a process that was killed may take to be gone. One that hangs in a driver takes for ever.
const END_WAIT: Duration = Duration::from_secs(10);

/// A model's process. Dropping it kills it, and waits until its memory is free.
pub(crate) struct Process {
    child: Arc<Mutex<Child>>,
    ended: mpsc::Receiver<End>,
    end: Option<End>,
}

/// How it ended, and its last words.
struct End {
    status: Option<ExitStatus>,
    words: Option<String>,
}

impl Process {
    /// Starts the program, with a socket to talk by and the memory for rows.
    pub(crate) fn start(program: &Path, socket: UnixStream, rows: &File) -> std::io::Result<Self> {
        let mut command = Command::new(program);
        let variables = std::env::vars_os().filter(|(name, _)| {
            let name = name.to_str().unwrap_or_default();
            VARIABLES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        });
        command
            // What lists of processes show.
            .arg0("minerva")
            .arg(COMMAND)
            .arg(LevelFilter::current().to_string())
            .env_clear()
            .envs(variables)
            .stdin(OwnedFd::from(socket))
            .stdout(rows.try_clone()?)
            .stderr(Stdio::piped())
            // What a terminal sends to a whole group is for the parent: it drains first.
            .process_group(0);
        let (started, start) = mpsc::channel();
        let (tell, ended) = mpsc::channel();
        // The kernel kills the child when the thread ends that started it: so that one does nothing else.
        std::thread::Builder::new().name("minerva-isolate".into()).spawn(move || {
            let spawned = command.spawn();
            // With it go the copies of what the child was given: the socket is closed when the child is gone.
            drop(command);
            let mut child = match spawned {
                Ok(child) => child,
                Err(error) => return drop(started.send(Err(error))),
            };
            let errors = child.stderr.take();
            let child = Arc::new(Mutex::new(child));
            if started.send(Ok(Arc::clone(&child))).is_err() {
                let _ = lock(&child).kill();
            }
            let words = errors.and_then(listen);
            let _ = tell.send(End { status: wait(&child), words });
        })?;
        let child = start.recv().map_err(std::io::Error::other)??;
        tracing::debug!(process = lock(&child).id(), "a model's process was started");
        Ok(Self { child, ended, end: None })
    }

    /// Its number.
    pub(crate) fn id(&self) -> u32 {
        lock(&self.child).id()
    }

    /// Kills it, if it is there still, and says how it ended.
    pub(crate) fn end(&mut self) -> String {
        if self.end.is_none() {
            // One that ends by itself is given the time to say how: the socket is closed before the status is known.
            self.end = self.ended.recv_timeout(Duration::from_secs(1)).ok();
        }
        self.kill();
        let Some(End { status, words }) = &self.end else {
            return "was killed, and is not gone yet".to_owned();
        };
        let how = match status.map(|status| (status.signal(), status.code())) {
            Some((Some(signal), _)) => format!("was ended by {}", signal_name(signal)),
            Some((None, Some(code))) => format!("ended with code {code}"),
            _ => "ended".to_owned(),
        };
        words.as_ref().map_or_else(|| how.clone(), |words| format!("{how}: {words}"))
    }

    /// Kills it, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        if self.end.is_none() {
            let _ = lock(&self.child).kill();
            self.end = self.ended.recv_timeout(END_WAIT).ok();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn lock(child: &Mutex<Child>) -> std::sync::MutexGuard<'_, Child> {
    child.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits for the end of a process that has closed its standard error: that is mostly its end.
fn wait(child: &Mutex<Child>) -> Option<ExitStatus> {
    loop {
        match lock(child).try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) => {}
            Err(_) => return None,
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn signal_name(signal: i32) -> String {
    let names = [
        (4, "SIGILL"),
        (6, "SIGABRT"),
        (7, "SIGBUS"),
        (8, "SIGFPE"),
        (9, "SIGKILL"),
        (11, "SIGSEGV"),
        (15, "SIGTERM"),
    ];
    let name = names.iter().find(|(number, _)| *number == signal);
    name.map_or_else(|| format!("signal {signal}"), |(_, name)| (*name).to_owned())
}

/// Logs what the child says until it says no more; gives its last complaint.
fn listen(errors: ChildStderr) -> Option<String> {
    let mut errors = BufReader::new(errors);
    let (mut line, mut words) = (Vec::new(), None);
    loop {
        line.clear();
        match errors.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return words,
            Ok(_) => {}
        }
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end();
        if !text.trim_start().is_empty()
            && let Some(complaint) = log(text)
        {
            words = Some(complaint.to_owned());
        }
    }
}

/// Logs a line, `LEVEL target: text`, or what a library printed by itself. Gives its text, if it is a complaint.
fn log(line: &str) -> Option<&str> {
    let known = ["ERROR ", "WARN ", "INFO ", "DEBUG ", "TRACE "];
    let level = known.iter().position(|level| line.trim_start().starts_with(level));
    let Some(level) = level else {
        tracing::warn!(target: "isolated", "{line}");
        return Some(line);
    };
    let rest = line.trim_start()[known[level].len()..].trim_start();
    let (target, text) = rest.split_once(": ").unwrap_or(("", rest));
    // A target is a constant.
    macro_rules! emit {
        ($target:literal) => {
            match level {
                0 => tracing::error!(target: $target, "{text}"),
                1 => tracing::warn!(target: $target, "{text}"),
                2 => tracing::info!(target: $target, "{text}"),
                3 => tracing::debug!(target: $target, "{text}"),
                _ => tracing::trace!(target: $target, "{text}"),
            }
        };
    }
    if target == "llama.cpp" {
        emit!("llama.cpp");
    } else {
        emit!("isolated");
    }
    (level == 0).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_are_told_from_other_lines() {
        assert_eq!(log("ERROR llama.cpp: out of memory: 9 MiB"), Some("out of memory: 9 MiB"));
        assert_eq!(log(" INFO minerva_llama::load: each slot holds"), None);
        assert_eq!(log("free(): invalid pointer"), Some("free(): invalid pointer"));
        assert_eq!(log("ERROR"), Some("ERROR"));
    }

    #[test]
    fn a_program_that_is_not_there_is_an_error() {
        let (socket, _) = UnixStream::pair().expect("a pair");
        let rows = crate::rows::file().expect("memory");
        assert!(Process::start(Path::new("/nowhere/minerva"), socket, &rows).is_err());
    }

    #[test]
    fn how_it_ended_is_told_with_its_last_words() {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        let rows = crate::rows::file().expect("memory");
        // A shell looks for a script of the command's name.
        let mut process = Process::start(Path::new("/bin/sh"), theirs, &rows).expect("it starts");
        // Its end closes the socket.
        assert_eq!((&ours).read(&mut [0]).expect("the end"), 0);
        let how = process.end();
        assert!(how.starts_with("ended with code") && how.contains(COMMAND), "{how}");
    }
}
