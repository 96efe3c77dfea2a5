//! `minerva bench` runs, and says what it promises. What it measures is no matter for tests.

use serde_json::Value;

use crate::harness::{Server, plugins, run, shown};

/// What a benchmark says as JSON.
fn bench(arguments: &[&str]) -> Value {
    let output = run(&[&["bench"], arguments].concat());
    assert!(output.status.success(), "{arguments:?}: {}", shown(&output));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", shown(&output)))
}

/// Checks that a figure was measured of everybody in every table and every round, and is a sensible number.
fn measured(report: &Value, names: usize, rounds: usize, figures: &[&str]) {
    let tables = report["tables"].as_array().expect("tables");
    assert!(!tables.is_empty());
    for table in tables {
        let measured = table["measured"].as_array().expect("who was measured");
        assert_eq!(measured.len(), names, "{table}");
        for who in measured {
            assert_eq!(who["rounds"].as_array().map(Vec::len), Some(rounds), "{who}");
            for figure in figures {
                let median = who["figures"][figure]["median"].as_f64();
                assert!(median.is_some_and(|median| median > 0.0), "{figure} of {who}");
            }
        }
        let ratios = table["ratios"].as_array().expect("ratios");
        assert_eq!(ratios.len(), names - 1);
        for ratio in ratios {
            let ratio = &ratio["figures"][figures[0]];
            assert!(ratio["min"].as_f64() <= ratio["max"].as_f64() && ratio["median"].is_f64(), "{table}");
        }
    }
}

#[test]
fn the_engine_is_measured_beside_a_bare_loop() {
    let folder = plugins().display().to_string();
    let report = bench(&[
        "engine",
        "--json",
        "--rounds",
        "2",
        "--sequences",
        "1,3",
        "--prompt-tokens",
        "8",
        "--tokens",
        "12",
        "--plugins-dir",
        &folder,
        "--sampler",
        "min-p",
    ]);
    assert_eq!(report["bench"], "engine");
    measured(&report, 3, 2, &["tokens_per_second"]);
    let text = run(&[
        "bench",
        "engine",
        "--rounds",
        "1",
        "--sequences",
        "1",
        "--prompt-tokens",
        "8",
        "--tokens",
        "12",
    ]);
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.contains("bare loop / engine") && text.contains("tokens_per_second"), "{text}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_process_of_its_own_is_measured_beside_none() {
    let arguments = "engine --json --isolate --rounds 2 --sequences 2 --prompt-tokens 8 --tokens 12";
    let report = bench(&arguments.split(' ').collect::<Vec<_>>());
    measured(&report, 2, 2, &["tokens_per_second"]);
    let titles: Vec<_> =
        report["tables"].as_array().into_iter().flatten().map(|table| &table["title"]).collect();
    assert_eq!(titles, ["2 sequences", "2 sequences, in a process of their own"]);
}

#[test]
fn devices_are_measured_and_those_that_are_not_there_are_told_of() {
    let arguments =
        ["device", "--rounds", "1", "--sequences", "1,2", "--contexts", "64,256", "--tokens", "4"];
    let report = bench(&[&arguments[..], &["--json"]].concat());
    let rows = report["rows"].as_array().expect("rows");
    let on_cpu: Vec<_> = rows.iter().filter(|row| row["device"] == "CPU").collect();
    let shape = |row: &&Value| (row["context"].as_u64(), row["sequences"].as_u64(), row["layers"].as_u64());
    let expected = [(64, 1), (64, 2), (256, 1), (256, 2)];
    let expected = expected.map(|(context, sequences)| (Some(context), Some(sequences), Some(0)));
    assert_eq!(on_cpu.iter().map(shape).collect::<Vec<_>>(), expected);
    for row in &on_cpu {
        for figure in ["prefill_tokens_per_second", "decode_tokens_per_second"] {
            assert!(row[figure]["median"].as_f64() > Some(0.0), "{figure} of {row}");
        }
        if cfg!(target_os = "linux") {
            assert!(row["peak_host_bytes"].as_u64() > Some(1 << 20), "{row}");
        }
    }
    if rows.len() == on_cpu.len() {
        let note = report["notes"][0].as_str().expect("why there are no others");
        assert!(note.contains("(10, 40, all)") && note.contains("minerva doctor"), "{note}");
    }
    let text = run(&[&["bench"], &arguments[..], &["--layers", "0"]].concat());
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(
        text.contains("peak MiB") && text.lines().filter(|line| line.starts_with("CPU")).count() == 4,
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_are_measured_beside_each_other() {
    let peer = Server::start(&["-np", "2"]);
    let report = bench(&[
        "http",
        "--json",
        "--rounds",
        "2",
        "--clients",
        "2",
        "--requests",
        "1",
        "--tokens",
        "8",
        "--peer",
        &peer.url,
        "--",
        "-np",
        "2",
    ]);
    let figures = ["tokens_per_second", "first_token_ms_p50", "first_token_ms_p99", "between_tokens_ms_p50"];
    measured(&report, 2, 2, &figures);
    assert_eq!(report["tables"][0]["measured"][0]["figures"]["errors"]["max"], 0.0);
    assert_eq!(report["settings"]["tokens"], 8);
    peer.becomes_idle().await;

    // The plain server, and with fields in its requests.
    let fields = "{\"temperature\": 0, \"n\": 1}";
    let report = bench(&[
        "http",
        "--json",
        "--rounds",
        "1",
        "--rate",
        "50,200",
        "--arrivals",
        "6",
        "--tokens",
        "4",
        "--with",
        fields,
        "--url",
        &peer.url,
    ]);
    measured(&report, 2, 1, &figures);
    assert_eq!(report["tables"].as_array().map(Vec::len), Some(2));
    assert_eq!(report["tables"][1]["measured"][1]["figures"]["errors"]["max"], 0.0);
    let name = report["tables"][0]["measured"][1]["name"].as_str().expect("a name");
    assert!(name.ends_with(" with temperature, n") || name.ends_with(" with n, temperature"), "{name}");
    for wrong in [["--rate", "0"], ["--rate", "fast"], ["--with", "[1]"]] {
        let output = run(&["bench", "http", wrong[0], wrong[1], "--url", &peer.url]);
        assert_eq!(output.status.code(), Some(2), "{}", shown(&output));
    }

    let report = bench(&["prefix", "--json", "--rounds", "1", "--prompt-tokens", "300", "--url", &peer.url]);
    measured(&report, 1, 1, &["first_request_ms", "second_request_ms", "second_to_first", "cached_tokens"]);

    let report = bench(&[
        "long-prompt",
        "--json",
        "--rounds",
        "1",
        "--streams",
        "1",
        "--prompt-tokens",
        "200",
        "--stream-tokens",
        "400",
        "--url",
        &peer.url,
    ]);
    measured(
        &report,
        1,
        1,
        &["prompt_beside_to_alone", "between_tokens_alone_ms_p50", "between_tokens_beside_ms_p99"],
    );
    peer.becomes_idle().await;
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let output = run(&["bench", "http", "--url", "http://127.0.0.1:1"]);
    assert!(!output.status.success());
    assert!(shown(&output).contains("http://127.0.0.1:1 cannot be asked"), "{}", shown(&output));
    let output = run(&["bench", "prefix", "--", "--no-such-flag"]);
    assert!(!output.status.success());
    assert!(shown(&output).contains("ended before it served"), "{}", shown(&output));
}
