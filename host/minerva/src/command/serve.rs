//! `minerva serve`: loads, listens, drains.

use std::future::Future;
use std::net::IpAddr;
use std::sync::mpsc;

use anyhow::{Context as _, Result, anyhow, bail};
use minerva::Host;
use minerva::engine::model::Pooling;
use minerva::engine::plugin::Kind;
use minerva_server::{App, Models, Traces};
use tokio::net::TcpListener;

use crate::command::fleet::Fleet;
use crate::command::follow;
use crate::command::reload::{self, Reload};
use crate::command::traces;
use crate::config::{ServeArguments, Sources, log};

/// Serves until it is told to stop.
pub(crate) fn run(sources: Sources, log: log::Change) -> Result<()> {
    let arguments = sources.resolve(None)?.arguments.into_serve();
    if arguments.model.wants_report() {
        return super::doctor::run(&arguments.model, false);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no runtime")?;
    runtime.block_on(serve(sources, arguments, log))
}

async fn serve(sources: Sources, arguments: ServeArguments, log: log::Change) -> Result<()> {
    for (name, meant) in sources.unknown_variables() {
        let meant = meant.map_or_else(String::new, |meant| format!("; did you mean {meant}?"));
        tracing::warn!("the variable {name} means nothing here{meant}");
    }
    check_exposure(&arguments)?;
    let mut options = arguments.server_options()?;
    if let Some(path) = arguments.api_key_file.clone() {
        follow::keys(path, arguments.api_key.clone(), options.api_keys.clone())?;
    }
    let operation = &arguments.operation;
    if let (Some(certificate), Some(key)) = (operation.ssl_cert_file.clone(), operation.ssl_key_file.clone())
    {
        options.tls = Some(follow::certificate(certificate, key)?);
    }
    let traces = traces::start(&arguments.traces)?;
    options.traces = traces.as_ref().map(Traces::by).unwrap_or_default();
    let stop = stop_signal()?;
    let (keys, admin) = (options.api_keys.clone(), options.admin.keys.clone());
    let exposed = !is_local(&arguments.host) && !arguments.allow_no_api_key;
    let fleet = Fleet::of(&sources, &arguments)?;
    // The address first: a port that is taken is better known before a long load. `/health` says 503 meanwhile.
    let builder = arguments.plugins.apply(minerva::Minerva::builder())?;
    let builder = builder.registry_options(arguments.registry_options());
    let registry = builder.registry();
    let app = App { models: Models::of(registry.clone()), plugins: builder.plugins(), options };
    let installer = std::sync::Arc::clone(&app.options.admin.installer);
    let models = reload::Models {
        known: fleet.known(),
        registry: registry.clone(),
        plugins: app.plugins.clone(),
        installer: std::sync::Arc::clone(&installer),
    };
    let reload = Reload::new(sources, keys, admin, models, log, exposed)?;
    #[cfg(unix)]
    reload.follow()?;
    #[cfg(not(unix))]
    drop(reload);
    let is_secure = app.options.tls.is_some();
    let address = Address::bind(&arguments.host, arguments.port).await?;
    let (started, start) = tokio::sync::oneshot::channel();
    // A thread of its own, which keeps the host until the server has drained.
    let (release, released) = mpsc::channel::<()>();
    let shown_address = address.shown(is_secure);
    let loading = std::thread::Builder::new().name("minerva-host".into()).spawn(move || {
        let host = match fleet.start(builder) {
            Ok(host) => host,
            Err(error) => {
                let _ = started.send(error);
                return;
            }
        };
        let _ = installer.set(host.installer());
        // Who reads this may ask at once.
        announce(&host, &shown_address);
        // Returns when the server drops its end.
        let _ = released.recv();
        drop(host);
    })?;

    let serving = address.serve(app, stop);
    tokio::select! {
        () = serving => {}
        Ok(error) = start => return Err(error),
    }
    drop(release);
    // A load that nobody waits for any more ends.
    registry.close();
    let joined = tokio::task::spawn_blocking(move || loading.join()).await?;
    // The engines have told the last of their requests.
    if let Some(traces) = traces {
        traces::flush(traces).await;
    }
    joined.map_err(|_| anyhow!("the loading thread panicked"))
}

/// Where the server listens.
enum Address {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(tokio::net::UnixListener, String),
}

impl Address {
    async fn bind(host: &str, port: u16) -> Result<Self> {
        if host.ends_with(".sock") {
            return Self::bind_unix(host);
        }
        let bound = TcpListener::bind((host, port)).await;
        let listener = bound.map_err(|error| match error.kind() {
            std::io::ErrorKind::AddrInUse => {
                anyhow!("{host}:{port} is in use by another program; choose another port with --port")
            }
            _ => anyhow!("cannot listen on {host}:{port}: {error}"),
        })?;
        Ok(Self::Tcp(listener))
    }

    #[cfg(unix)]
    fn bind_unix(path: &str) -> Result<Self> {
        // A socket that nobody listens on is what a killed server left behind.
        if std::os::unix::net::UnixStream::connect(path).is_err() {
            let _ = std::fs::remove_file(path);
        }
        let listener =
            tokio::net::UnixListener::bind(path).with_context(|| format!("cannot listen on {path}"))?;
        Ok(Self::Unix(listener, path.to_owned()))
    }

    #[cfg(not(unix))]
    fn bind_unix(path: &str) -> Result<Self> {
        bail!("cannot listen on {path}: this system has no unix sockets");
    }

    fn shown(&self, is_secure: bool) -> String {
        let scheme = if is_secure { "https" } else { "http" };
        match self {
            Self::Tcp(listener) => {
                listener.local_addr().map_or_else(|_| "?".into(), |at| format!("{scheme}://{at}"))
            }
            #[cfg(unix)]
            Self::Unix(_, path) => path.clone(),
        }
    }

    async fn serve(self, app: App, stop: impl Future<Output = ()> + Send + 'static) {
        match self {
            Self::Tcp(listener) => minerva_server::serve(app, listener, stop).await,
            #[cfg(unix)]
            Self::Unix(listener, path) => {
                minerva_server::serve(app, listener, stop).await;
                let _ = std::fs::remove_file(path);
            }
        }
    }
}

/// Whether only this machine can reach an address.
fn is_local(host: &str) -> bool {
    host.ends_with(".sock")
        || host == "localhost"
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Nobody serves strangers by accident.
fn check_exposure(arguments: &ServeArguments) -> Result<()> {
    let host = &arguments.host;
    let keyed = !arguments.api_key.is_empty() || arguments.api_key_file.is_some();
    if !is_local(host) && !keyed && !arguments.allow_no_api_key {
        bail!(
            "--host {host} lets other machines in, and no key is asked for; \
             give one with --api-key, or say --allow-no-api-key"
        );
    }
    Ok(())
}

/// Returns when the process is asked to end.
fn stop_signal() -> Result<impl Future<Output = ()> + Send + 'static> {
    #[cfg(unix)]
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        .context("SIGTERM cannot be waited for")?;
    Ok(async move {
        #[cfg(unix)]
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        #[cfg(not(unix))]
        let _ = tokio::signal::ctrl_c().await;
    })
}

/// Says what is served, and what to type first.
#[expect(clippy::print_stdout, reason = "this is what the user started the program to see")]
fn announce(host: &Host, address: &str) {
    let entries = host.registry().entries();
    for entry in &entries {
        let names = std::iter::once(&entry.id).chain(&entry.aliases);
        let names = names.map(String::as_str).collect::<Vec<_>>().join(", ");
        match &entry.served {
            Some(served) => {
                let info = served.handle.info();
                println!("{names} on {}: {} sequences of {} tokens", info.device, info.slots, info.context);
            }
            None => println!("{names}: {}", entry.condition.as_str()),
        }
    }
    let plugins: Vec<_> = host.plugins().list();
    // Those of the tree that go with any question; a JSON repairer would make nothing of a story.
    let listed = |kind, with_any_question: &str| {
        let mut fitting = plugins.iter().filter(|plugin| plugin.kinds().any(|of| of == kind));
        let first = fitting.clone().next();
        fitting.find(|plugin| plugin.identity.name == with_any_question).or(first)
    };
    for plugin in &plugins {
        let kinds: Vec<&str> = plugin.kinds().map(Kind::as_str).collect();
        println!("plugin {} {} ({})", plugin.identity.name, plugin.identity.version, kinds.join(", "));
    }
    println!("listening on {address}\n\nTry:\n");
    let only = match entries.as_slice() {
        [only] => only.served.as_ref(),
        _ => None,
    };
    if let Some(embeds) = only.and_then(|served| served.handle.info().embeds) {
        let (path, body) = match embeds.pooling {
            Pooling::Rank => {
                ("/v1/rerank", r#"{"query":"What is a fox?","documents":["An animal.","A boat."]}"#)
            }
            Pooling::None => ("/embedding", r#"{"content":"What is a fox?"}"#),
            _ => ("/v1/embeddings", r#"{"input":["What is a fox?","An animal."]}"#),
        };
        println!("curl {address}{path} -H 'Content-Type: application/json' -d '{body}'\n");
        return;
    }
    let curl = format!("curl {address}/v1/chat/completions -H 'Content-Type: application/json' -d");
    let mut body = serde_json::json!({ "messages": [{"role": "user", "content": "What is a plugin?"}] });
    if let [first, _, ..] = entries.as_slice() {
        body["model"] = first.id.clone().into();
    }
    println!("{curl} '{body}'\n");
    let mut choice = serde_json::Map::new();
    for (kind, key, shown) in [
        (Kind::Template, "template", "persona"),
        (Kind::Sampler, "samplers", "min-p"),
        (Kind::Stream, "stream", "redact"),
    ] {
        if let Some(plugin) = listed(kind, shown) {
            let one = serde_json::json!({ "id": plugin.identity.name });
            choice.insert(key.into(), if kind == Kind::Template { one } else { serde_json::json!([one]) });
        }
    }
    if !choice.is_empty() {
        body["messages"][0]["content"] = "Tell me a short story about a fox.".into();
        body["minerva"] = choice.into();
        println!("{curl} '{body}'\n");
    }
    println!("curl {address}/v1/plugins\n");
}
