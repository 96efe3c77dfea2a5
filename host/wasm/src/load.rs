//! From a file to a plugin, with everything checked that can be checked before a request.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use minerva_engine::plugin::{Fault, Identity, Kind, Plugin, SamplerDescriptor, Tier};
use semver::Version;
use sha2::{Digest as _, Sha256};
use wasmtime::component::{self, InstancePre, types::ComponentItem};

use crate::args::Schema;
use crate::bindings::exports::minerva::plugin as guest;
use crate::bindings::minerva::plugin::types::About;
use crate::compile::reason;
use crate::instance::Component;
use crate::runtime::{INTERFACE_VERSION, Runtime};
use crate::sampler::{CUT_MAX, WasmSampler};
use crate::state::{Rows, State};
use crate::stream::WasmStream;
use crate::template::WasmTemplate;
use crate::{Error, Limits, imports, wasi};

/// Where a plugin comes from.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// A file.
    File(&'a Path),
    /// The bytes of a component.
    Bytes(&'a [u8]),
}

impl<'a> From<&'a Path> for Source<'a> {
    fn from(path: &'a Path) -> Self {
        Self::File(path)
    }
}

impl<'a> From<&'a PathBuf> for Source<'a> {
    fn from(path: &'a PathBuf) -> Self {
        Self::File(path)
    }
}

impl<'a> From<&'a [u8]> for Source<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Bytes(bytes)
    }
}

impl<'a> From<&'a Vec<u8>> for Source<'a> {
    fn from(bytes: &'a Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

/// What a plugin is and wants.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// Who it is, hash included.
    pub identity: Identity,
    /// Its size.
    pub bytes: u64,
    /// What it may use, by name, the unit in the name.
    pub limits: Vec<(String, u64)>,
    /// The version of `minerva:plugin` that it was built for.
    pub interface: Version,
    /// What it can be used as.
    pub kinds: Vec<InspectedKind>,
    /// The interfaces and functions that it imports, sorted: what it can ask the host for.
    pub imports: Vec<String>,
    /// The interfaces that it exports, sorted.
    pub exports: Vec<String>,
}

/// One thing that a plugin can be used as.
#[derive(Clone, Debug)]
pub struct InspectedKind {
    /// Which.
    pub kind: Kind,
    /// The JSON schema of its arguments, as text; empty where anything goes.
    pub args_schema: String,
    /// What it needs and can, as a sampler.
    pub sampler: Option<SamplerDescriptor>,
}

/// Loads a plugin.
pub(crate) fn load(runtime: &Runtime, name: &str, source: Source<'_>) -> Result<Plugin, Error> {
    let loaded = Loaded::new(runtime, name, source)?;
    let full_row = loaded.sampler.as_ref().is_some_and(|sampler| sampler.descriptor.tier == Tier::FullRow);
    if full_row && !runtime.options().full_row {
        let capability = "to see every logit (the tier full-row)";
        return Err(Error::NotGranted { name: name.to_owned(), capability });
    }
    Ok(Plugin {
        identity: loaded.identity,
        template: loaded.template.map(|template| Arc::new(template) as _),
        sampler: loaded.sampler.map(|sampler| Arc::new(sampler) as _),
        stream: loaded.stream.map(|stream| Arc::new(stream) as _),
        limits: loaded.limits.listed(),
    })
}

/// Says what a plugin is.
pub(crate) fn inspect(runtime: &Runtime, name: &str, source: Source<'_>) -> Result<Inspection, Error> {
    let Loaded { identity, bytes, limits, surface, template, sampler, stream } =
        Loaded::new(runtime, name, source)?;
    let kind = |kind, schema: &Schema, sampler| InspectedKind {
        kind,
        args_schema: schema.text().to_owned(),
        sampler,
    };
    let kinds = [
        template.map(|template| kind(Kind::Template, &template.schema, None)),
        sampler.map(|sampler| kind(Kind::Sampler, &sampler.schema, Some(sampler.descriptor))),
        stream.map(|stream| kind(Kind::Stream, &stream.schema, None)),
    ];
    Ok(Inspection {
        identity,
        bytes,
        limits: limits.listed(),
        interface: surface.interface,
        kinds: kinds.into_iter().flatten().collect(),
        imports: surface.imports.into_iter().collect(),
        exports: surface.exports.into_iter().collect(),
    })
}

/// A plugin with its types still known.
struct Loaded {
    identity: Identity,
    bytes: u64,
    limits: Arc<Limits>,
    surface: Surface,
    template: Option<WasmTemplate>,
    sampler: Option<WasmSampler>,
    stream: Option<WasmStream>,
}

impl Loaded {
    fn new(runtime: &Runtime, name: &str, source: Source<'_>) -> Result<Self, Error> {
        check_name(name)?;
        let limits = runtime.options().limits_for(name);
        let bytes = read(name, source, limits.component_bytes)?;
        check_header(name, &bytes)?;
        let digest = Sha256::digest(&bytes);
        let bytes: Arc<[u8]> = bytes.into();
        let component = runtime
            .compiler()
            .component(runtime.engine(), &bytes, &digest, limits.compile)
            .map_err(|reason| Error::Malformed { name: name.to_owned(), reason })?;
        let surface = Surface::of(name, &component)?;
        let pre = link(runtime, name, &component)?;

        let hash = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let identity =
            Identity { name: name.to_owned(), version: String::new(), hash, summary: String::new() };
        let (store, sessions) = (runtime.stores().of(name), Arc::default());
        let (runtime, limits) = (runtime.clone(), Arc::new(limits));
        let component = Component { runtime, identity, limits: Arc::clone(&limits), store, sessions, pre };
        let mut describe = Describe { component };
        let sampler = surface.has("sampler").then(|| describe.sampler()).transpose()?;
        let template = surface.has("template").then(|| describe.template()).transpose()?;
        let stream = surface.has("streaming").then(|| describe.stream()).transpose()?;

        // Only now the identity is whole.
        let component = describe.component;
        let with = || component.clone();
        let compiles = surface.imports.iter().any(|import| import.ends_with("grammar.compile"));
        Ok(Self {
            bytes: bytes.len() as u64,
            limits,
            surface,
            sampler: sampler.map(|(indices, descriptor, schema)| WasmSampler {
                component: with(),
                indices,
                descriptor,
                schema,
                compiles,
            }),
            template: template.map(|(indices, schema)| WasmTemplate { component: with(), indices, schema }),
            stream: stream.map(|(indices, schema)| WasmStream { component: with(), indices, schema }),
            identity: component.identity.clone(),
        })
    }
}

pub(crate) fn check_name(name: &str) -> Result<(), Error> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.@".contains(&byte);
    if (1..=64).contains(&name.len()) && name.bytes().all(fits) {
        Ok(())
    } else {
        Err(Error::Name { name: name.chars().take(80).collect() })
    }
}

fn read(name: &str, source: Source<'_>, limit: u64) -> Result<Vec<u8>, Error> {
    let too_large = |bytes| Error::TooLarge { name: name.to_owned(), bytes, limit };
    match source {
        Source::Bytes(bytes) if bytes.len() as u64 > limit => Err(too_large(bytes.len() as u64)),
        Source::Bytes(bytes) => Ok(bytes.to_vec()),
        Source::File(path) => {
            let failed =
                |source| Error::Read { name: name.to_owned(), path: path.display().to_string(), source };
            let file = File::open(path).map_err(failed)?;
            let metadata = file.metadata().map_err(failed)?;
            if !metadata.is_file() {
                return Err(failed(std::io::Error::other("not a file")));
            }
            let mut bytes = Vec::new();
            // The size may change while it is read.
            file.take(limit + 1).read_to_end(&mut bytes).map_err(failed)?;
            if bytes.len() as u64 > limit { Err(too_large(metadata.len().max(limit + 1))) } else { Ok(bytes) }
        }
    }
}

/// The first eight bytes tell a component from everything that people mistake for one.
fn check_header(name: &str, bytes: &[u8]) -> Result<(), Error> {
    let name = name.to_owned();
    match bytes {
        [] => Err(Error::NotWasm { name, what: "is empty" }),
        [0, b'a', b's', b'm', 1, 0, 0, 0, ..] => Err(Error::CoreModule { name }),
        [0, b'a', b's', b'm', _, _, 1, 0, ..] => Ok(()),
        [0, b'a', b's', b'm', ..] => Err(Error::NotWasm { name, what: "ends within its header" }),
        _ if bytes.trim_ascii_start().starts_with(b"(") => {
            let what = "looks like the text format; make it binary with `wasm-tools parse`";
            Err(Error::NotWasm { name, what })
        }
        [0x7f, b'E', b'L', b'F', ..] => {
            let what = "is a native library or program; build it for the target wasm32-wasip2";
            Err(Error::NotWasm { name, what })
        }
        _ => Err(Error::NotWasm { name, what: "does not begin with the bytes of a component" }),
    }
}

/// What a component imports and exports, as names.
struct Surface {
    interface: Version,
    kinds: Vec<String>,
    imports: BTreeSet<String>,
    exports: BTreeSet<String>,
}

/// What a plugin may export.
const EXPORTS: [&str; 3] = ["sampler", "template", "streaming"];

impl Surface {
    fn of(name: &str, component: &component::Component) -> Result<Self, Error> {
        let (ty, engine) = (component.component_type(), component.engine());
        let mut surface = Self {
            interface: INTERFACE_VERSION,
            kinds: Vec::new(),
            imports: BTreeSet::new(),
            exports: BTreeSet::new(),
        };
        let mut built: Option<Version> = None;
        let mut check_version = |interface: &str| {
            let Some((_, version)) = minerva_interface(interface) else { return Ok(()) };
            let fits = version.major == INTERFACE_VERSION.major
                && version.minor == INTERFACE_VERSION.minor
                && version <= INTERFACE_VERSION;
            built = built.take().max(Some(version.clone()));
            let (name, host) = (name.to_owned(), INTERFACE_VERSION);
            if fits { Ok(()) } else { Err(Error::Version { name, built: version, host }) }
        };
        for (export, _) in ty.exports(engine) {
            surface.exports.insert(export.to_owned());
            check_version(export)?;
            if let Some((kind, _)) = minerva_interface(export).filter(|(kind, _)| EXPORTS.contains(kind)) {
                surface.kinds.push(kind.to_owned());
            }
        }
        for (import, item) in ty.imports(engine) {
            check_version(import)?;
            let offered = minerva_interface(import).is_some_and(|(name, _)| imports::OFFERED.contains(&name));
            if !offered && !import.starts_with("wasi:") {
                return Err(unknown_import(name, import));
            }
            match item.ty {
                ComponentItem::ComponentInstance(instance) => {
                    for (function, export) in instance.exports(engine) {
                        if matches!(export.ty, ComponentItem::ComponentFunc(_)) {
                            surface.imports.insert(format!("{import}#{function}"));
                        }
                    }
                }
                _ => return Err(unknown_import(name, import)),
            }
        }
        if surface.kinds.is_empty() {
            return Err(missing_export(name, &surface.exports));
        }
        surface.interface = built.unwrap_or(INTERFACE_VERSION);
        Ok(surface)
    }

    fn has(&self, kind: &str) -> bool {
        self.kinds.iter().any(|has| has == kind)
    }
}

/// The name and version of an interface of `minerva:plugin`.
fn minerva_interface(name: &str) -> Option<(&str, Version)> {
    let (interface, version) = name.strip_prefix("minerva:plugin/")?.split_once('@')?;
    Some((interface, Version::parse(version).ok()?))
}

fn unknown_import(name: &str, import: &str) -> Error {
    let interfaces =
        imports::OFFERED.map(|interface| format!("minerva:plugin/{interface}@{INTERFACE_VERSION}"));
    let offered = format!("{} and an empty WASI", interfaces.join(", "));
    Error::UnknownImport { name: name.to_owned(), import: format!("'{import}'"), offered }
}

fn missing_export(name: &str, exports: &BTreeSet<String>) -> Error {
    let found = match exports.len() {
        0 => "nothing".to_owned(),
        _ => exports.iter().map(String::as_str).collect::<Vec<_>>().join(", "),
    };
    let expected = EXPORTS.map(|kind| format!("minerva:plugin/{kind}@{INTERFACE_VERSION}")).join(", ");
    Error::MissingExport { name: name.to_owned(), found, expected }
}

fn link(
    runtime: &Runtime,
    name: &str,
    component: &component::Component,
) -> Result<InstancePre<State>, Error> {
    let mut linker = runtime.linker();
    wasi::deny_the_rest(&mut linker, component)
        .and_then(|()| linker.instantiate_pre(component))
        .map_err(|error| does_not_fit(name, &error))
}

fn does_not_fit(name: &str, error: &wasmtime::Error) -> Error {
    Error::Link { name: name.to_owned(), host: INTERFACE_VERSION, reason: reason(error) }
}

/// Asks a component what it is, once for each kind that it is, each in an instance of its own.
struct Describe {
    component: Component,
}

impl Describe {
    fn sampler(&mut self) -> Result<(guest::sampler::GuestIndices, SamplerDescriptor, Schema), Error> {
        let indices =
            guest::sampler::GuestIndices::new(&self.component.pre).map_err(|error| self.misfit(&error))?;
        let said =
            self.ask("sampler", |store, wasm| indices.load(&mut *store, wasm)?.call_describe(store))?;
        let schema = self.about("sampler", said.about)?;
        let tier = match said.tier {
            guest::sampler::Tier::Plan => Tier::Plan,
            guest::sampler::Tier::Cut => Tier::Cut,
            guest::sampler::Tier::FullRow => Tier::FullRow,
        };
        if tier != Tier::Plan && !(1..=CUT_MAX).contains(&said.cut) {
            return Err(self.wrong("sampler", format!("a cut of {}; it is 1 to {CUT_MAX}", said.cut)));
        }
        let (back, back_limit) = (said.backtrack_max, self.component.limits.backtrack);
        if back > back_limit {
            let why = format!(
                "a backtrack-max of {back}, and its limit is {back_limit}; the operator can raise it \
                 (--plugin-limit NAME:backtrack={back})"
            );
            return Err(self.wrong("sampler", why));
        }
        if back > 0 && !said.can_rollback {
            let why = format!("a backtrack-max of {back} without can-rollback, which it needs");
            return Err(self.wrong("sampler", why));
        }
        let descriptor = SamplerDescriptor {
            tier,
            cut: said.cut,
            reads_row: said.reads_row || tier == Tier::FullRow,
            can_fork: said.can_fork,
            can_rollback: said.can_rollback,
            backtrack_max: back,
            backtracks_max: self.component.limits.backtracks,
            args_schema: schema.text().to_owned(),
        };
        Ok((indices, descriptor, schema))
    }

    fn template(&mut self) -> Result<(guest::template::GuestIndices, Schema), Error> {
        let indices =
            guest::template::GuestIndices::new(&self.component.pre).map_err(|error| self.misfit(&error))?;
        let said =
            self.ask("template", |store, wasm| indices.load(&mut *store, wasm)?.call_describe(store))?;
        Ok((indices, self.about("template", said)?))
    }

    fn stream(&mut self) -> Result<(guest::streaming::GuestIndices, Schema), Error> {
        let indices =
            guest::streaming::GuestIndices::new(&self.component.pre).map_err(|error| self.misfit(&error))?;
        let said =
            self.ask("streaming", |store, wasm| indices.load(&mut *store, wasm)?.call_describe(store))?;
        Ok((indices, self.about("streaming", said)?))
    }

    fn ask<R>(
        &self,
        interface: &'static str,
        body: impl FnOnce(&mut wasmtime::Store<State>, &component::Instance) -> wasmtime::Result<R>,
    ) -> Result<R, Error> {
        let deadline = self.component.limits.describe;
        let failed =
            |fault: Fault| Error::Describe { name: self.component.identity.name.clone(), interface, fault };
        let mut instance =
            self.component.instance("describe", None, Rows::Nothing).map_err(|error| failed(error.fault))?;
        instance.start("describe", deadline, body).map_err(|error| failed(error.fault))
    }

    /// Takes in who the plugin says it is.
    fn about(&mut self, interface: &'static str, about: About) -> Result<Schema, Error> {
        let About { version, summary, args_schema } = about;
        let wrong = |reason| self.wrong(interface, reason);
        if !(1..=64).contains(&version.chars().count()) || version.chars().any(|c| c.is_control() || c == ' ')
        {
            return Err(wrong(format!("the version {version:?}; it is 1 to 64 printable characters")));
        }
        if summary.chars().count() > 200 || summary.chars().any(char::is_control) {
            return Err(wrong("the summary is more than one line of 200 characters".to_owned()));
        }
        let schema = Schema::new(args_schema).map_err(wrong)?;
        let identity = &self.component.identity;
        if !identity.version.is_empty() && identity.version != version {
            let other = &identity.version;
            return Err(wrong(format!(
                "version {version} here and {other} elsewhere; a component has one version"
            )));
        }
        self.component.identity.version = version;
        if self.component.identity.summary.is_empty() {
            self.component.identity.summary = summary;
        }
        Ok(schema)
    }

    fn wrong(&self, interface: &'static str, reason: String) -> Error {
        Error::Description { name: self.component.identity.name.clone(), interface, reason }
    }

    fn misfit(&self, error: &wasmtime::Error) -> Error {
        does_not_fit(&self.component.identity.name, error)
    }
}
