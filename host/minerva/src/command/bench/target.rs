//! The servers that are measured.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail};

use super::client::Client;
use crate::config::TargetArguments;

/// The servers that are measured: the first one, and perhaps one to compare with.
pub(super) struct Targets {
    pub(super) clients: Vec<Client>,
    /// Stopped when the measuring is over.
    _own: Option<Own>,
}

impl Targets {
    /// Finds the servers, or starts one.
    pub(super) async fn find(arguments: &TargetArguments) -> Result<Self> {
        let (url, own) = match &arguments.url {
            Some(url) => (url.clone(), None),
            None => {
                let own = Own::start(&arguments.serve)?;
                (own.url.clone(), Some(own))
            }
        };
        let mut clients = Vec::new();
        for url in [Some(url), arguments.peer.clone()].into_iter().flatten() {
            clients.push(Client::connect(&url, arguments.api_key.as_deref()).await?);
        }
        Ok(Self { clients, _own: own })
    }

    /// What they are called: by their addresses, as two servers can serve the same model.
    pub(super) fn names(&self) -> Vec<String> {
        self.clients.iter().map(Client::name).collect()
    }
}

/// A server of our own, in a process of its own, as those that it is compared with are.
struct Own {
    child: Child,
    url: String,
}

impl Own {
    fn start(arguments: &[OsString]) -> Result<Self> {
        let program = std::env::current_exe().context("the program's own file is not known")?;
        let mut child = Command::new(program)
            .args(["serve", "--port", "0"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("a server could not be started")?;
        let stdout = child.stdout.take();
        let mut own = Self { child, url: String::new() };
        let mut lines = stdout.map(BufReader::new).into_iter().flat_map(BufRead::lines).map_while(Result::ok);
        let address = lines.find_map(|line| line.strip_prefix("listening on ").map(str::to_owned));
        let Some(url) = address else {
            bail!("the server that was started ended before it served; the reason is above");
        };
        // What it says after that is read by nobody, and must not stop it.
        std::thread::Builder::new()
            .name("minerva-bench-server".into())
            .spawn(move || lines.for_each(drop))?;
        own.url = url;
        Ok(own)
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
