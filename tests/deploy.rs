//! The files of `examples/deploy` name only what is there.

use std::collections::BTreeSet;

use serde_json::json;

use crate::harness::{Server, asking, root, run, shown};

fn deployed(name: &str) -> String {
    std::fs::read_to_string(root().join("examples/deploy").join(name)).expect("a file")
}

/// The words of a text that begin so.
fn words<'a>(text: &'a str, start: &str) -> BTreeSet<&'a str> {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || "_-:".contains(letter);
    text.split(|letter| !is_part(letter)).filter(|word| word.starts_with(start)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_that_dashboard_and_alerts_name_is_served() {
    let server = Server::start(&["-np", "2", "--metrics-compat", "vllm"]);
    // Some are there only once there is something to count.
    let mut request = asking("Hello!");
    request["max_tokens"] = json!(3);
    request["minerva"] = json!({ "samplers": [{ "id": "min-p" }] });
    server.chat(&request).await;
    let metrics = server.client.get(server.url("/metrics")).send().await.expect("an answer");
    let metrics = metrics.text().await.expect("text");
    let mut served = BTreeSet::new();
    for line in metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').expect("a name and a kind");
        let endings: &[&str] = match kind {
            "counter" => &["_total"],
            "histogram" => &["_bucket", "_sum", "_count"],
            _ => &[""],
        };
        served.extend(endings.iter().map(|end| format!("{name}{end}")));
    }
    for file in ["dashboard.json", "alerts.yaml"] {
        let text = deployed(file);
        let named = words(&text, "minerva_");
        assert!(named.len() > 3, "{file} names nothing");
        let missing: Vec<&&str> = named.iter().filter(|name| !served.contains(**name)).collect();
        assert!(missing.is_empty(), "{file} names {missing:?}, and there are {served:?}");
    }
    // The page of metrics has all of the model's.
    let page = std::fs::read_to_string(root().join("host/docs/metrics.md")).expect("the page");
    let told = words(&page, "minerva_");
    let of_models = served.iter().filter(|name| name.starts_with("minerva_") && !name.contains("_plugin_"));
    let untold: Vec<&String> = of_models
        .filter(|name| {
            !told.contains(
                name.trim_end_matches("_bucket").trim_end_matches("_sum").trim_end_matches("_count"),
            )
        })
        .collect();
    assert!(untold.is_empty(), "host/docs/metrics.md does not tell of {untold:?}");
}

#[test]
fn kubernetes_sets_no_variable_of_ours() {
    let manifest = deployed("kubernetes.yaml");
    assert!(
        manifest.contains("\nkind: Service\nmetadata:\n  name: minerva\n"),
        "the service has another name"
    );
    assert!(manifest.contains("\n      enableServiceLinks: false\n"), "the pod gets MINERVA_PORT=tcp://…");
}

#[test]
fn every_flag_that_they_give_is_one() {
    let help = run(&["serve", "--help"]);
    let text = String::from_utf8_lossy(&help.stdout).into_owned();
    let known = words(&text, "--");
    assert!(known.contains("--drain-timeout"), "{}", shown(&help));
    for file in ["minerva.service", "kubernetes.yaml", "Dockerfile"] {
        let text = deployed(file);
        // Lines of the program's own: others are given to other programs.
        let own = text.lines().filter(|line| {
            ["ExecStart=", "            - --", "CMD "].iter().any(|start| line.starts_with(start))
        });
        for flag in own.flat_map(|line| words(line, "--")) {
            assert!(known.contains(flag), "{file}: {flag} is no flag of serve");
        }
    }
}
