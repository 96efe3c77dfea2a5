//! What can be set, as the flags define it: one flag is one variable of the environment and one key of the file.
//!
//! A flag of [`Arguments`] that stands under a heading is a setting (so what is flattened into a struct stands at its end:
//! clap keeps the heading for what follows). The heading is its section in the file, its
//! variable (`MINERVA_CTX_SIZE`, or what `env` says) without the prefix is its key. Nothing else has to be written
//! for it, bar other names in [`OTHER_NAMES`].

use std::collections::BTreeSet;

use clap::builder::BoolishValueParser;
use clap::{Arg, ArgAction, Args, Command, CommandFactory};

use super::{Arguments, ModelArguments, ServedArguments};

/// Other names of a setting, of the kinds that people bring along.
struct OtherNames {
    /// The flag.
    flag: &'static str,
    /// Keys in the file, with their sections.
    keys: &'static [&'static str],
    /// Variables.
    variables: &'static [&'static str],
}

/// Names beside the regular ones. `LLAMA_ARG_<FLAG>` holds for every flag, and need not stand here.
const OTHER_NAMES: &[OtherNames] = &[
    OtherNames { flag: "ctx-size", keys: &["gpu.context_size"], variables: &["MINERVA_GPU_CONTEXT_SIZE"] },
    OtherNames { flag: "n-gpu-layers", keys: &["gpu.layers_to_gpu"], variables: &[] },
    OtherNames { flag: "threads", keys: &[], variables: &["MINERVA_GPU_THREADS"] },
    OtherNames {
        flag: "parallel",
        keys: &["performance.batch_size"],
        variables: &["MINERVA_BATCH_SIZE", "LLAMA_ARG_N_PARALLEL"],
    },
    OtherNames { flag: "batch-size", keys: &[], variables: &["LLAMA_ARG_BATCH"] },
    OtherNames { flag: "ubatch-size", keys: &[], variables: &["LLAMA_ARG_UBATCH"] },
    OtherNames { flag: "cache-ram", keys: &["performance.cache_size_mb"], variables: &[] },
    OtherNames { flag: "model", keys: &["model.path"], variables: &[] },
    OtherNames { flag: "alias", keys: &["model.aliases"], variables: &[] },
    OtherNames { flag: "sleep-idle-seconds", keys: &["model.keep_alive"], variables: &[] },
    OtherNames { flag: "api-key", keys: &[], variables: &["LLAMA_API_KEY"] },
    OtherNames { flag: "otlp-endpoint", keys: &[], variables: &["OTEL_EXPORTER_OTLP_ENDPOINT"] },
    OtherNames { flag: "otlp-headers", keys: &[], variables: &["OTEL_EXPORTER_OTLP_HEADERS"] },
    OtherNames { flag: "otlp-sampling-ratio", keys: &[], variables: &["OTEL_TRACES_SAMPLER_ARG"] },
    OtherNames { flag: "reasoning-format", keys: &[], variables: &["LLAMA_ARG_THINK"] },
    OtherNames { flag: "hf-repo", keys: &["model.hf"], variables: &[] },
    OtherNames { flag: "gpu", keys: &["gpu.device"], variables: &["MINERVA_GPU_DEVICE"] },
    OtherNames { flag: "gpu-memory-limit", keys: &["gpu.max_memory_mb"], variables: &[] },
    OtherNames { flag: "cpu-fallback", keys: &["gpu.fallback_to_cpu"], variables: &[] },
];

/// Flags whose change SIGHUP brings in while the server runs.
const RELOADABLE: &[&str] = &["api-key", "api-key-file", "admin-key", "log"];

/// The longest edit that a proposal may be away from what was written, as a likeness from 0 to 1.
const LIKENESS_MIN: f64 = 0.75;

/// Something that can be set.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    /// The flag, without dashes.
    pub flag: String,
    /// Its keys in the file with their sections, the regular one first: `server.port`.
    pub keys: Vec<String>,
    /// Its variables, the strongest first.
    pub variables: Vec<String>,
    /// Whether a section of `[[models]]` can have it.
    pub of_model: bool,
    /// Whether SIGHUP brings a change in.
    pub reloadable: bool,
    /// What clap knows of it.
    pub arg: Arg,
}

impl Setting {
    /// Its id in clap's matches.
    pub(crate) fn id(&self) -> &str {
        self.arg.get_id().as_str()
    }

    /// Its regular key: section and name.
    pub(crate) fn key(&self) -> (&str, &str) {
        self.keys[0].split_once('.').unwrap_or(("", &self.keys[0]))
    }

    /// Whether it can have several values.
    pub(crate) fn is_list(&self) -> bool {
        matches!(self.arg.get_action(), ArgAction::Append)
    }

    /// Whether it is on or off.
    pub(crate) fn is_switch(&self) -> bool {
        self.arg.get_default_values().iter().any(|value| value == "false")
            && self.arg.get_num_args().is_some_and(|range| range.min_values() == 0)
    }

    /// Whether its value is to be shown to nobody.
    pub(crate) fn is_secret(&self) -> bool {
        self.arg.is_hide_env_values_set()
    }

    /// Its values, if there is a fixed set of them.
    pub(crate) fn choices(&self) -> Vec<String> {
        if self.is_switch() {
            return Vec::new();
        }
        self.arg.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect()
    }

    /// What is wrong with values, if anything is.
    pub(crate) fn check(&self, values: &[String]) -> Result<(), String> {
        let lone = Arg::new("value")
            .long("value")
            .action(ArgAction::Append)
            .num_args(1)
            .allow_hyphen_values(true)
            .value_parser(self.arg.get_value_parser().clone());
        let command = Command::new("value").no_binary_name(true).disable_help_flag(true).arg(lone);
        let typed = values.iter().map(|value| format!("--value={value}"));
        let Err(error) = command.try_get_matches_from(typed) else { return Ok(()) };
        let choices = self.choices();
        if !choices.is_empty() {
            let value = values.first().map(String::as_str).unwrap_or_default();
            let meant = nearest(value, choices.iter().map(String::as_str));
            let meant = meant.map_or_else(String::new, |meant| format!("; did you mean {meant}?"));
            return Err(format!("'{value}' is not one of {}{meant}", choices.join(", ")));
        }
        let why = std::error::Error::source(&error).map(ToString::to_string);
        let shown = if self.is_secret() { "it".into() } else { format!("'{}'", values.join("', '")) };
        Err(format!("{shown} cannot be: {}", why.unwrap_or_else(|| "it is no such value".into())))
    }
}

/// The whole command line, with a variable for every setting, and switches that can be told to be off.
pub(crate) fn command() -> Command {
    settable(Arguments::command())
}

fn settable(command: Command) -> Command {
    command.mut_args(make_settable).mut_subcommands(settable)
}

fn make_settable(mut arg: Arg) -> Arg {
    let Some(long) = arg.get_long().filter(|_| is_setting(&arg)).map(str::to_owned) else { return arg };
    if arg.get_env().is_none() {
        arg = arg.env(format!("MINERVA_{}", variable(&long)));
    }
    if matches!(arg.get_action(), ArgAction::SetTrue) {
        // What a file or the environment switches on, a flag can switch off: --metrics=off.
        arg = arg
            .action(ArgAction::Set)
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .default_value("false")
            .value_name("on|off")
            .hide_default_value(true)
            .hide_possible_values(true)
            .value_parser(BoolishValueParser::new());
    }
    arg
}

/// Whether a flag can be set in the file too.
pub(crate) fn is_setting(arg: &Arg) -> bool {
    arg.get_help_heading().is_some() && arg.get_long().is_some()
}

fn variable(flag: &str) -> String {
    flag.replace('-', "_").to_uppercase()
}

/// Everything that can be set, in the order of the definition.
pub(crate) fn settings() -> Vec<Setting> {
    let command = command();
    let of_models = of_models();
    command
        .get_arguments()
        .filter(|arg| is_setting(arg))
        .map(|arg| {
            let flag = arg.get_long().unwrap_or_default().to_owned();
            let section = arg.get_help_heading().unwrap_or_default().to_lowercase();
            let own = arg.get_env().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let name = own.strip_prefix("MINERVA_").map_or_else(|| flag.replace('-', "_"), str::to_lowercase);
            let mut keys = vec![format!("{section}.{name}")];
            let mut variables = vec![own];
            for other in OTHER_NAMES.iter().filter(|other| other.flag == flag) {
                keys.extend(other.keys.iter().map(|key| (*key).to_owned()));
                variables.extend(other.variables.iter().map(|name| (*name).to_owned()));
            }
            let spelt = format!("{section}.{}", flag.replace('-', "_"));
            if !keys.contains(&spelt) && !OTHER_NAMES.iter().any(|other| other.keys.contains(&&*spelt)) {
                keys.push(spelt);
            }
            let of_llama = format!("LLAMA_ARG_{}", variable(&flag));
            if !variables.contains(&of_llama) {
                variables.push(of_llama);
            }
            Setting {
                reloadable: RELOADABLE.contains(&&*flag),
                of_model: of_models.contains(arg.get_id().as_str()),
                flag,
                keys,
                variables,
                arg: arg.clone(),
            }
        })
        .collect()
}

/// The ids of what each model can have for itself.
fn of_models() -> BTreeSet<String> {
    let command = ServedArguments::augment_args(ModelArguments::augment_args(Command::new("model")));
    command.get_arguments().map(|arg| arg.get_id().as_str().to_owned()).collect()
}

/// The name that was probably meant.
pub(crate) fn nearest<'a>(written: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let written = written.to_lowercase();
    names
        .map(|name| (strsim::jaro_winkler(&written, name), name))
        .filter(|(likeness, _)| *likeness >= LIKENESS_MIN)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_settings_share_a_name() {
        let settings = settings();
        let mut seen = std::collections::BTreeMap::new();
        for setting in &settings {
            for name in setting.keys.iter().chain(&setting.variables) {
                let before = seen.insert(name.clone(), setting.flag.clone());
                assert_eq!(before, None, "{name} is also --{}", setting.flag);
            }
        }
        assert!(settings.len() > 30);
    }

    #[test]
    fn what_stands_under_a_heading_is_a_setting_of_serve() {
        fn headed(command: &Command, known: &BTreeSet<String>) {
            for arg in command.get_arguments().filter(|arg| is_setting(arg)) {
                let (id, name) = (arg.get_id().as_str(), command.get_name());
                assert!(
                    known.contains(id),
                    "--{id} of {name} has a heading, and minerva serve has no such flag"
                );
            }
            command.get_subcommands().for_each(|below| headed(below, known));
        }
        let known = settings().iter().map(|setting| setting.id().to_owned()).collect();
        headed(&command(), &known);
    }

    #[test]
    fn what_can_be_reloaded_is_there() {
        let settings = settings();
        for flag in RELOADABLE {
            assert!(settings.iter().any(|setting| setting.flag == *flag), "--{flag}");
        }
    }
}
