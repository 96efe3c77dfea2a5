//! The flags of llama-server, so that its users' command lines work: what is ours under another name is translated,
//! what makes no difference here is left out and logged, and what would change an answer is refused by name.
//!
//! A flag that this program has itself is never looked up here.

use std::collections::HashSet;
use std::ffi::OsString;

use serde_json::{Map, Value};

/// What becomes of a flag.
#[derive(Clone, Copy)]
enum Verdict {
    /// Nothing: it makes no difference here. With how many values it comes.
    Ignored(usize),
    /// It is the same as one of ours; with one value, and ignored where ours is not there.
    Ours(&'static str),
    /// How to sample where a request says nothing: the field of a request.
    Field(&'static str, Kind),
    /// A variable of the chat template: with a text, but for the one that says to leave it alone.
    Variable(&'static str, Kind, &'static str),
    /// It would change what is answered, and cannot be obeyed; with what to do instead.
    Refused(&'static str),
    /// Refused unless its value is this one, which is what is done anyway.
    Only(&'static str, &'static str),
}

use Verdict::{Field, Ignored, Only, Ours, Refused, Variable};

/// What a field is written as.
#[derive(Clone, Copy)]
enum Kind {
    Number,
    Text,
    /// Names between semicolons.
    Names,
    /// One of several texts: the flag may be there more than once.
    Each,
    /// A switch, without a value.
    True,
    /// A switch that says `on` or `off`.
    OnOff,
}

const GRAMMAR: &str = "send it with the requests that it is for";
const DRAFT: &str = "there is no speculative decoding";
const MEDIA: &str = "there are no images and no sound";
const ADAPTER: &str = "there are no adapters";
const ROPE: &str = "positions are as the model's file says";
const PLACE: &str = "layers are placed by --n-gpu-layers alone";
const FETCH: &str =
    "fetch the file first, and give it with --model, or the hub's with --model hf:OWNER/REPOSITORY";
const TOOLS: &str = "tools are run by the client that asks with them";
const ROUTER: &str = "several models are described in the file of settings";

/// llama-server's flags, in the order of its help.
const FLAGS: &[(&[&str], Verdict)] = &[
    // The machine.
    (
        &["-C", "--cpu-mask", "-Cb", "--cpu-mask-batch", "-Cr", "--cpu-range", "-Crb", "--cpu-range-batch"],
        Ignored(1),
    ),
    (
        &["--cpu-strict", "--cpu-strict-batch", "--prio", "--prio-batch", "--poll", "--poll-batch", "--numa"],
        Ignored(1),
    ),
    (&["-lm", "--load-mode", "-lzm", "--lazy-mode"], Ignored(1)),
    (&["-bs", "--backend-sampling", "--reuse-port"], Ignored(0)),
    (&["--no-host", "--repack", "-nr", "--no-repack", "--check-tensors", "--perf", "--no-perf"], Ignored(0)),
    (&["-dio", "--direct-io", "-ndio", "--no-direct-io", "--op-offload", "--no-op-offload"], Ignored(0)),
    (&["-kvo", "--kv-offload", "-nkvo", "--no-kv-offload", "--warmup", "--no-warmup"], Ignored(0)),
    (&["-dt", "--defrag-thold", "-fitt", "--fit-target", "-fitc", "--fit-ctx", "-fit", "--fit"], Ignored(1)),
    (&["--mlock", "--mmap", "--no-mmap", "--list-devices"], Ignored(0)),
    (
        &["-dev", "--device", "-ot", "--override-tensor", "-sm", "--split-mode", "-ts", "--tensor-split"],
        Refused(PLACE),
    ),
    (&["-ncffn", "--n-cpu-ffn"], Refused(PLACE)),
    (&["--kv-unified-per-slot"], Refused("say --kv-unified with --ctx-size and --parallel")),
    (&["-mg", "--main-gpu", "-cmoe", "--cpu-moe", "-ncmoe", "--n-cpu-moe", "--rpc"], Refused(PLACE)),
    // The model and its context.
    (&["--swa-full"], Ignored(0)),
    (&["--keep"], Field("n_keep", Kind::Number)),
    (&["--rope-scaling", "--rope-scale", "--rope-freq-base", "--rope-freq-scale"], Refused(ROPE)),
    (
        &[
            "--yarn-orig-ctx",
            "--yarn-ext-factor",
            "--yarn-attn-factor",
            "--yarn-beta-slow",
            "--yarn-beta-fast",
        ],
        Refused(ROPE),
    ),
    (&["--override-kv"], Refused("the model's file is taken as it is")),
    (
        &[
            "--lora",
            "--lora-scaled",
            "--control-vector",
            "--control-vector-scaled",
            "--control-vector-layer-range",
        ],
        Refused(ADAPTER),
    ),
    (&["--lora-init-without-apply"], Ignored(0)),
    (
        &["-mu", "--model-url", "-dr", "--docker-repo", "-hf", "-hfr", "--hf-repo", "-hff", "--hf-file"],
        Refused(FETCH),
    ),
    (&["-hft", "--hf-token"], Ignored(1)),
    (&["--offline"], Ignored(0)),
    // The log.
    (
        &[
            "--log-disable",
            "-v",
            "--verbose",
            "--log-verbose",
            "--log-prefix",
            "--log-timestamps",
            "--verbose-prompt",
            "--log-jsonl",
            "--no-log-jsonl",
            "--no-log-prefix",
            "--no-log-timestamps",
        ],
        Ignored(0),
    ),
    (
        &["--log-prompts-dir", "--log-file", "--log-colors", "-lv", "--verbosity", "--log-verbosity"],
        Ignored(1),
    ),
    // How to sample.
    (&["-n", "--predict", "--n-predict"], Field("n_predict", Kind::Number)),
    (&["-s", "--seed"], Field("seed", Kind::Number)),
    (&["--samplers"], Field("samplers", Kind::Names)),
    (&["--sampling-seq", "--sampler-seq"], Field("samplers", Kind::Text)),
    (&["--ignore-eos"], Field("ignore_eos", Kind::True)),
    (&["--temp", "--temperature"], Field("temperature", Kind::Number)),
    (&["--top-k"], Field("top_k", Kind::Number)),
    (&["--top-p"], Field("top_p", Kind::Number)),
    (&["--min-p"], Field("min_p", Kind::Number)),
    (&["--top-nsigma", "--top-n-sigma"], Field("top_n_sigma", Kind::Number)),
    (&["--xtc-probability"], Field("xtc_probability", Kind::Number)),
    (&["--xtc-threshold"], Field("xtc_threshold", Kind::Number)),
    (&["--typical", "--typical-p"], Field("typical_p", Kind::Number)),
    (&["--repeat-last-n"], Field("repeat_last_n", Kind::Number)),
    (&["--repeat-penalty"], Field("repeat_penalty", Kind::Number)),
    (&["--presence-penalty"], Field("presence_penalty", Kind::Number)),
    (&["--frequency-penalty"], Field("frequency_penalty", Kind::Number)),
    (&["--dry-multiplier"], Field("dry_multiplier", Kind::Number)),
    (&["--dry-base"], Field("dry_base", Kind::Number)),
    (&["--dry-allowed-length"], Field("dry_allowed_length", Kind::Number)),
    (&["--dry-penalty-last-n"], Field("dry_penalty_last_n", Kind::Number)),
    (&["--dry-sequence-breaker"], Field("dry_sequence_breakers", Kind::Each)),
    (&["--dynatemp-range"], Field("dynatemp_range", Kind::Number)),
    (&["--dynatemp-exp"], Field("dynatemp_exponent", Kind::Number)),
    (&["--adaptive-target"], Only("-1", "there is no adaptive-p")),
    (&["--adaptive-decay"], Ignored(1)),
    (&["--mirostat"], Field("mirostat", Kind::Number)),
    (&["--mirostat-lr"], Field("mirostat_eta", Kind::Number)),
    (&["--mirostat-ent"], Field("mirostat_tau", Kind::Number)),
    (&["-r", "--reverse-prompt"], Field("stop", Kind::Each)),
    (
        &[
            "-l",
            "--logit-bias",
            "--grammar",
            "--grammar-file",
            "-j",
            "--json-schema",
            "-jf",
            "--json-schema-file",
        ],
        Refused(GRAMMAR),
    ),
    // The server.
    (&["-cb", "--cont-batching", "--jinja", "--slots", "--metrics", "--no-webui", "--no-ui"], Ignored(0)),
    (
        &[
            "--webui",
            "--ui",
            "--props",
            "--cache-prompt",
            "-e",
            "--escape",
            "--no-escape",
            "--no-kv-unified",
            "-no-kvu",
            "--cache-idle-slots",
            "--no-cache-idle-slots",
            "--no-skip-chat-parsing",
            "--reasoning-preserve",
        ],
        Ignored(0),
    ),
    (
        &[
            "-ctxcp",
            "--ctx-checkpoints",
            "--swa-checkpoints",
            "-cpent",
            "--checkpoint-every-n-tokens",
            "-cms",
            "--checkpoint-min-step",
            "--cache-reuse",
        ],
        Ignored(1),
    ),
    (
        &["-sps", "--slot-prompt-similarity", "--threads-http", "--webui-config", "--webui-config-file"],
        Ignored(1),
    ),
    (&["--ui-config", "--ui-config-file", "--tags", "--reasoning-budget-message"], Ignored(1)),
    (&["--context-shift"], Field("context_shift", Kind::True)),
    (&["--no-context-shift", "--no-mmproj", "--no-mmproj-auto"], Ignored(0)),
    (&["-nocb", "--no-cont-batching"], Ignored(0)),
    (&["-sp", "--special"], Refused("special tokens are never text")),
    (&["--spm-infill"], Refused("the prefix comes first")),
    (&["--prefill-assistant"], Ignored(0)),
    (&["--no-prefill-assistant"], Refused("send `continue_final_message` as false")),
    (&["--reasoning-budget"], Only("-1", "take the plugin thinking-budget")),
    (&["-rea", "--reasoning"], Variable("enable_thinking", Kind::OnOff, "auto")),
    (&["--reasoning-effort"], Variable("reasoning_effort", Kind::Text, "default")),
    (
        &["--no-reasoning-preserve"],
        Refused("what was thought goes to the template, which leaves it out or not"),
    ),
    (&["--skip-chat-parsing"], Refused("send `reasoning_format` as none, and no tools")),
    (&["--embd-normalize"], Only("2", "send `embd_normalize` with the requests")),
    (&["--cors-methods", "--cors-headers"], Refused("pages that may ask may send what the API takes")),
    (&["--cors-credentials", "--no-cors-credentials"], Ignored(0)),
    (&["--tools", "--tools-runtime", "--mcp-servers-config", "--mcp-servers-json"], Refused(TOOLS)),
    (&["-ag", "--agent", "--ui-mcp-proxy", "--webui-mcp-proxy"], Refused(TOOLS)),
    (&["-no-ag", "--no-agent", "--no-ui-mcp-proxy", "--no-webui-mcp-proxy"], Ignored(0)),
    (&["--path", "--api-prefix", "--media-path"], Refused("only the API is served, and at the root")),
    (
        &[
            "-mm",
            "--mmproj",
            "-mmu",
            "--mmproj-url",
            "--mmproj-auto",
            "--image-min-tokens",
            "--image-max-tokens",
        ],
        Refused(MEDIA),
    ),
    (&["-mmdev", "--mmproj-device", "--mtmd-batch-max-tokens"], Refused(MEDIA)),
    (&["--video-ffmpeg-dir", "--video-fps", "--video-timestamp-interval"], Refused(MEDIA)),
    (&["-mv", "--model-vocoder", "--tts-use-guide-tokens"], Refused(MEDIA)),
    (&["--mmproj-offload", "--no-mmproj-offload"], Ignored(0)),
    (&["--models-preset", "--models-autoload", "--no-models-autoload"], Refused(ROUTER)),
    (&["--no-sleep-idle"], Ignored(0)),
    // A second model that guesses: without one, how it would guess is no matter.
    (&["-md", "--model-draft", "-hfd", "--hf-repo-draft", "--spec-type", "--spec-default"], Refused(DRAFT)),
    (
        &["--spec-draft-model", "-hfrd", "--spec-draft-hf", "--spec-synth-len", "--spec-synth-rates"],
        Refused(DRAFT),
    ),
    (&["-lcs", "--lookup-cache-static", "-lcd", "--lookup-cache-dynamic"], Refused(DRAFT)),
    (
        &[
            "--spec-draft-n-max",
            "--spec-draft-n-min",
            "--spec-draft-p-min",
            "--spec-draft-p-split",
            "--spec-draft-ngl",
            "--spec-draft-device",
            "--spec-draft-threads",
            "--spec-draft-threads-batch",
            "--spec-draft-type-k",
            "--spec-draft-type-v",
        ],
        Ignored(1),
    ),
    (
        &[
            "--draft",
            "--draft-n",
            "--draft-max",
            "--draft-min",
            "--draft-n-min",
            "--draft-p-min",
            "--draft-p-split",
        ],
        Ignored(1),
    ),
    (
        &[
            "-cd",
            "--ctx-size-draft",
            "-ngld",
            "--gpu-layers-draft",
            "-devd",
            "--device-draft",
            "-td",
            "--threads-draft",
        ],
        Ignored(1),
    ),
    (
        &["-tbd", "--threads-batch-draft", "-ctkd", "--cache-type-k-draft", "-ctvd", "--cache-type-v-draft"],
        Ignored(1),
    ),
    // What is only another name.
    (&["--gpu-layers"], Ours("--n-gpu-layers")),
    (&["-cram"], Ours("--cache-ram")),
    (&["-to", "--timeout"], Ours("--timeout")),
];

/// A command line after the translation.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Translated {
    /// What this program understands.
    pub(crate) arguments: Vec<OsString>,
    /// The flags that were left out.
    pub(crate) ignored: Vec<String>,
}

/// Translates a command line. `own` are the flags that this program has itself, and `takes_value` those of them that
/// a value follows.
pub(crate) fn translate(
    arguments: Vec<OsString>,
    own: &HashSet<String>,
    takes_value: &HashSet<String>,
) -> Result<Translated, String> {
    let mut translated = Translated::default();
    let (mut fields, mut variables) = (Map::new(), Map::new());
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        let Some(text) = argument.to_str().filter(|text| text.starts_with('-')) else {
            translated.arguments.push(argument);
            continue;
        };
        let (flag, given) = match text.split_once('=') {
            Some((flag, value)) if flag.starts_with("--") => (flag, Some(value.to_owned())),
            _ => (text, None),
        };
        // llama-server takes either stroke in long flags.
        let flag = &flag.replace('_', "-");
        let verdict =
            FLAGS.iter().find(|(names, _)| names.contains(&flag.as_str())).map(|(_, verdict)| *verdict);
        let Some(verdict) = verdict.filter(|_| !own.contains(flag)) else {
            let has_value = given.is_none() && takes_value.contains(flag);
            let spelt = if own.contains(flag) {
                given.map_or(flag.into(), |value| format!("{flag}={value}").into())
            } else {
                argument
            };
            translated.arguments.push(spelt);
            // The value of a flag of ours may look like a flag of theirs.
            if has_value {
                translated.arguments.extend(arguments.next());
            }
            continue;
        };
        let flag = flag.to_owned();
        let mut value = || {
            let next = || arguments.next().and_then(|value| value.into_string().ok());
            given.clone().or_else(next).ok_or_else(|| format!("{flag} needs a value"))
        };
        match verdict {
            Ignored(values) => {
                for _ in 0..values {
                    value()?;
                }
                translated.ignored.push(flag);
            }
            Ours(name) if !own.contains(name) => {
                value()?;
                translated.ignored.push(flag);
            }
            Ours(name) => {
                translated.arguments.push(name.into());
                if let Some(value) = given {
                    translated.arguments.push(value.into());
                }
            }
            Field(field, kind) => set(&mut fields, field, kind, &flag, value)?,
            Variable(name, kind, unset) => {
                let said = value()?;
                if said != unset {
                    set(&mut variables, name, kind, &flag, || Ok(said.clone()))?;
                }
            }
            Refused(instead) => {
                return Err(format!("{flag} is llama-server's, and cannot be obeyed here: {instead}"));
            }
            Only(wanted, instead) => {
                let value = value()?;
                if value != wanted {
                    let message = "is llama-server's, and cannot be obeyed here";
                    return Err(format!("{flag} {value} {message}: {instead}"));
                }
                translated.ignored.push(flag);
            }
        }
    }
    if !fields.is_empty() {
        translated.arguments.extend(["--sampling".into(), Value::Object(fields).to_string().into()]);
    }
    if !variables.is_empty() {
        let variables = Value::Object(variables).to_string();
        translated.arguments.extend(["--chat-template-kwargs".into(), variables.into()]);
    }
    Ok(translated)
}

/// Puts the value of a flag into the fields of a request.
fn set(
    fields: &mut Map<String, Value>,
    field: &str,
    kind: Kind,
    flag: &str,
    mut value: impl FnMut() -> Result<String, String>,
) -> Result<(), String> {
    let value = match kind {
        Kind::True => Value::from(true),
        Kind::OnOff => match value()?.as_str() {
            "on" => Value::from(true),
            "off" => Value::from(false),
            other => return Err(format!("{flag} must be on, off or auto, not {other}")),
        },
        Kind::Text => Value::from(value()?),
        Kind::Names => value()?.split(';').map(str::trim).filter(|name| !name.is_empty()).collect(),
        Kind::Number => {
            let text = value()?;
            let number = serde_json::from_str::<Value>(&text).ok().filter(Value::is_number);
            number.ok_or_else(|| format!("{flag} must be a number, not {text}"))?
        }
        Kind::Each => {
            let mut all = fields.get(field).and_then(Value::as_array).cloned().unwrap_or_default();
            let one = value()?;
            // llama-server's word for no breakers at all.
            if !(field == "dry_sequence_breakers" && one == "none") {
                all.push(Value::from(one));
            }
            Value::Array(all)
        }
    };
    fields.insert(field.to_owned(), value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set_of(flags: &[&str]) -> HashSet<String> {
        flags.iter().map(|flag| (*flag).to_owned()).collect()
    }

    fn translated(line: &str) -> Result<Translated, String> {
        let arguments = line.split(' ').map(OsString::from).collect();
        let takes_value = set_of(&["-m", "--model", "--port", "-c", "--timeout", "--n-gpu-layers"]);
        let mut own = takes_value.clone();
        own.insert("--kv-unified".to_owned());
        translate(arguments, &own, &takes_value)
    }

    /// (command line, what is left of it, what was left out).
    const OBEYED: &[(&str, &str, &str)] = &[
        ("-m a.gguf --port 9000", "-m a.gguf --port 9000", ""),
        ("--kv-unified --port=9000 -c 512", "--kv-unified --port=9000 -c 512", ""),
        ("-m a.gguf --no-warmup --numa distribute -c 512", "-m a.gguf -c 512", "--no-warmup --numa"),
        ("-m --temp --no-webui", "-m --temp", "--no-webui"),
        ("--gpu-layers=99 -to 5", "--n-gpu-layers 99 --timeout 5", ""),
        (
            "--temp 0.5 --top-k 10 -s 42 -n -1",
            r#"--sampling {"temperature":0.5,"top_k":10,"seed":42,"n_predict":-1}"#,
            "",
        ),
        ("--samplers top_k;temperature", r#"--sampling {"samplers":["top_k","temperature"]}"#, ""),
        ("-r a -r b --ignore-eos", r#"--sampling {"stop":["a","b"],"ignore_eos":true}"#, ""),
        (
            "--dry-sequence-breaker none --dry-sequence-breaker x",
            r#"--sampling {"dry_sequence_breakers":["x"]}"#,
            "",
        ),
        ("--reasoning off -rea auto", r#"--chat-template-kwargs {"enable_thinking":false}"#, ""),
        ("--reasoning-effort low", r#"--chat-template-kwargs {"reasoning_effort":"low"}"#, ""),
        ("--kv_unified --backend_sampling", "--kv-unified", "--backend-sampling"),
        ("--context-shift --keep 4", r#"--sampling {"context_shift":true,"n_keep":4}"#, ""),
        ("--reasoning-budget -1 --draft-max=4 --jinja", "", "--reasoning-budget --draft-max --jinja"),
        (
            "--threads-http 4 --metrics --slots --no-context-shift -cb",
            "",
            "--threads-http --metrics --slots --no-context-shift -cb",
        ),
    ];

    /// (command line, words of the refusal).
    const REFUSED: &[(&str, &str)] = &[
        ("--lora a.gguf", "--lora is llama-server's, and cannot be obeyed here: there are no adapters"),
        ("--rope-scale 2", "--rope-scale"),
        ("--reasoning-budget 0", "--reasoning-budget 0"),
        ("--mmproj x", "--mmproj"),
        ("-md x", "-md is"),
        ("-hf a/b", "fetch the file first"),
        ("--override-kv a=b", "--override-kv"),
        ("--grammar x", "send it with the requests"),
        ("--reasoning maybe", "--reasoning must be on, off or auto, not maybe"),
        ("--adaptive-target 0.5", "--adaptive-target 0.5"),
        ("--tools all", "--tools"),
        ("--temp hot", "--temp must be a number, not hot"),
        ("--temp", "--temp needs a value"),
        ("--numa", "--numa needs a value"),
    ];

    #[test]
    fn what_users_of_llama_server_type_is_obeyed_or_left_out() {
        for (line, left, ignored) in OBEYED {
            let translated = translated(line).unwrap_or_else(|error| panic!("{line}: {error}"));
            let shown: Vec<_> =
                translated.arguments.iter().map(|argument| argument.to_string_lossy()).collect();
            assert_eq!(
                (shown.join(" ").as_str(), translated.ignored.join(" ").as_str()),
                (*left, *ignored),
                "{line}"
            );
        }
    }

    #[test]
    fn what_would_change_an_answer_is_refused_by_name() {
        for (line, words) in REFUSED {
            let error = translated(line).expect_err(line);
            assert!(error.contains(words), "{line}: {error}");
        }
    }

    #[test]
    fn every_flag_is_there_once() {
        let mut seen = HashSet::new();
        for flag in FLAGS.iter().flat_map(|(names, _)| *names) {
            assert!(seen.insert(*flag), "{flag} is there twice");
        }
    }
}
