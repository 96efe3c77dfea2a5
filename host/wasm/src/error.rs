//! Why a plugin could not be loaded.

use std::io;

use minerva_engine::plugin::Fault;
use semver::Version;

/// Why a plugin could not be loaded, or the runtime not be made. Every message names the plugin, says what is
/// wrong with it, and what would be right.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// wasmtime refused the configuration.
    #[error("the WebAssembly runtime cannot start: {reason}")]
    Runtime {
        /// What it said.
        reason: String,
    },
    /// The name cannot be used.
    #[error("'{name}' cannot be a plugin's name: use 1 to 64 letters, digits, '-', '_', '.' and '@'")]
    Name {
        /// The name.
        name: String,
    },
    /// The file cannot be read.
    #[error("plugin '{name}' cannot be read from {path}: {source}")]
    Read {
        /// The plugin.
        name: String,
        /// Where it should be.
        path: String,
        /// Why it cannot be read.
        source: io::Error,
    },
    /// The folder of plugins cannot be watched.
    #[error("the plugins folder {path} cannot be read: {source}")]
    Folder {
        /// Where it should be.
        path: String,
        /// Why it cannot be read.
        source: io::Error,
    },
    /// The file is too large.
    #[error("plugin '{name}' has {bytes} bytes, and the limit is {limit}")]
    TooLarge {
        /// The plugin.
        name: String,
        /// Its size.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// The bytes are something else.
    #[error("plugin '{name}' is not WebAssembly: it {what}")]
    NotWasm {
        /// The plugin.
        name: String,
        /// What it looks like.
        what: &'static str,
    },
    /// The bytes are a core module.
    #[error(
        "plugin '{name}' is a core WebAssembly module, not a component; build it for the target wasm32-wasip2, \
         or wrap it with `wasm-tools component new`"
    )]
    CoreModule {
        /// The plugin.
        name: String,
    },
    /// The component is broken, uses what this host does not support, or cannot be compiled.
    #[error("plugin '{name}' is not a valid component: {reason}")]
    Malformed {
        /// The plugin.
        name: String,
        /// What wasmtime says.
        reason: String,
    },
    /// The component was built for another version of the interface.
    #[error(
        "plugin '{name}' was built for minerva:plugin@{built}, and this host speaks minerva:plugin@{host}; \
         {}",
        remedy(.built, .host)
    )]
    Version {
        /// The plugin.
        name: String,
        /// What it was built for.
        built: Version,
        /// What this host speaks.
        host: Version,
    },
    /// The component exports nothing that the host could call.
    #[error("plugin '{name}' exports {found}; a plugin exports one or more of {expected}")]
    MissingExport {
        /// The plugin.
        name: String,
        /// What it exports.
        found: String,
        /// What it should.
        expected: String,
    },
    /// The component wants something that no plugin gets.
    #[error("plugin '{name}' imports {import}, which this host does not offer; it offers {offered}")]
    UnknownImport {
        /// The plugin.
        name: String,
        /// What it wants.
        import: String,
        /// What there is.
        offered: String,
    },
    /// The component's imports or exports are of other types than the interface's.
    #[error("plugin '{name}' does not fit minerva:plugin@{host}: {reason}")]
    Link {
        /// The plugin.
        name: String,
        /// What this host speaks.
        host: Version,
        /// What wasmtime says.
        reason: String,
    },
    /// `describe` failed.
    #[error("plugin '{name}' failed in describe of {interface}: {fault}")]
    Describe {
        /// The plugin.
        name: String,
        /// `sampler`, `template` or `streaming`.
        interface: &'static str,
        /// How.
        fault: Fault,
    },
    /// `describe` said something impossible.
    #[error("plugin '{name}' describes itself wrongly in {interface}: {reason}")]
    Description {
        /// The plugin.
        name: String,
        /// `sampler`, `template` or `streaming`.
        interface: &'static str,
        /// What is wrong, and what would be right.
        reason: String,
    },
    /// The plugin wants what the operator did not grant.
    #[error("plugin '{name}' wants {capability}, which was not granted")]
    NotGranted {
        /// The plugin.
        name: String,
        /// What it wants.
        capability: &'static str,
    },
}

fn remedy(built: &Version, host: &Version) -> String {
    let same_line = built.major == host.major && (built.major > 0 || built.minor == host.minor);
    if same_line {
        "it needs a newer host, or a build against this host's wit/ folder".to_owned()
    } else {
        format!("rebuild it against the wit/ folder, or the minerva-plugin crate, of version {host}")
    }
}
