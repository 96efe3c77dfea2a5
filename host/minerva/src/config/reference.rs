//! The reference page, and a file to begin with: both written from the definition.

use std::fmt::Write as _;

use super::definition::{Setting, settings};

/// What stands above the tables.
const INTRODUCTION: &str = "\
# Settings

This page is written by `minerva config --reference`; a test keeps it current.

Everything here is a flag, a variable of the environment and a key of the configuration file. A flag is stronger than
a variable, a variable than a section of `[[models]]`, that than the other sections, and those than the default.
`minerva config`, with the flags that you would serve with, prints what holds and where each value comes from.
`minerva config --default > ~/.minerva/config.toml` writes a file to begin with, everything in it commented out.

The file is `~/.minerva/config.toml` or `config.json`, or what `--config FILE` (`MINERVA_CONFIG`) names; `off` is none.
A key that does not exist and a value that cannot be are errors, which name the key, the line and the nearest right
name. A list replaces the weaker one; it does not add to it. Switches take `=off` too: `--kv-unified=off`. llama-server's
variables (`LLAMA_ARG_CTX_SIZE`, …) are understood where Minerva's own are not set.

SIGHUP reads the file again. What the tables mark with ↻ changes at once; for the rest the log says that it takes a
restart. Of `[[models]]` and `models_dir` a model that is new is served, one that is gone or changed and is not loaded is
forgotten or changed; one that is loaded stays as it is until it is unloaded and SIGHUP comes again, and one of the hub
takes a restart. Of `[[plugins]]` what is new or comes from another file is loaded; what is gone stays. The log names each.
A file that is wrong changes nothing, and the log says why.

In a container: Kubernetes makes `MINERVA_PORT=tcp://…` for a service that is called `minerva`, which is no port. Give the
service another name, or set `enableServiceLinks: false`.
";

/// What stands below them.
const LISTS: &str = r#"
## [[models]]

Each of the `[[models]]` is a model that is served under its `name`, with any key of the sections that are marked
*each model*, without the section:

```toml
[[models]]
name = "small"
path = "/models/small-q4.gguf"
aliases = ["default"]
ctx_size = 8192
temperature = 0.2
sampler = [{ id = "min-p", args = { p = 0.1 } }]
```

## [[plugins]]

Each of the `[[plugins]]` is a component that requests can name:

```toml
[[plugins]]
name = "min-p"
path = "/plugins/min-p.wasm"
on_fault = "skip"                              # as --plugin-on-fault min-p=skip
limits = { memory = "32MiB", pick = "5ms" }    # as --plugin-limit min-p:memory=32MiB
```
"#;

/// The reference page.
pub(crate) fn page() -> String {
    let settings = settings();
    let mut page = INTRODUCTION.to_owned();
    for section in sections(&settings) {
        let of_section: Vec<&Setting> =
            settings.iter().filter(|setting| setting.key().0 == section).collect();
        let of_models = if of_section.iter().any(|setting| setting.of_model) { " (each model)" } else { "" };
        let _ = write!(page, "\n## [{section}]{of_models}\n\n");
        page.push_str("| key | flag | variables | default | |\n|---|---|---|---|---|\n");
        for setting in of_section {
            let reload = if setting.reloadable { "↻ " } else { "" };
            let others: String = setting.keys[1..].iter().map(|key| format!(", `{key}`")).collect();
            let variables: Vec<String> = setting.variables.iter().map(|name| format!("`{name}`")).collect();
            let (help, default) = help(setting);
            let _ = writeln!(
                page,
                "| `{}`{others} | `{}` | {} | {} | {reload}{} |",
                setting.key().1,
                flag(setting),
                variables.join(", "),
                default.map_or_else(String::new, |default| default.replace('|', "\\|")),
                help.replace('|', "\\|"),
            );
        }
    }
    page.push_str(LISTS);
    page
}

/// A file with everything that can be set, commented out.
pub(crate) fn template() -> String {
    let settings = settings();
    let mut text = String::from(
        "# Minerva's configuration. Each line shows a default, or what kind of value there can be.\n\
         # `minerva config` prints what holds, and where it comes from.\n",
    );
    for section in sections(&settings) {
        let _ = write!(text, "\n[{section}]\n");
        for setting in settings.iter().filter(|setting| setting.key().0 == section) {
            let (help, default) = help(setting);
            let _ = write!(text, "\n# {help}\n");
            let key = setting.key().1;
            let values: Vec<String> = setting
                .arg
                .get_default_values()
                .iter()
                .map(|value| literal(&value.to_string_lossy(), setting))
                .collect();
            let _ = match (values.as_slice(), setting.is_list()) {
                ([], true) => writeln!(text, "# {key} = []"),
                ([], false) => {
                    let default =
                        default.map_or_else(String::new, |default| format!("   # default: {default}"));
                    writeln!(text, "# {key} = …{default}")
                }
                ([value], false) => writeln!(text, "# {key} = {value}"),
                (values, _) => writeln!(text, "# {key} = [{}]", values.join(", ")),
            };
        }
    }
    text.push_str(
        "\n# A model that requests can name; any key of [model], [performance], [gpu] and [sampling] holds for it alone.\n\
         # [[models]]\n# name = \"small\"\n# path = \"/models/small.gguf\"\n\
         \n# A plugin that requests can name.\n# [[plugins]]\n# name = \"min-p\"\n# path = \"/plugins/min-p.wasm\"\n",
    );
    text
}

/// A value as TOML writes it.
pub(crate) fn literal(value: &str, setting: &Setting) -> String {
    let number = !setting.is_secret() && value.parse::<f64>().is_ok_and(f64::is_finite);
    if number || (setting.is_switch() && matches!(value, "true" | "false")) {
        return value.to_owned();
    }
    // JSON's strings are TOML's.
    serde_json::Value::from(value).to_string()
}

/// The sections, in the order of the definition.
fn sections(settings: &[Setting]) -> Vec<String> {
    let mut sections: Vec<String> = Vec::new();
    for setting in settings {
        let section = setting.key().0;
        if sections.iter().all(|known| known != section) {
            sections.push(section.to_owned());
        }
    }
    sections
}

/// What a setting is for, and its default in words.
fn help(setting: &Setting) -> (String, Option<String>) {
    let help = setting.arg.get_help().map(ToString::to_string).unwrap_or_default();
    let choices = setting.choices();
    let of = if choices.is_empty() { String::new() } else { format!(": {}", choices.join(", ")) };
    if let Some((help, default)) = help.split_once(" [default: ") {
        return (format!("{help}{of}"), Some(default.trim_end_matches(']').to_owned()));
    }
    let values: Vec<_> =
        setting.arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    let default = match (setting.is_switch(), values.is_empty()) {
        (true, _) => Some("off".into()),
        (false, true) => None,
        (false, false) => Some(values.join(", ")),
    };
    (format!("{help}{of}"), default)
}

fn flag(setting: &Setting) -> String {
    let short = setting.arg.get_short().map_or_else(String::new, |short| format!("-{short}, "));
    let value = match setting.arg.get_value_names() {
        Some([name]) if !setting.is_switch() => format!(" {name}"),
        _ => String::new(),
    };
    format!("{short}--{}{value}", setting.flag)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The page in host/docs is what the definition says. `MINERVA_UPDATE_DOCS=1 cargo test -p minerva` writes it.
    #[test]
    fn the_page_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/settings.md");
        if std::env::var_os("MINERVA_UPDATE_DOCS").is_some() {
            std::fs::write(path, page()).unwrap();
        }
        let written = std::fs::read_to_string(path).unwrap_or_default();
        let differs =
            written.lines().zip(page().lines().map(str::to_owned).collect::<Vec<_>>()).find(|(a, b)| a != b);
        assert!(
            written == page(),
            "host/docs/settings.md is not what the flags say ({differs:?}); MINERVA_UPDATE_DOCS=1 on this test writes it"
        );
    }
}
