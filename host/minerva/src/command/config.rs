//! `minerva config`: what holds, and where it comes from.

use std::fmt::Write as _;

use anyhow::Result;

use crate::config::{self, ConfigArguments, Given, Resolved, Setting, Sources};

/// Prints what holds as a configuration file, with the origin of every value behind it.
#[expect(clippy::print_stdout, reason = "this is what the command is for")]
pub(crate) fn run(arguments: &ConfigArguments, sources: &Sources) -> Result<()> {
    if arguments.reference {
        print!("{}", config::page());
    } else if arguments.default {
        print!("{}", config::template());
    } else {
        match sources.file() {
            Some(path) => println!("# file: {}", path.display()),
            None => println!("# file: none"),
        }
        for (name, meant) in sources.unknown_variables() {
            let meant = meant.map_or_else(String::new, |meant| format!("; did you mean {meant}?"));
            println!("# the variable {name} means nothing here{meant}");
        }
        print!("{}", effective(&sources.resolve(None)?, |_| true));
        for section in &sources.sections {
            // What a model has for itself; the rest is above.
            let resolved = sources.resolve(Some(section))?;
            println!("\n[[models]]   # {}", section.place);
            print!("{}", lines(&resolved.values, |setting| setting.of_model && section.sets(setting), ""));
        }
    }
    Ok(())
}

fn effective(resolved: &Resolved, shown: impl Fn(&Setting) -> bool) -> String {
    let mut sections: Vec<&str> = Vec::new();
    for (setting, _) in &resolved.values {
        if !sections.contains(&setting.key().0) {
            sections.push(setting.key().0);
        }
    }
    let mut text = String::new();
    for section in sections {
        let _ = write!(text, "\n[{section}]\n");
        text.push_str(&lines(&resolved.values, |setting| setting.key().0 == section && shown(setting), "# "));
    }
    text
}

/// A line for each setting; what has no value is commented out.
fn lines(values: &[(Setting, Given)], shown: impl Fn(&Setting) -> bool, unset: &str) -> String {
    let mut text = String::new();
    for (setting, given) in values.iter().filter(|(setting, _)| shown(setting)) {
        let (key, origin) = (setting.key().1, &given.origin);
        let values: Vec<String> =
            given
                .values
                .iter()
                .map(|value| {
                    if setting.is_secret() { "\"(hidden)\"".into() } else { config::literal(value, setting) }
                })
                .collect();
        let _ = match (values.as_slice(), setting.is_list()) {
            ([], _) if unset.is_empty() => Ok(()),
            ([], _) => writeln!(text, "{unset}{key} =   # {origin}"),
            ([value], false) => writeln!(text, "{key} = {value}   # {origin}"),
            (values, _) => writeln!(text, "{key} = [{}]   # {origin}", values.join(", ")),
        };
    }
    text
}
