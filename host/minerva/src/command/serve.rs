//! `minerva serve`: loads, listens, drains.

use std::future::Future;
use std::net::IpAddr;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use minerva::Minerva;
use minerva::engine::plugin::Kind;
use minerva_server::{App, Models, ServedModel};
use tokio::net::TcpListener;

use crate::command::{progress_bar, show_part};
use crate::config::ServeArguments;

/// Serves until it is told to stop.
pub(crate) fn run(arguments: ServeArguments) -> Result<()> {
    if arguments.model.wants_report() {
        return super::doctor::run(&arguments.model, false);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no runtime")?;
    runtime.block_on(serve(arguments))
}

async fn serve(arguments: ServeArguments) -> Result<()> {
    check_exposure(&arguments)?;
    let options = arguments.server_options()?;
    let stop = stop_signal()?;
    let mut builder = arguments.model.builder()?.engine(|engine| {
        engine.queue_limit = arguments.max_num_queued_reqs;
        engine.token_buffer = arguments.token_buffer;
        engine.stall_limit = Duration::from_secs(arguments.stall_timeout);
    });
    let bar = progress_bar("loading the model");
    let shown = bar.clone();
    builder = builder.on_progress(move |part| {
        show_part(&shown, part);
        true
    });

    // The address first: a port that is taken is better known before a long load. `/health` says 503 meanwhile.
    let app = App { models: Models::default(), plugins: builder.plugins(), options };
    let models = app.models.clone();
    let installer = std::sync::Arc::clone(&app.options.admin.installer);
    let name = arguments.model.name();
    let aliases = arguments.alias.clone();
    let reasoning = arguments.reasoning_format.into();
    let address = Address::bind(&arguments.host, arguments.port).await?;
    let (loaded, load_failed) = tokio::sync::oneshot::channel();
    // A thread of its own, which keeps the model until the server has drained.
    let (release, released) = mpsc::channel::<()>();
    let shown_address = address.shown();
    let loading = std::thread::Builder::new().name("minerva-load".into()).spawn(move || {
        let minerva = builder.build();
        bar.finish_and_clear();
        let minerva = match minerva {
            Ok(minerva) => minerva,
            Err(error) => {
                let _ = loaded.send(error);
                return;
            }
        };
        let id = aliases.first().cloned().unwrap_or(name.clone());
        let mut served = ServedModel::new(id, minerva.handle());
        served.defaults.reasoning = reasoning;
        served.aliases = aliases.into_iter().skip(1).chain([name.clone()]).collect();
        let _ = installer.set(minerva.installer());
        models.insert(served);
        // Who reads this may ask at once.
        announce(&minerva, &name, &shown_address);
        // Returns when the server drops its end.
        let _ = released.recv();
        drop(minerva);
    })?;

    let serving = address.serve(app, stop);
    let served = tokio::select! {
        served = serving => served,
        Ok(error) = load_failed => return Err(error.into()),
    };
    drop(release);
    tokio::task::spawn_blocking(move || loading.join())
        .await?
        .map_err(|_| anyhow!("the loading thread panicked"))?;
    served
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

    fn shown(&self) -> String {
        match self {
            Self::Tcp(listener) => {
                listener.local_addr().map_or_else(|_| "?".into(), |at| format!("http://{at}"))
            }
            #[cfg(unix)]
            Self::Unix(_, path) => path.clone(),
        }
    }

    async fn serve(self, app: App, stop: impl Future<Output = ()> + Send + 'static) -> Result<()> {
        match self {
            Self::Tcp(listener) => minerva_server::serve(app, listener, stop).await?,
            #[cfg(unix)]
            Self::Unix(listener, path) => {
                let served = minerva_server::serve(app, listener, stop).await;
                let _ = std::fs::remove_file(path);
                served?;
            }
        }
        Ok(())
    }
}

/// Nobody serves strangers by accident.
fn check_exposure(arguments: &ServeArguments) -> Result<()> {
    let host = &arguments.host;
    let local = host.ends_with(".sock")
        || host == "localhost"
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    let keyed = !arguments.api_key.is_empty() || arguments.api_key_file.is_some();
    if !local && !keyed && !arguments.allow_no_api_key {
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
fn announce(minerva: &Minerva, name: &str, address: &str) {
    let handle = minerva.handle();
    let info = handle.info();
    let plugins: Vec<_> = minerva.plugins().list();
    // Those of the tree that go with any question; a JSON repairer would make nothing of a story.
    let listed = |kind, with_any_question: &str| {
        let mut fitting = plugins.iter().filter(|plugin| plugin.kinds().any(|of| of == kind));
        let first = fitting.clone().next();
        fitting.find(|plugin| plugin.identity.name == with_any_question).or(first)
    };
    println!("{name} on {}: {} sequences of {} tokens", info.device, info.slots, info.context);
    for plugin in &plugins {
        let kinds: Vec<&str> = plugin.kinds().map(Kind::as_str).collect();
        println!("plugin {} {} ({})", plugin.identity.name, plugin.identity.version, kinds.join(", "));
    }
    println!("listening on {address}\n\nTry:\n");
    let curl = format!("curl {address}/v1/chat/completions -H 'Content-Type: application/json' -d");
    println!("{curl} '{{\"messages\":[{{\"role\":\"user\",\"content\":\"What is a plugin?\"}}]}}'\n");
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
        let body = serde_json::json!({
            "messages": [{"role": "user", "content": "Tell me a short story about a fox."}],
            "minerva": choice,
        });
        println!("{curl} '{body}'\n");
    }
    println!("curl {address}/v1/plugins\n");
}
