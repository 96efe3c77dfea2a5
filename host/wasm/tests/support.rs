//! Components, built once, and a model's vocabulary for them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use minerva_engine::model::{Encode, Error, Special, Token, Vocabulary};
use minerva_engine::plugin::{Plugin, SessionContext};
use minerva_wasm::{Limits, Options, Runtime};

/// The root of the repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Builds a workspace of components, and says where they are.
fn built(workspace: &str) -> PathBuf {
    let folder = root().join(workspace);
    let output = Command::new(env!("CARGO"))
        .args(["build", "--release", "--locked", "--target", "wasm32-wasip2"])
        .current_dir(&folder)
        // What this build is told about its own target is not for theirs.
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .output()
        .expect("cargo runs");
    let said = String::from_utf8_lossy(&output.stderr);
    let remedy =
        if said.contains("may not be installed") { "\n\nrustup target add wasm32-wasip2" } else { "" };
    assert!(output.status.success(), "{workspace} cannot be built:\n{said}{remedy}");
    folder.join("target/wasm32-wasip2/release")
}

/// The component of a plugin in `plugins/`.
pub(crate) fn bundled(name: &str) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| built("plugins")).join(format!("{}.wasm", name.replace('-', "_")))
}

/// The component of a guest in `tests/guests/`.
pub(crate) fn guest(name: &str) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| built("tests/guests")).join(format!("guest_{}.wasm", name.replace('-', "_")))
}

/// A runtime for all tests that need no limits of their own. It is patient: a test machine may be busy, and a test
/// of another limit must not run into a deadline.
pub(crate) fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let mut options = Options { full_row: true, ..Options::default() };
        let Limits { describe, open, advance, pick, fork, rollback, render, push, close, .. } =
            &mut options.limits;
        for deadline in [describe, open, advance, pick, fork, rollback, render, push, close] {
            *deadline = Duration::from_secs(60);
        }
        Runtime::new(options).expect("a runtime")
    })
}

/// A plugin that is loaded once, into the patient runtime.
pub(crate) fn loaded(name: &'static str) -> Plugin {
    static LOADED: OnceLock<Mutex<BTreeMap<&str, Plugin>>> = OnceLock::new();
    let mut loaded = LOADED.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    let load = || {
        let is_bundled = root().join("plugins").join(name).exists();
        let path = if is_bundled { bundled(name) } else { guest(name) };
        runtime().load(name, &path).unwrap_or_else(|error| panic!("{error}"))
    };
    loaded.entry(name).or_insert_with(load).clone()
}

/// What a plugin is told of a request.
pub(crate) fn context() -> SessionContext {
    static VOCABULARY: OnceLock<Arc<Bytes>> = OnceLock::new();
    let vocabulary = VOCABULARY.get_or_init(|| Arc::new(Bytes::new()));
    let vocabulary: Arc<dyn Vocabulary> = Arc::clone(vocabulary) as _;
    SessionContext::new("request-1", vocabulary)
}

/// A vocabulary of the 256 bytes and three tokens of markup.
pub(crate) struct Bytes {
    pieces: Vec<Vec<u8>>,
}

/// The number of tokens in [`Bytes`].
pub(crate) const VOCABULARY_SIZE: u32 = 259;

impl Bytes {
    fn new() -> Self {
        let bytes = (0..=255).map(|byte| vec![byte]);
        let markup = ["<s>", "</s>", "<|im_end|>"].map(|text| text.as_bytes().to_vec());
        Self { pieces: bytes.chain(markup).collect() }
    }
}

impl Vocabulary for Bytes {
    fn size(&self) -> u32 {
        VOCABULARY_SIZE
    }

    fn encode(&self, text: &str, _: Encode) -> Result<Vec<Token>, Error> {
        Ok(text.bytes().map(Token::from).collect())
    }

    fn piece(&self, token: Token) -> &[u8] {
        self.pieces.get(token as usize).map_or(&[], Vec::as_slice)
    }

    fn is_control(&self, token: Token) -> bool {
        token >= 256
    }

    fn is_end(&self, token: Token) -> bool {
        token >= 257
    }

    fn special(&self, role: Special) -> Option<Token> {
        match role {
            Special::Bos => Some(256),
            Special::Eos => Some(257),
            Special::Eot => Some(258),
            _ => None,
        }
    }
}
