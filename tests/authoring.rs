//! Writing plugins: from `minerva plugin new` to an answer, and the laws that `minerva plugin test` knows.

use std::process::Command;

use crate::harness::{guests, minerva, plugins, root, run, shown};

/// From nothing to a chat with the plugin, in each kind.
#[test]
fn from_new_to_an_answer() {
    // What the projects depend on is there once the tree's own plugins are built; nothing is fetched.
    plugins();
    let folder = tempfile::tempdir().expect("a folder");
    for kind in ["sampler", "template", "stream"] {
        let name = format!("my-{kind}");
        let here = |arguments: &[&str]| {
            let mut command = minerva(arguments);
            command.current_dir(folder.path());
            command
        };
        let made = here(&["plugin", "new", &name, "--kind", kind]).output().expect("it runs");
        assert!(made.status.success(), "{}", shown(&made));
        let built = offline(&mut here(&["plugin", "build", &name])).output().expect("it runs");
        assert!(built.status.success(), "{}", shown(&built));

        // What it says can be typed is typed.
        let said = String::from_utf8_lossy(&built.stdout).into_owned();
        let commands: Vec<&str> =
            said.lines().filter_map(|line| line.trim().strip_prefix("minerva ")).collect();
        assert_eq!(commands.len(), 2, "{said}");
        for command in commands {
            let (words, question) = command.split_once('"').unwrap_or((command, ""));
            let mut words: Vec<&str> = words.split_whitespace().collect();
            words.extend(question.strip_suffix('"'));
            let output = here(&words).output().expect("it runs");
            assert!(output.status.success() && !output.stdout.is_empty(), "{words:?}: {}", shown(&output));
        }

        let again = here(&["plugin", "new", &name, "--kind", kind]).output().expect("it runs");
        assert_eq!(again.status.code(), Some(1), "{}", shown(&again));
        assert!(shown(&again).contains("nothing is overwritten"), "{}", shown(&again));
    }
    let tests =
        offline(Command::new("cargo").arg("test")).current_dir(folder.path().join("my-sampler")).output();
    let tests = tests.expect("cargo runs");
    assert!(tests.status.success(), "{}", shown(&tests));
}

/// No network, and the dependencies that the tree's own plugins were built with.
fn offline(command: &mut Command) -> &mut Command {
    command
        .env("CARGO_NET_OFFLINE", "true")
        .env("CARGO_TARGET_DIR", root().join("plugins/target"))
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("RUSTFLAGS")
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

/// Each law is one that can be broken, and who breaks it is told so.
#[test]
fn who_breaks_a_law_is_caught() {
    let guest = |name: &str| guests().join(format!("guest-{name}.wasm")).display().to_string();
    let file = guest("lawless");
    let broken = [
        ("sampler", "fork"),
        ("sampler", "rollback"),
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
