//! What sessions cost, and that they leave nothing. Measured in a process of its own: other tests would be counted.

use std::process::Command;

use minerva_engine::plugin::Sampler;
use minerva_engine::step::{Candidates, Step};
use minerva_wasm::{Options, Runtime};
use serde_json::Value;

use crate::support::{bundled, context};

/// Resident memory of this process, in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// Runs one of the ignored tests below alone.
fn alone(name: &str) {
    bundled("sampler-min-p");
    let run = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--ignored", "--nocapture", "--test-threads", "1"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stdout).into_owned() + &String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success() && said.contains("1 passed"), "{said}");
    eprintln!("{said}");
}

#[test]
fn a_thousand_sessions_fit_into_64_mib() {
    alone("memory::thousand_sessions");
}

#[test]
fn ten_thousand_sessions_leak_nothing() {
    alone("memory::ten_thousand_sessions");
}

#[test]
#[ignore = "run alone, by the test above"]
fn thousand_sessions() {
    let runtime = Runtime::new(Options::default()).unwrap();
    let plugin = runtime.load("min-p", &bundled("sampler-min-p")).unwrap().sampler.unwrap();
    let cut = Candidates { ids: (0..64).collect(), logits: (0..64_u8).map(|at| -f32::from(at)).collect() };
    let open = || {
        let mut session = plugin.open(&context(), &Value::Null, &[1, 2]).unwrap();
        session.pick(&mut Step::default(), &cut).unwrap();
        session
    };
    // What the first one sets up is not a session's.
    drop(open());
    let before = resident();
    let sessions: Vec<Box<dyn Sampler>> = (0..1_000).map(|_| open()).collect();
    let bytes = resident() - before;
    eprintln!("1,000 sessions: {} KiB, {} KiB each", bytes >> 10, bytes / 1_024_000);
    assert!(bytes <= 64 << 20, "{bytes} bytes");
    drop(sessions);
}

#[test]
#[ignore = "run alone, by the test above"]
fn ten_thousand_sessions() {
    let runtime = Runtime::new(Options::default()).unwrap();
    let plugin = runtime.load("min-p", &bundled("sampler-min-p")).unwrap().sampler.unwrap();
    let cut = Candidates { ids: vec![3, 1], logits: vec![1.0, 0.0] };
    let cycle = |round: u32| {
        let mut session = plugin.open(&context(), &Value::Null, &[1, 2]).unwrap();
        session.pick(&mut Step::default(), &cut).unwrap();
        // Closed, and dropped as those of cancelled requests are.
        if round.is_multiple_of(2) {
            session.close().unwrap();
        }
    };
    (0..2_000).for_each(cycle);
    let before = resident();
    (0..10_000).for_each(cycle);
    let grown = resident().saturating_sub(before);
    eprintln!("10,000 sessions: {} KiB more than before", grown >> 10);
    assert!(grown < 1 << 20, "{grown} bytes more");
    assert_eq!(runtime.sessions(), 0);
}
