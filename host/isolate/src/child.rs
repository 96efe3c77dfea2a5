//! The child: loads one model, and does what it is told.

use std::fs::File;
use std::io::{Error, ErrorKind, Result};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use minerva_engine::model::Model;
use minerva_llama::Options;
use rustix::process::{Signal, set_parent_process_death_signal};

use crate::message::{Command, Reply, VERSION};
use crate::rows::RowsMut;
use crate::wire::{self, LIMITS};

/// Is a model's process, until its parent has gone. The parent's socket is standard input, the memory for rows standard
/// output. Logs go to standard error, a line each that begins with its level; a subscriber is the caller's to install.
///
/// # Errors
///
/// When it was not started by [`load`](crate::load), or what comes is no command.
pub fn run() -> Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let socket = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    let rows = File::from(std::io::stdout().as_fd().try_clone_to_owned()?);
    if socket.peer_addr().is_err() {
        return Err(Error::other("this command is the program's own, for `--isolate`"));
    }
    serve(socket, &rows, |options, progress| {
        Ok(Box::new(minerva_llama::load(options, progress)?) as Box<dyn Model>)
    })
}

/// Loads a model.
type Loader =
    fn(&Options, &mut dyn FnMut(f32) -> bool) -> std::result::Result<Box<dyn Model>, minerva_llama::Error>;

/// Loads what the first command says, and then obeys until the socket is closed.
pub(crate) fn serve(mut socket: UnixStream, rows: &File, load: Loader) -> Result<()> {
    let (Command::Load { version, options }, _) = read(&mut socket)? else {
        return Err(Error::new(ErrorKind::InvalidData, "the first command loads"));
    };
    if version != VERSION {
        let why = format!("the program is of version {VERSION}, and {version} is needed");
        let failure = crate::message::LoadFailure::Options(why);
        return wire::write(&mut socket, LIMITS, &Reply::NotLoaded(failure), &[]);
    }
    let mut told = 0.0;
    let mut progress = |part: f32| {
        // Who is not heard any more has gone.
        let is_news = part >= 1.0 || part - told >= 0.001;
        if is_news {
            told = part;
        }
        !is_news || wire::write(&mut socket, LIMITS, &Reply::Progress(part), &[]).is_ok()
    };
    let mut model = match load(&options, &mut progress) {
        Ok(model) => model,
        Err(error) => return wire::write(&mut socket, LIMITS, &Reply::NotLoaded(error.into()), &[]),
    };
    wire::write(&mut socket, LIMITS, &Reply::Loaded(model.info().clone()), &[])?;
    let mut rows = match read(&mut socket) {
        Ok((Command::MapRows, _)) => RowsMut::new(rows)?,
        Ok(_) => return Err(Error::new(ErrorKind::InvalidData, "the second command maps the rows")),
        Err(error) => return gone(error),
    };
    wire::write(&mut socket, LIMITS, &Reply::Done, &[])?;
    loop {
        let (command, payload) = match read(&mut socket) {
            Ok(read) => read,
            Err(error) => return gone(error),
        };
        let (reply, payload) = obey(model.as_mut(), &mut rows, command, &payload)
            .unwrap_or_else(|error| (Reply::Failed(error.into()), Vec::new()));
        wire::write(&mut socket, LIMITS, &reply, &payload)?;
    }
}

fn read(socket: &mut UnixStream) -> Result<(Command, Vec<u8>)> {
    wire::read(socket, LIMITS)
}

/// The parent's end is ours.
fn gone(error: Error) -> Result<()> {
    match error.kind() {
        ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => Ok(()),
        _ => Err(error),
    }
}

fn obey(
    model: &mut dyn Model,
    rows: &mut RowsMut,
    command: Command,
    payload: &[u8],
) -> std::result::Result<(Reply, Vec<u8>), minerva_engine::model::Error> {
    use minerva_engine::model::Error;
    let done = |()| (Reply::Done, Vec::new());
    match command {
        Command::Load { .. } | Command::MapRows => Err(Error::Decode("the model is loaded already".into())),
        Command::Decode(batch) => {
            model.decode(&batch)?;
            let wanted = batch.wants_logits.iter().filter(|&&wanted| wanted).count();
            let all = (0..wanted).all(|row| rows.set(row, model.logits(row)));
            if all { Ok(done(())) } else { Err(Error::Decode(format!("there is no room for {wanted} rows"))) }
        }
        Command::Embed(texts) => {
            let embedded = model.embed(&texts)?;
            let lengths = embedded.iter().map(|row| u32::try_from(row.len()).unwrap_or(u32::MAX)).collect();
            Ok((Reply::Embedded(lengths), bytemuck::cast_slice(&embedded.concat()).to_vec()))
        }
        Command::Remove { slot, from } => model.remove(slot, from).map(done),
        Command::Discard { slot, range } => model.discard(slot, range).map(done),
        Command::Copy { from, to } => model.copy(from, to).map(done),
        Command::Save(slot) => Ok((Reply::Done, model.save(slot)?)),
        Command::Restore(slot) => model.restore(slot, payload).map(done),
        Command::Positions(slot) => {
            let held = model.positions(slot).map(|held| (*held.start(), *held.end()));
            Ok((Reply::Positions(held), Vec::new()))
        }
    }
}
