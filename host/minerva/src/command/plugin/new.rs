//! `minerva plugin new`: a project that builds as it stands. All that is written comes out of the program itself, the
//! interface and the SDK included, so that a project fits the host that made it wherever that is run.

use std::path::Path;

use anyhow::{Context as _, Result, bail};

use crate::config::{Language, NewArguments, PluginKind};

/// The interface, for every language.
const WIT: File = ("wit/plugin.wit", include_str!("../../../../../wit/plugin.wit"));

/// The path of a file in the project, and what is in it.
type File = (&'static str, &'static str);

macro_rules! template {
    ($path:literal) => {
        include_str!(concat!("../../../../../sdk/new/", $path))
    };
}

macro_rules! sdk {
    ($from:literal, $into:literal: $($path:literal),* $(,)?) => {
        &[$((concat!($into, $path), include_str!(concat!("../../../../../sdk/", $from, $path)))),*]
    };
}

const RUST_SDK: &[File] = sdk!["", "sdk/":
    "Cargo.toml",
    "src/args.rs",
    "src/backend/exports.rs",
    "src/backend/mod.rs",
    "src/backend/native.rs",
    "src/backend/wasm.rs",
    "src/error.rs",
    "src/export.rs",
    "src/grammar.rs",
    "src/lib.rs",
    "src/log.rs",
    "src/model.rs",
    "src/sampler.rs",
    "src/step.rs",
    "src/store.rs",
    "src/stream.rs",
    "src/template.rs",
    "src/testing.rs",
];

const C_SDK: &[File] = sdk!["c/", "":
    "minerva/minerva.c",
    "minerva/minerva.h",
    "minerva/sampler.c",
    "minerva/stream.c",
    "minerva/template.c",
];

const PYTHON_SDK: &[File] = sdk!["python/", "":
    "minerva_plugin/__init__.py",
    "minerva_plugin/glue/sampler/app.py",
    "minerva_plugin/glue/sampler/sampler.py",
    "minerva_plugin/glue/stream/app.py",
    "minerva_plugin/glue/stream/streaming.py",
    "minerva_plugin/glue/template/app.py",
];

const JS_SDK: &[File] = sdk!["js/", "":
    "minerva-plugin/glue/sampler.js",
    "minerva-plugin/glue/stream.js",
    "minerva-plugin/glue/template.js",
    "minerva-plugin/host.d.ts",
    "minerva-plugin/index.d.ts",
    "minerva-plugin/index.js",
    "minerva-plugin/store.d.ts",
    "minerva-plugin/store.js",
];

/// Makes a project, and says how it goes on.
#[expect(clippy::print_stdout, reason = "this is what the command is for")]
pub(crate) fn run(arguments: &NewArguments) -> Result<()> {
    let NewArguments { name, kind, lang } = arguments;
    check_name(name)?;
    write(Path::new(name), &files(name, *kind, *lang))?;
    println!("{name}/ is a {} plugin that builds as it stands. What comes next:\n", kind.as_str());
    println!("  minerva plugin build {name}");
    println!("  {}", try_it(name, &format!("{name}/{name}.wasm"), *kind));
    Ok(())
}

/// A command that uses a plugin.
pub(super) fn try_it(name: &str, file: &str, kind: PluginKind) -> String {
    format!("minerva run --plugin {name}={file} --{} {name} \"Why is the sky blue?\"", kind.as_str())
}

/// Names that no crate can have, or none that depends on the SDK.
const TAKEN: [&str; 57] = [
    "abstract",
    "alloc",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "const",
    "continue",
    "core",
    "crate",
    "do",
    "dyn",
    "else",
    "enum",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "let",
    "loop",
    "macro",
    "match",
    "minerva-plugin",
    "mod",
    "move",
    "mut",
    "override",
    "priv",
    "proc-macro",
    "pub",
    "ref",
    "return",
    "self",
    "static",
    "std",
    "struct",
    "super",
    "test",
    "trait",
    "true",
    "try",
    "type",
    "typeof",
    "union",
    "unsafe",
    "unsized",
    "use",
    "virtual",
    "where",
    "yield",
];

fn check_name(name: &str) -> Result<()> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let begins_well = name.starts_with(|c: char| c.is_ascii_lowercase());
    if !begins_well || name.ends_with('-') || name.len() > 64 || !name.chars().all(fits) {
        bail!(
            "'{name}' cannot be a plugin's name: use at most 64 lowercase letters, digits and '-', with a letter \
             in front and no '-' at the end, as in my-plugin"
        );
    }
    if TAKEN.contains(&name) {
        bail!("'{name}' cannot be a plugin's name, because it is a word of the language; my-{name} can");
    }
    Ok(())
}

/// What a project consists of.
fn files(name: &str, kind: PluginKind, language: Language) -> Vec<(&'static str, String)> {
    let plugin = match (language, kind) {
        (Language::Rust, PluginKind::Sampler) => ("src/lib.rs", template!("rust/sampler.rs")),
        (Language::Rust, PluginKind::Template) => ("src/lib.rs", template!("rust/template.rs")),
        (Language::Rust, PluginKind::Stream) => ("src/lib.rs", template!("rust/stream.rs")),
        (Language::C, PluginKind::Sampler) => ("plugin.c", template!("c/sampler.c")),
        (Language::C, PluginKind::Template) => ("plugin.c", template!("c/template.c")),
        (Language::C, PluginKind::Stream) => ("plugin.c", template!("c/stream.c")),
        (Language::Python, PluginKind::Sampler) => ("plugin.py", template!("python/sampler.py")),
        (Language::Python, PluginKind::Template) => ("plugin.py", template!("python/template.py")),
        (Language::Python, PluginKind::Stream) => ("plugin.py", template!("python/stream.py")),
        (Language::Js, PluginKind::Sampler) => ("plugin.js", template!("js/sampler.js")),
        (Language::Js, PluginKind::Template) => ("plugin.js", template!("js/template.js")),
        (Language::Js, PluginKind::Stream) => ("plugin.js", template!("js/stream.js")),
        (Language::Ts, PluginKind::Sampler) => ("plugin.ts", template!("ts/sampler.ts")),
        (Language::Ts, PluginKind::Template) => ("plugin.ts", template!("ts/template.ts")),
        (Language::Ts, PluginKind::Stream) => ("plugin.ts", template!("ts/stream.ts")),
    };
    let project = ("plugin.json", template!("plugin.json"));
    let (around, sdk): (&[File], &[File]) = match language {
        Language::Rust => (
            &[
                ("Cargo.toml", template!("rust/Cargo.toml")),
                ("README.md", template!("rust/README.md")),
                (".gitignore", template!("rust/gitignore")),
            ],
            RUST_SDK,
        ),
        Language::C => (
            &[
                project,
                ("requirements.txt", template!("c/requirements.txt")),
                ("README.md", template!("c/README.md")),
                (".gitignore", template!("c/gitignore")),
            ],
            C_SDK,
        ),
        Language::Python => (
            &[
                project,
                ("requirements.txt", template!("python/requirements.txt")),
                ("README.md", template!("python/README.md")),
                (".gitignore", template!("python/gitignore")),
            ],
            PYTHON_SDK,
        ),
        Language::Js => (
            &[
                project,
                ("package.json", template!("js/package.json")),
                ("README.md", template!("js/README.md")),
                (".gitignore", template!("js/gitignore")),
            ],
            JS_SDK,
        ),
        Language::Ts => (
            &[
                project,
                ("package.json", template!("ts/package.json")),
                ("tsconfig.json", template!("ts/tsconfig.json")),
                ("README.md", template!("ts/README.md")),
                (".gitignore", template!("ts/gitignore")),
            ],
            JS_SDK,
        ),
    };
    let using = format!("--{} {name}", kind.as_str());
    let filled = |&(path, text): &File| {
        let text = text.replace("{name}", name).replace("{kind}", kind.as_str()).replace("{use}", &using);
        (path, text.replace("{language}", language.as_str()))
    };
    // The repository's lints stay there.
    let vendored = |&(path, text): &File| (path, text.replace("[lints]\nworkspace = true\n", ""));
    let around = around.iter().map(filled);
    around.chain([&plugin, &WIT].into_iter().chain(sdk).map(vendored)).collect()
}

fn write(folder: &Path, files: &[(&str, String)]) -> Result<()> {
    let shown = folder.display();
    if folder.symlink_metadata().is_ok() {
        bail!("{shown} is there already, and nothing is overwritten; take another name, or remove it");
    }
    for (path, text) in files {
        let path = folder.join(path);
        let written = path.parent().map_or(Ok(()), std::fs::create_dir_all);
        written
            .and_then(|()| std::fs::write(&path, text))
            .with_context(|| format!("{} cannot be written", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for name in ["a", "my-plugin", "x2"] {
            check_name(name).unwrap();
        }
        let long = "x".repeat(65);
        for name in
            ["", "-a", "a-", "A", "a_b", "a/b", "../a", "ä", "2x", "a b", "fn", "minerva-plugin", &long]
        {
            let said = check_name(name).unwrap_err().to_string();
            assert!(said.contains("cannot be a plugin's name"), "{said}");
        }
    }

    #[test]
    fn the_sdks_are_there_whole() {
        let sdk = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sdk");
        for (base, folder, into, files) in [
            (sdk.clone(), "src", "sdk/", RUST_SDK),
            (sdk.join("c"), "", "", C_SDK),
            (sdk.join("python"), "", "", PYTHON_SDK),
            (sdk.join("js"), "", "", JS_SDK),
        ] {
            let mut found = Vec::new();
            let mut folders = vec![base.join(folder)];
            while let Some(folder) = folders.pop() {
                for entry in std::fs::read_dir(folder).unwrap() {
                    let path = entry.unwrap().path();
                    if path.is_dir() && !path.ends_with("__pycache__") {
                        folders.push(path);
                    } else if path.is_file() {
                        found.push(format!("{into}{}", path.strip_prefix(&base).unwrap().display()));
                    }
                }
            }
            if folder == "src" {
                found.push("sdk/Cargo.toml".to_owned());
            }
            found.sort();
            let known: Vec<&str> = files.iter().map(|(path, _)| *path).collect();
            assert_eq!(known, found);
        }
    }

    #[test]
    fn a_project_says_its_name_and_no_workspace() {
        let files = files("my-plugin", PluginKind::Sampler, Language::Rust);
        let text =
            |name: &str| files.iter().find(|(path, _)| *path == name).map(|(_, text)| text.as_str()).unwrap();
        for language in [Language::C, Language::Python, Language::Js, Language::Ts] {
            let files = super::files("my-plugin", PluginKind::Stream, language);
            let project = files.iter().find(|(path, _)| *path == "plugin.json").unwrap();
            let project: serde_json::Value = serde_json::from_str(&project.1).unwrap();
            assert_eq!((&project["name"], &project["kind"]), (&"my-plugin".into(), &"stream".into()));
        }
        assert!(text("Cargo.toml").contains("name = \"my-plugin\""));
        assert!(text("README.md").contains("--plugin my-plugin=my-plugin.wasm --sampler my-plugin"));
        assert!(!text("sdk/Cargo.toml").contains("workspace = true"));
        assert!(text("sdk/Cargo.toml").contains(&format!("version = \"{}\"", env!("CARGO_PKG_VERSION"))));
    }
}
