//! Writing plugins: from `minerva plugin new` to an answer, the laws that `minerva plugin test` knows, and the plugins
//! of the tree, which keep them.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{Server, asking, guests, minerva, plugins, root, run, shown};

/// From nothing to a chat with the plugin in two commands and no edit: what `new` prints is typed, and what `build`
/// prints after it.
fn from_new_to_an_answer(language: &str, kind: &str, here: &dyn Fn(&[&str]) -> Command) {
    let name = format!("my-{kind}");
    let new = ["plugin", "new", &name, "--kind", kind, "--lang", language];
    let made = typed(&mut here(&new));
    let commands = printed(&made);
    assert_eq!(commands.len(), 2, "{made}");
    assert_eq!(commands[0], ["plugin", "build", &name]);
    assert_eq!(commands[1][0], "run");
    for command in commands {
        let said = typed(&mut here(&words(&command)));
        assert!(!said.is_empty(), "{command:?}");
        if command[1] == "build" {
            let commands = printed(&said);
            assert_eq!(commands.len(), 2, "{said}");
            let said = typed(&mut here(&words(&commands[0])));
            assert!(said.contains("  ok ") && !said.contains("FAIL"), "{said}");
        }
    }

    let again = here(&new).output().expect("it runs");
    assert_eq!(again.status.code(), Some(1), "{}", shown(&again));
    assert!(shown(&again).contains("nothing is overwritten"), "{}", shown(&again));
}

/// Runs a command that succeeds, and returns what it says.
fn typed(command: &mut Command) -> String {
    let output = command.output().expect("it runs");
    assert!(output.status.success(), "{command:?}: {}", shown(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The commands of ours in a text, in words.
fn printed(text: &str) -> Vec<Vec<String>> {
    let commands = text.lines().filter_map(|line| line.trim().strip_prefix("minerva "));
    let words = |command: &str| {
        let (words, question) = command.split_once('"').unwrap_or((command, ""));
        let words = words.split_whitespace().chain(question.strip_suffix('"'));
        words.map(str::to_owned).collect()
    };
    commands.map(words).collect()
}

fn words(command: &[String]) -> Vec<&str> {
    command.iter().map(String::as_str).collect()
}

/// A project whose plugin is that of the same name in `tests/authoring`.
fn written(
    name: &str,
    kind: &str,
    language: &str,
    folder: &Path,
    here: &dyn Fn(&[&str]) -> Command,
) -> PathBuf {
    typed(&mut here(&["plugin", "new", name, "--kind", kind, "--lang", language]));
    let (file, place) = match language {
        "rust" => ("lib.rs".to_owned(), "src/lib.rs".to_owned()),
        "python" => ("plugin.py".to_owned(), "plugin.py".to_owned()),
        other => (format!("plugin.{other}"), format!("plugin.{other}")),
    };
    let source = root().join("tests/authoring").join(name).join(file);
    let project = folder.join(name);
    std::fs::copy(source, project.join(place)).expect("the source is copied");
    project
}

/// A sampler that uses what the host has for samplers, as its author found it in the pages: it keeps the laws, and says no
/// digits.
fn asks_the_host(language: &str, folder: &Path, here: &dyn Fn(&[&str]) -> Command) {
    let project = written("calm", "sampler", language, folder, here);
    typed(&mut here(&["plugin", "build", "calm"]));
    let file = project.join("calm.wasm").display().to_string();
    let said = typed(&mut here(&["plugin", "test", &file]));
    for law in ["fork", "rollback", "memory"] {
        assert!(said.lines().any(|line| line.contains("  ok ") && line.contains(law)), "{law}: {said}");
    }
    let plugin = format!("calm={file}");
    let said = typed(&mut here(&["run", "--plugin", &plugin, "--sampler", "calm", "What is 2 plus 3?"]));
    assert!(!said.is_empty() && !said.contains(|c: char| c.is_ascii_digit()), "{said}");
}

/// What a plugin remembers, by the helpers of its SDK.
fn remembers(language: &str, folder: &Path, here: &dyn Fn(&[&str]) -> Command) {
    let project = written("remembering", "template", language, folder, here);
    // Where the toolchain links what is used, nothing has to be said.
    if matches!(language, "python" | "js" | "ts") {
        let manifest = project.join("plugin.json");
        let text = std::fs::read_to_string(&manifest).expect("the manifest");
        let text = text.replace('}', ", \"store\": true}");
        std::fs::write(manifest, text).expect("it is written");
    }
    // Compiles it too, so that the server need not.
    typed(&mut here(&["plugin", "build", "remembering"]));
    let file = project.join("remembering.wasm");
    let checked = typed(&mut here(&["plugin", "check", &file.display().to_string()]));
    assert!(checked.contains("imports    minerva:plugin/store@0.1.0"), "{checked}");

    let plugin = format!("remembering={}", file.display());
    let limit = "compile=600s";
    let server = Server::start_with(&["serve", "--port", "0", "--plugin", &plugin, "--plugin-limit", limit]);
    let mut request = asking("Who was here?");
    request["minerva"] = json!({ "template": { "id": "remembering" } });
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    for expected in ["1: a föx", "2: a föx", "3: nothing"] {
        let (status, answer) = runtime.block_on(server.post("/v1/chat/completions", &request));
        assert_eq!(status, 400, "{answer}");
        let said = answer["error"]["message"].as_str().expect("a message");
        assert!(said.contains(expected), "{expected}: {said}");
    }
}

/// A project of C in which the plugin is C++.
fn in_cpp(folder: &Path, here: &dyn Fn(&[&str]) -> Command) {
    typed(&mut here(&["plugin", "new", "words", "--kind", "stream", "--lang", "c"]));
    let project = folder.join("words");
    std::fs::remove_file(project.join("plugin.c")).expect("it goes");
    let source = root().join("tests/authoring/words/plugin.cpp");
    std::fs::copy(source, project.join("plugin.cpp")).expect("the source is copied");
    typed(&mut here(&["plugin", "build", "words"]));
    assert!(typed(&mut here(&["plugin", "test", "words/words.wasm"])).contains("chunks"));
}

#[test]
fn samples_in_rust() {
    // What the projects depend on is there once the tree's own plugins are built; nothing is fetched.
    plugins();
    let folder = tempfile::tempdir().expect("a folder");
    let here = |arguments: &[&str]| {
        let mut command = minerva(arguments);
        offline(command.current_dir(folder.path()));
        command
    };
    for kind in ["sampler", "template", "stream"] {
        from_new_to_an_answer("rust", kind, &here);
    }
    asks_the_host("rust", folder.path(), &here);
    remembers("rust", folder.path(), &here);
    typed(offline(Command::new("cargo").arg("test")).current_dir(folder.path().join("my-sampler")));
}

/// No network, and the dependencies that the tree's own plugins were built with.
fn offline(command: &mut Command) -> &mut Command {
    command
        .env("CARGO_NET_OFFLINE", "true")
        .env("CARGO_TARGET_DIR", root().join("plugins/target"))
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("RUSTFLAGS")
}

/// Other languages, from their packages alone. They need a package registry: without, the test says so and is skipped
/// by name, unless `MINERVA_TEST_REQUIRE_SDKS` is set. What takes long to compile is built in some kinds only then.
fn samples(language: &str, kinds: &[&str], install: impl Fn(&Path) -> Result<PathBuf, String>) {
    let required = std::env::var_os("MINERVA_TEST_REQUIRE_SDKS").is_some();
    let tools = match install(&root().join("target/sdk").join(language)) {
        Ok(tools) => tools,
        Err(error) if required => panic!("the toolchain of {language} is required here: {error}"),
        Err(error) => return eprintln!("skipped: the toolchain of {language} cannot be had here: {error}"),
    };
    let path = std::env::join_paths(
        [tools].into_iter().chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())),
    );
    let path = path.expect("a path");
    let folder = tempfile::tempdir().expect("a folder");
    let here = |arguments: &[&str]| {
        let mut command = minerva(arguments);
        // An interpreter is large, and on a busy machine what compiles at the lowest priority waits.
        command.current_dir(folder.path()).env("PATH", &path).env("MINERVA_PLUGIN_LIMIT", "compile=600s");
        command
    };
    for kind in if required { &["sampler", "template", "stream"][..] } else { kinds } {
        from_new_to_an_answer(language, kind, &here);
    }
    if required && language == "c" {
        in_cpp(folder.path(), &here);
    }
    if required || kinds.len() == 3 {
        asks_the_host(language, folder.path(), &here);
        remembers(language, folder.path(), &here);
    }
}

/// Runs a program that installs.
fn installed(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| error.to_string())?;
    if output.status.success() { Ok(()) } else { Err(shown(&output)) }
}

/// A virtual environment with what the projects of a language require; its programs.
fn installed_by_pip(language: &str, environment: &Path) -> Result<PathBuf, String> {
    installed(Command::new("python3").args(["-m", "venv"]).arg(environment))?;
    let tools = environment.join("bin");
    let requirements = root().join("sdk/new").join(language).join("requirements.txt");
    let mut pip = Command::new(tools.join("python"));
    installed(pip.args(["-m", "pip", "install", "--quiet", "-r"]).arg(requirements))?;
    Ok(tools)
}

/// The same by npm.
fn installed_by_npm(language: &str, environment: &Path) -> Result<PathBuf, String> {
    let package = root().join("sdk/new").join(language).join("package.json");
    let package = std::fs::read_to_string(package).map_err(|error| error.to_string())?;
    std::fs::create_dir_all(environment).map_err(|error| error.to_string())?;
    std::fs::write(environment.join("package.json"), package.replace("{name}", "tools"))
        .map_err(|error| error.to_string())?;
    installed(Command::new("npm").args(["install", "--silent", "--prefix"]).arg(environment))?;
    Ok(environment.join("node_modules/.bin"))
}

#[test]
fn samples_in_c() {
    samples("c", &["sampler", "template", "stream"], |environment| {
        let tools = installed_by_pip("c", environment)?;
        let zig = tools.join("zig");
        if !zig.exists() {
            std::os::unix::fs::symlink("python-zig", zig).map_err(|error| error.to_string())?;
        }
        Ok(tools)
    });
}

#[test]
fn samples_in_python() {
    samples("python", &["sampler"], |environment| installed_by_pip("python", environment));
}

#[test]
fn samples_in_javascript() {
    samples("js", &["sampler", "template", "stream"], |environment| installed_by_npm("js", environment));
}

/// These install their toolchain themselves, as projects do on a machine that has none; by now npm has it at hand.
#[test]
fn samples_in_typescript() {
    samples("ts", &["sampler"], |environment| {
        a_wrong_type_is_found(&installed_by_npm("ts", environment)?);
        Ok(environment.join("nothing"))
    });
}

/// What the types forbid is no component.
fn a_wrong_type_is_found(tools: &Path) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths([tools.to_owned()].into_iter().chain(std::env::split_paths(&path)));
    let path = path.expect("a path");
    let here = |arguments: &[&str]| {
        let mut command = minerva(arguments);
        command.current_dir(folder.path()).env("PATH", &path);
        command
    };
    typed(&mut here(&["plugin", "new", "wrong", "--kind", "sampler", "--lang", "ts"]));
    let plugin = folder.path().join("wrong/plugin.ts");
    let source = std::fs::read_to_string(&plugin).expect("the plugin");
    let wrong = source.replace("ids.slice(0, end)", "\"the best\"");
    assert_ne!(source, wrong);
    std::fs::write(&plugin, wrong).expect("it is written");
    let built = here(&["plugin", "build", "wrong"]).output().expect("it runs");
    assert_eq!(built.status.code(), Some(1), "{}", shown(&built));
    let said = shown(&built);
    assert!(said.contains("tsc could not build wrong") && said.contains("plugin.ts"), "{said}");
}

/// A toolchain that is missing is named, and so is what installs it.
#[test]
fn a_missing_toolchain_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    for (language, tool, installs) in [
        ("c", "zig", "pip install --quiet -r in-c/requirements.txt"),
        ("python", "componentize-py", "pip install --quiet -r in-python/requirements.txt"),
        ("js", "componentize-qjs", "npm install --silent --prefix in-js"),
        ("ts", "tsc", "npm install --silent --prefix in-ts"),
        ("rust", "Rust", "install it from https://rustup.rs"),
    ] {
        let name = format!("in-{language}");
        let here = |arguments: &[&str]| {
            minerva(arguments).current_dir(folder.path()).env("PATH", "/nowhere").output().expect("it runs")
        };
        let made = here(&["plugin", "new", &name, "--kind", "stream", "--lang", language]);
        assert!(made.status.success(), "{}", shown(&made));
        for arguments in [&["plugin", "build", &name][..], &["plugin", "build", &name, "--offline"]] {
            let built = here(arguments);
            assert_eq!(built.status.code(), Some(1), "{}", shown(&built));
            let said = shown(&built);
            assert!(said.contains(tool) && said.contains(installs), "{said}");
        }
    }
}

#[test]
fn what_cannot_be_made_or_built_is_said() {
    let folder = tempfile::tempdir().expect("a folder");
    let here = folder.path().display().to_string();
    std::fs::create_dir(folder.path().join("empty")).expect("a folder");
    let empty = format!("{here}/empty");
    for (arguments, expected) in [
        (&["plugin", "new", "../x", "--kind", "stream"][..], "'../x' cannot be a plugin's name: use"),
        (&["plugin", "new", "fn", "--kind", "stream"], "my-fn can"),
        (&["plugin", "build", "no/such/folder"], "`minerva plugin new` makes a project"),
        (&["plugin", "build", &empty], "no plugin's project"),
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(1), "{}", shown(&output));
        assert!(shown(&output).contains(expected), "{}", shown(&output));
    }
}

/// Every plugin of the tree keeps the laws.
#[test]
fn the_trees_plugins_keep_the_laws() {
    let files = std::fs::read_dir(plugins()).expect("the plugins");
    let mut files: Vec<_> = files.map(|file| file.expect("a file").path().display().to_string()).collect();
    files.sort();
    let mut arguments = vec!["plugin", "test"];
    arguments.extend(files.iter().map(String::as_str));
    let output = run(&arguments);
    assert!(output.status.success(), "{}", shown(&output));
    // As many plugins as there are folders, and no more.
    let folders = std::fs::read_dir(root().join("plugins")).expect("the plugins");
    let folders =
        folders.filter(|entry| entry.as_ref().is_ok_and(|entry| entry.path().join("Cargo.toml").exists()));
    assert_eq!(files.len(), folders.count(), "{files:?}");
}

/// Every plugin of the tree does its part in an answer of the real engine, and says so.
#[tokio::test(flavor = "multi_thread")]
async fn the_trees_plugins_take_part_in_answers() {
    let folder = plugins().display().to_string();
    let server = Server::start_with(&["serve", "--port", "0", "--plugins-dir", &folder, "-np", "2"]);
    let (status, list) = server.get("/v1/plugins").await;
    assert_eq!(status, 200, "{list}");
    for plugin in list["data"].as_array().expect("a list") {
        let (name, kind) = (&plugin["id"], plugin["kinds"][0].as_str().expect("a kind"));
        let schema = &plugin[kind]["args_schema"];
        let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let args: Value = required
            .map(|name| (name.to_owned(), schema["properties"][name]["examples"][0].clone()))
            .collect::<serde_json::Map<_, _>>()
            .into();
        let using = json!({ "id": name, "args": args });
        let mut request = asking("Tell me a story about an owl.");
        request["max_tokens"] = json!(40);
        request["minerva"] = match kind {
            "sampler" => json!({ "samplers": [using] }),
            "stream" => json!({ "stream": [using] }),
            _ => json!({ "template": using }),
        };
        let (status, answer) = server.post("/v1/chat/completions", &request).await;
        assert_eq!(status, 200, "{name}: {answer}");
        let report = &answer["minerva"]["plugins"][0];
        assert_eq!((&report["name"], report["fault"].is_null()), (name, true), "{answer}");
        assert!(report["calls"].as_u64() >= Some(1), "{answer}");
    }
    a_watermark_is_found_again(&server).await;
}

/// What an answer was marked with is found in its text, by who has the key.
async fn a_watermark_is_found_again(server: &Server) {
    let mut request = asking("Tell me a long story about an owl and a fox.");
    request["max_tokens"] = json!(250);
    request["ignore_eos"] = json!(true);
    request["seed"] = json!(1);
    let mark = |args: Value| json!({ "samplers": [{ "id": "watermark", "args": args }] });
    request["minerva"] = mark(json!({ "key": "secret", "bias": 6 }));
    let text = server.chat(&request).await;
    for (key, is_found) in [("secret", true), ("guessed", false)] {
        let mut request = asking("");
        request["minerva"] = mark(json!({ "key": key, "detect": text }));
        let (status, answer) = server.post("/v1/chat/completions", &request).await;
        assert_eq!(status, 200, "{answer}");
        let found = &answer["minerva"]["plugins"][0]["meta"];
        let z = found["z"].as_f64().unwrap_or_else(|| panic!("{answer}"));
        assert_eq!(z > 4.0, is_found, "{found} in {text}");
    }
}

/// Each law is one that can be broken, and who breaks it is told so.
#[test]
fn who_breaks_a_law_is_caught() {
    let guest = |name: &str| guests().join(format!("guest-{name}.wasm")).display().to_string();
    let file = guest("lawless");
    let broken = [
        ("sampler", "fork"),
        ("sampler", "rollback"),
        ("sampler", "backtrack"),
        ("sampler", "commits"),
        ("sampler", "odd steps"),
        ("sampler", "memory"),
        ("template", "markup"),
        ("template", "odd chats"),
        ("stream", "chunks"),
        ("stream", "odd answers"),
        ("stream", "memory"),
        ("", ""),
    ];
    for (kind, law) in broken {
        let output = run(&["plugin", "test", &file, "--args", &format!(r#"{{"law": "{law}"}}"#)]);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let failed: Vec<&str> = said.lines().filter_map(|line| line.trim().strip_prefix("FAIL")).collect();
        let is = |kind: &str, law: &str| {
            failed
                .iter()
                .any(|line| line.split_once(kind).is_some_and(|(_, rest)| rest.trim_start().starts_with(law)))
        };
        assert_eq!(output.status.code(), Some(1), "{}", shown(&output));
        // It takes any argument as a template, whatever else it does.
        assert!(is("template", "arguments"), "{said}");
        assert!(law.is_empty() || is(kind, law), "{law} is broken and not caught:\n{said}");
        let others = if law == "memory" { 2 } else { usize::from(!law.is_empty()) };
        assert_eq!(failed.len(), 1 + others, "only {law} is broken:\n{said}");
    }
}

#[test]
fn what_calls_take_is_measured() {
    let files = ["min-p", "persona", "redact"]
        .map(|name| plugins().join(format!("{name}.wasm")).display().to_string());
    let output = run(&["plugin", "bench", &files[0], &files[1], &files[2]]);
    assert!(output.status.success(), "{}", shown(&output));
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    for call in
        ["open", "drop", "advance, 1 token", "pick, 64 candidates", "render, one message", "push, one token"]
    {
        let row =
            table.lines().find(|line| line.contains(call)).unwrap_or_else(|| panic!("no {call}:\n{table}"));
        let median: f64 = row.split_whitespace().rev().nth(1).expect("a median").parse().expect("a number");
        assert!(median > 0.0, "{row}");
    }
}
