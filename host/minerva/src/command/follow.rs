//! Keys and certificates in files, read again when they change.
//!
//! The files are looked at every second rather than watched: they are small, and what replaces them (a secret of
//! Kubernetes, certbot) does it by links and renames that a watch of the file does not see.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use minerva_server::{ApiKeys, Tls};

use crate::config::keys_in;

const INTERVAL: Duration = Duration::from_secs(1);

/// Follows a file of keys. Those that were given on the command line stay.
pub(crate) fn keys(path: PathBuf, given: Vec<String>, keys_in_use: ApiKeys) -> Result<()> {
    let read = move |files: &[Vec<u8>]| {
        let mut all = given.clone();
        all.extend(keys_in(&files[0])?);
        keys_in_use.replace(all);
        Ok(())
    };
    follow("key file", vec![path], read)
}

/// Serves a certificate, and follows its files.
pub(crate) fn certificate(certificate: PathBuf, key: PathBuf) -> Result<Tls> {
    let files = contents(&[certificate.clone(), key.clone()])?;
    let tls = Tls::new(&files[0], &files[1])
        .with_context(|| format!("{} and {} cannot be served", certificate.display(), key.display()))?;
    let served = tls.clone();
    follow("certificate", vec![certificate, key], move |files| Ok(served.replace(&files[0], &files[1])?))?;
    Ok(tls)
}

/// Gives the contents of files to `apply`, now and whenever they change. Must be called inside a tokio runtime.
fn follow(
    what: &'static str,
    paths: Vec<PathBuf>,
    apply: impl Fn(&[Vec<u8>]) -> Result<()> + Send + 'static,
) -> Result<()> {
    let mut seen = contents(&paths)?;
    apply(&seen).with_context(|| format!("the {what} {}", paths[0].display()))?;
    tokio::spawn(async move {
        let mut trouble = String::new();
        loop {
            tokio::time::sleep(INTERVAL).await;
            let looked_at = paths.clone();
            let Ok(read) = tokio::task::spawn_blocking(move || contents(&looked_at)).await else { return };
            let applied = match read {
                Ok(files) if files == seen => continue,
                Ok(files) => apply(&files).map(|()| seen = files),
                Err(error) => Err(error),
            };
            let path = paths[0].display();
            match applied {
                Ok(()) => {
                    trouble.clear();
                    tracing::info!("the {what} {path} has changed and is in use");
                }
                // Once for each kind of trouble, not every second.
                Err(error) if format!("{error:#}") != trouble => {
                    trouble = format!("{error:#}");
                    tracing::warn!(
                        "the {what} {path} has changed and cannot be used; what was there before stays: {trouble}"
                    );
                }
                Err(_) => {}
            }
        }
    });
    Ok(())
}

fn contents(paths: &[PathBuf]) -> Result<Vec<Vec<u8>>> {
    let content = |path: &PathBuf| read(path);
    paths.iter().map(content).collect()
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()))
}
