use std::io::Write;

use super::*;

/// Sources of a command line, variables and a file.
fn sources(typed: &[&str], variables: &[(&str, &str)], file: &str, ending: &str) -> Result<Sources> {
    let mut written = tempfile::Builder::new().prefix("config").suffix(ending).tempfile().unwrap();
    written.write_all(file.as_bytes()).unwrap();
    let path = written.into_temp_path();
    let mut line: Vec<OsString> = ["minerva"].iter().chain(typed).map(OsString::from).collect();
    line.extend([OsString::from("--config"), path.as_os_str().to_owned()]);
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Sources::read(line, variables)
}

fn value<'a>(resolved: &'a Resolved, key: &str) -> &'a Given {
    &resolved.values.iter().find(|(setting, _)| setting.keys[0] == key).unwrap_or_else(|| panic!("{key}")).1
}

/// What goes wrong.
fn error(variables: &[(&str, &str)], file: &str, ending: &str) -> String {
    let resolved = sources(&[], variables, file, ending).and_then(|sources| sources.resolve(None));
    format!("{:#}", resolved.map(|_| ()).expect_err(file))
}

#[test]
fn flags_come_before_variables_before_the_model_before_the_file_before_defaults() {
    let file = "[server]\nport = 1\ndrain_timeout = 2\nbody_limit = 3\n[performance]\nparallel = 4\n[model]\nctx_size = 100\n\
        [[models]]\nname = \"a\"\nparallel = 5\nctx_size = 200\n";
    let sources = sources(
        &["serve", "--port", "7"],
        &[("MINERVA_PORT", "8"), ("MINERVA_DRAIN_TIMEOUT", "9"), ("MINERVA_CTX_SIZE", "300")],
        file,
        ".toml",
    )
    .unwrap();
    let all = sources.resolve(None).unwrap();
    let of = |key: &str| (value(&all, key).values.join(","), value(&all, key).origin.clone());
    assert_eq!(of("server.port"), ("7".into(), Origin::Flag));
    assert_eq!(of("server.drain_timeout"), ("9".into(), Origin::Variable("MINERVA_DRAIN_TIMEOUT".into())));
    let (limit, origin) = of("server.body_limit");
    assert_eq!(limit, "3");
    assert!(origin.to_string().ends_with("line 4"), "{origin}");
    assert_eq!(of("server.stall_timeout"), ("60".into(), Origin::Default));
    assert_eq!(of("performance.parallel").0, "4");
    let model = sources.resolve(Some(&sources.sections[0])).unwrap();
    assert_eq!(value(&model, "performance.parallel").values, ["5"]);
    assert_eq!(
        value(&model, "model.ctx_size").values,
        ["300"],
        "a variable is stronger than a model's section"
    );
    let serve = model.arguments.into_serve();
    assert_eq!((serve.port, serve.drain_timeout, serve.body_limit), (7, 9, 3));
    assert_eq!((serve.model.parallel, serve.model.ctx_size), (Some(5), Some(300)));
    assert_eq!(serve.served.alias, ["a"]);
}

#[test]
fn switches_and_lists_can_be_overruled() {
    let file = "[performance]\nkv_unified = true\n[server]\napi_key = [\"a,b\", \"c\"]\n";
    let of = |typed: &[&str]| {
        sources(typed, &[], file, ".toml").unwrap().resolve(None).unwrap().arguments.into_serve()
    };
    assert!(of(&[]).model.kv_unified);
    assert_eq!(of(&[]).api_key, ["a,b", "c"], "a list of the file is not split");
    assert!(!of(&["--kv-unified=off"]).model.kv_unified);
    assert_eq!(of(&["--api-key", "x,y"]).api_key, ["x", "y"]);
    let from_variable =
        sources(&[], &[("MINERVA_KV_UNIFIED", "0"), ("MINERVA_API_KEY", "p,q")], file, ".toml");
    let serve = from_variable.unwrap().resolve(None).unwrap().arguments.into_serve();
    assert!(!serve.model.kv_unified);
    assert_eq!(serve.api_key, ["p", "q"]);
}

#[test]
fn a_flag_displaces_what_it_excludes() {
    let file = "[model]\nchat_template_file = \"/nowhere\"\n";
    let sources = sources(&["--chat-template", "x"], &[], file, ".toml").unwrap();
    let serve = sources.resolve(None).unwrap().arguments.into_serve();
    assert_eq!((serve.model.chat_template.as_deref(), serve.model.chat_template_file), (Some("x"), None));
}

#[test]
fn every_command_that_loads_a_model_reads_the_file() {
    let file = "[performance]\nthreads = 3\n[sampling]\ntemperature = 0.25\nsampler = [{ id = \"min-p\", args = { p = 0.5 } }, \"xtc\"]\n";
    let run = sources(&["run", "hello", "--seed", "5"], &[], file, ".toml").unwrap().resolve(None).unwrap();
    let Some(super::super::Command::Run(run)) = run.arguments.command else { panic!("it is run") };
    assert_eq!(
        (run.model.threads, run.sampling.temperature, run.sampling.seed),
        (Some(3), Some(0.25), Some(5))
    );
    assert_eq!(run.sampling.sampler, ["min-p={\"p\":0.5}", "xtc"]);
}

#[test]
fn plugins_of_the_file_are_flags_of_plugins() {
    let file = "[[plugins]]\nname = \"a\"\npath = \"a.wasm\"\non_fault = \"skip\"\nlimits = { pick = \"5ms\" }\n\
        [[plugins]]\nname = \"b\"\npath = \"b.wasm\"\n";
    let serve = sources(&[], &[], file, ".toml").unwrap().resolve(None).unwrap().arguments.into_serve();
    assert_eq!(serve.plugins.files, ["a=a.wasm", "b=b.wasm"]);
    assert_eq!(serve.plugins.on_fault, ["a=skip"]);
    assert_eq!(serve.plugins.limits, ["a:pick=5ms"]);
}

#[test]
fn variables_of_llama_server_and_of_the_first_users_are_understood() {
    for (name, number, key) in [
        ("LLAMA_ARG_CTX_SIZE", "512", "model.ctx_size"),
        ("LLAMA_ARG_N_PARALLEL", "3", "performance.parallel"),
        ("LLAMA_ARG_N_GPU_LAYERS", "9", "gpu.gpu_layers"),
        ("MINERVA_GPU_LAYERS", "9", "gpu.gpu_layers"),
        ("MINERVA_GPU_CONTEXT_SIZE", "512", "model.ctx_size"),
        ("MINERVA_GPU_THREADS", "2", "performance.threads"),
        ("MINERVA_BATCH_SIZE", "6", "performance.parallel"),
        ("MINERVA_BATCH", "64", "performance.batch"),
        ("MINERVA_TOKEN_BUFFER", "32", "performance.token_buffer"),
    ] {
        let resolved = sources(&[], &[(name, number)], "", ".toml").unwrap().resolve(None).unwrap();
        let expected = Given { values: vec![number.into()], origin: Origin::Variable(name.into()) };
        assert_eq!(value(&resolved, key), &expected, "{name}");
    }
    let unknown = sources(
        &[],
        &[("MINERVA_PROT", "1"), ("MINERVA_SERVICE_HOST", "x"), ("MINERVA_BENCH_API_KEY", "x")],
        "",
        ".toml",
    )
    .unwrap();
    let unknown = unknown.unknown_variables();
    assert_eq!(unknown[0], ("MINERVA_PROT".into(), Some("MINERVA_PORT".into())));
    assert_eq!((unknown[1].0.as_str(), unknown.len()), ("MINERVA_SERVICE_HOST", 2));
}

#[test]
fn mistakes_are_named_with_their_place_and_the_nearest_right_name() {
    for (file, said) in [
        ("[server]\nprot = 1", &["`server.prot`", "line 2", "did you mean `server.port`?"][..]),
        ("[server]\nport = \"x\"", &["`server.port`", "line 2", "'x' cannot be"]),
        ("[server]\nport = 99999", &["`server.port`", "line 2", "99999"]),
        ("[server]\nport = [1]", &["`server.port`", "line 2", "a list"]),
        ("[servre]\nport = 1", &["`servre`", "line 1", "did you mean `server`?"]),
        ("port = 1", &["`port`", "line 1", "belongs into the section [server]"]),
        ("[performance]\nctx_size = 1", &["`performance.ctx_size`", "did you mean `model.ctx_size`?"]),
        ("[performance]\nflash_attn = \"offf\"", &["`performance.flash_attn`", "did you mean off?"]),
        ("[performance]\nparallel = 1\nbatch_size = 2", &["`performance.batch_size`", "line 3", "set twice"]),
        ("[[models]]\nnaem = \"x\"", &["`naem`", "line 2", "did you mean `name`?"]),
        ("[[models]]\nname = \"x\"\nport = 1", &["`port`", "line 3", "a model has no such key"]),
        ("models = 1", &["`models`", "line 1", "[[models]]"]),
        ("[[plugins]]\nname = \"x\"", &["line 1", "needs a name and a path"]),
        (
            "[[plugins]]\nname = \"x\"\npath = \"y\"\nlimit = 1",
            &["`limit`", "line 4", "did you mean `limits`?"],
        ),
        ("[sampling]\nsampler = [{ name = 1 }]", &["`sampling.sampler`", "line 2", "id"]),
        ("[sampling]\ntop_p = 2", &["`sampling.top_p`", "line 2", "0 to 1"]),
        ("a = = 1", &["line 1"]),
    ] {
        let error = error(&[], file, ".toml");
        for said in said {
            assert!(error.contains(said), "{file:?} says {error}, not {said}");
        }
        assert!(error.contains(".toml"), "{error}");
    }
    let error = error(&[], "{\"server\": {\"prot\": 1}}", ".json");
    assert!(error.contains("`server.prot`") && error.contains(".json"), "{error}");
    let error = self::error(&[("MINERVA_PORT", "tcp://10.0.0.1")], "", ".toml");
    assert!(error.contains("variable MINERVA_PORT: 'tcp://10.0.0.1' cannot be"), "{error}");
    let error = self::error(&[("LLAMA_ARG_FLASH_ATTN", "1")], "", ".toml");
    assert!(error.contains("LLAMA_ARG_FLASH_ATTN: '1' is not one of on, off, auto"), "{error}");
}

#[test]
fn the_file_to_begin_with_can_be_begun_with() {
    let template = super::super::template();
    sources(&[], &[], &template, ".toml").unwrap().resolve(None).unwrap();
    // Every default that it shows is a value that can be.
    let shown = template.lines().filter(|line| !line.ends_with('…') && !line.contains("= … "));
    let set: Vec<&str> = shown
        .map(|line| match line.strip_prefix("# ") {
            Some(rest) if rest.contains(" = ") && !rest.starts_with("name") && !rest.starts_with("path") => {
                rest
            }
            _ => line,
        })
        .collect();
    let set = set.join("\n");
    let resolved = sources(&[], &[], &set, ".toml").unwrap_or_else(|error| panic!("{error:#}\n{set}"));
    resolved.resolve(None).unwrap();
}

#[test]
fn json_says_the_same() {
    let file = r#"{"server": {"port": 5, "body_limit": null}, "models": [{"name": "m", "samplers": []}]}"#;
    let error = error(&[], file, ".json");
    assert!(error.contains("`samplers`") && error.contains("did you mean `sampler`?"), "{error}");
    let file = r#"{"server": {"port": 5}, "models": [{"name": "m", "sampler": [{"id": "min-p"}]}]}"#;
    let sources = sources(&[], &[], file, ".json").unwrap();
    let serve = sources.resolve(Some(&sources.sections[0])).unwrap().arguments.into_serve();
    assert_eq!((serve.port, serve.served.sampling.sampler), (5, vec!["min-p".to_owned()]));
}

#[test]
fn the_first_users_file_loads_as_it_is() {
    let file = "[gpu]\nenabled = true\ndevice = 0\nbackend = \"cuda\"\nlayers_to_gpu = 32\ncontext_size = 4096\n\
        max_memory_mb = 6144\nfallback_to_cpu = true\n\
        [performance]\nthreads = 8\nbatch_size = 4\ntoken_buffer = 128\ncache_size_mb = 512\n";
    let serve = sources(&[], &[], file, ".toml").unwrap().resolve(None).unwrap().arguments.into_serve();
    let model = &serve.model;
    assert_eq!((model.gpu.as_deref(), model.gpu_memory_limit.as_deref()), (Some("cuda:0"), Some("6144mb")));
    assert_eq!((model.n_gpu_layers, model.ctx_size, model.cpu_fallback), (Some(32), Some(4096), true));
    assert_eq!((model.threads, model.parallel, model.cache_ram), (Some(8), Some(4), 512));
    assert_eq!(serve.token_buffer, 128);
    let _ = serve.model.described().unwrap();
    for (gpu, device) in [
        ("enabled = false\nbackend = \"cuda\"", "cpu"),
        ("enabled = true", "auto"),
        ("backend = \"vulkan\"", "vulkan"),
        ("device = \"cuda:1\"", "cuda:1"),
        ("device = 0", "auto"),
    ] {
        let sources = sources(&[], &[], &format!("[gpu]\n{gpu}\n"), ".toml").unwrap();
        assert_eq!(value(&sources.resolve(None).unwrap(), "gpu.gpu").values, [device], "{gpu}");
    }
    assert!(error(&[], "[gpu]\ndevice = 1\n", ".toml").contains("`gpu.device` in "));
}
