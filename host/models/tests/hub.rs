//! Pulling from a hub in the test: interrupted, resumed, damaged, refused.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use minerva_models::hub::{Error, Options, Reference, pull};
use sha2::{Digest, Sha256};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What the hub does, and what it was asked.
#[derive(Default)]
struct Hub {
    files: BTreeMap<&'static str, Vec<u8>>,
    /// Connections that end after so many bytes of a file, one after the other.
    cuts: Vec<usize>,
    /// What is said of a checksum, where that is wrong.
    wrong_checksum: bool,
    /// Whether it goes on in the middle of a file.
    ignores_ranges: bool,
    /// The key that it wants.
    token: Option<&'static str>,
    /// Answers that are this status, one after the other.
    statuses: Vec<u16>,
    /// `PATH` or `PATH from BYTE`.
    asked: Vec<String>,
}

/// A hub on a port of this machine, for as long as the test runs.
fn serve(hub: Hub) -> (String, Arc<Mutex<Hub>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let hub = Arc::new(Mutex::new(hub));
    let shared = Arc::clone(&hub);
    std::thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            let hub = Arc::clone(&shared);
            std::thread::spawn(move || answer(socket, &hub));
        }
    });
    (address, hub)
}

fn answer(mut socket: TcpStream, hub: &Mutex<Hub>) {
    let mut lines = BufReader::new(socket.try_clone().unwrap()).lines().map_while(Result::ok);
    let Some(first) = lines.next() else { return };
    let path = first.split(' ').nth(1).unwrap().to_owned();
    let headers: Vec<String> =
        lines.take_while(|line| !line.is_empty()).map(|line| line.to_lowercase()).collect();
    let header = |name: &str| headers.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let from: usize = header("range").map_or(0, |range| {
        range.strip_prefix("bytes=").and_then(|range| range.strip_suffix('-')).unwrap().parse().unwrap()
    });
    let mut hub = hub.lock().unwrap();
    hub.asked.push(if from > 0 { format!("{path} from {from}") } else { path.clone() });
    let status = hub.statuses.pop();
    let is_known = hub.token.is_none_or(|token| header("authorization") == Some(&format!("bearer {token}")));
    let (status, range, body, cut) = if let Some(status) = status {
        (status, None, b"no".to_vec(), None)
    } else if !is_known {
        (401, None, b"who are you".to_vec(), None)
    } else if path == "/api/models/owner/name/revision/main?blobs=true" {
        (200, None, hub.list().into_bytes(), None)
    } else if let Some(bytes) =
        path.strip_prefix(&format!("/owner/name/resolve/{COMMIT}/")).and_then(|name| hub.files.get(name))
    {
        let bytes = bytes.clone();
        let cut = hub.cuts.pop();
        if from > 0 && !hub.ignores_ranges {
            let range = format!("content-range: bytes {from}-{}/{}\r\n", bytes.len() - 1, bytes.len());
            (206, Some(range), bytes[from..].to_vec(), cut)
        } else {
            (200, None, bytes, cut)
        }
    } else {
        (404, None, b"not here".to_vec(), None)
    };
    drop(hub);
    let head = format!(
        "HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n{}\r\n",
        body.len(),
        range.unwrap_or_default()
    );
    // A client may be gone already.
    let _ = socket.write_all(head.as_bytes());
    let _ = socket.write_all(&body[..cut.unwrap_or(body.len()).min(body.len())]);
}

impl Hub {
    fn of(files: &[(&'static str, usize)]) -> Self {
        let bytes = |(name, length): &(&'static str, usize)| {
            let content = (0..*length).map(|at| (at % 251) as u8 ^ name.len() as u8).collect();
            (*name, content)
        };
        Self { files: files.iter().map(bytes).collect(), ..Self::default() }
    }

    fn list(&self) -> String {
        let files = self.files.iter().map(|(name, bytes)| {
            let content: &[u8] = if self.wrong_checksum { b"something else" } else { bytes };
            let sum: String = Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect();
            let size = bytes.len();
            format!(
                r#"{{"rfilename": "{name}", "size": {size}, "lfs": {{"sha256": "{sum}", "size": {size}}}}}"#
            )
        });
        let files: Vec<String> = files.collect();
        format!(
            r#"{{"sha": "{COMMIT}", "siblings": [{{"rfilename": "README.md", "size": 3}}, {}]}}"#,
            files.join(",")
        )
    }
}

fn options(endpoint: &str, cache: &Path) -> Options {
    Options {
        endpoint: endpoint.into(),
        cache: cache.into(),
        pause: Duration::from_millis(1),
        ..Options::default()
    }
}

fn reference(text: &str) -> Reference {
    text.parse().unwrap()
}

#[test]
fn a_model_comes_once_and_is_then_there_without_the_hub() {
    let folder = tempfile::tempdir().unwrap();
    let (endpoint, hub) = serve(Hub::of(&[("m-Q4_0.gguf", 1000), ("m-Q8_0.gguf", 2000)]));
    let mut told = Vec::new();
    let path = pull(&reference("hf:owner/name:Q8_0"), &options(&endpoint, folder.path()), &mut |progress| {
        told.push((progress.done, progress.total));
        true
    });
    let path = path.unwrap();
    assert_eq!(fs::read(&path).unwrap(), hub.lock().unwrap().files["m-Q8_0.gguf"]);
    assert_eq!(told.last(), Some(&(2000, 2000)));
    assert!(path.ends_with(format!("snapshots/{COMMIT}/m-Q8_0.gguf")), "{}", path.display());
    let found = minerva_models::discover::models(folder.path()).unwrap();
    assert_eq!(found[0].name, "hf:owner/name/m-Q8_0.gguf");
    // Once more: the hub is asked what there is, and for nothing else.
    hub.lock().unwrap().asked.clear();
    assert_eq!(
        pull(&reference("owner/name:Q8_0"), &options(&endpoint, folder.path()), &mut |_| true).unwrap(),
        path
    );
    assert_eq!(hub.lock().unwrap().asked.len(), 1);
    // Without the hub, and where nothing listens.
    let offline = Options { offline: true, ..options("http://127.0.0.1:1", folder.path()) };
    assert_eq!(pull(&reference("owner/name"), &offline, &mut |_| true).unwrap(), path);
    let dead = options("http://127.0.0.1:1", folder.path());
    assert_eq!(pull(&reference("owner/name:Q8_0"), &dead, &mut |_| true).unwrap(), path);
    let missing = pull(&reference("owner/name:Q4_0"), &offline, &mut |_| true).unwrap_err();
    assert!(missing.to_string().contains("--offline"), "{missing}");
    let unreachable = pull(&reference("owner/other"), &dead, &mut |_| true).unwrap_err();
    assert!(matches!(unreachable, Error::Unreachable { .. }), "{unreachable}");
}

#[test]
fn a_download_that_breaks_off_goes_on_where_it_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let (endpoint, hub) = serve(Hub { cuts: vec![300, 400], ..Hub::of(&[("m-Q4_0.gguf", 1000)]) });
    let path = pull(&reference("owner/name"), &options(&endpoint, folder.path()), &mut |_| true).unwrap();
    assert_eq!(fs::read(path).unwrap(), hub.lock().unwrap().files["m-Q4_0.gguf"]);
    let file = format!("/owner/name/resolve/{COMMIT}/m-Q4_0.gguf");
    let asked = hub.lock().unwrap().asked[1..].to_vec();
    assert_eq!(asked, [file.clone(), format!("{file} from 400"), format!("{file} from 700")]);
}

#[test]
fn the_next_pull_goes_on_where_the_last_one_was_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let (endpoint, hub) = serve(Hub { cuts: vec![0; 2], ..Hub::of(&[("m-Q4_0.gguf", 1_000_000)]) });
    hub.lock().unwrap().cuts = vec![0, 0, 5000];
    let few = Options { attempts_max: 2, ..options(&endpoint, folder.path()) };
    let error = pull(&reference("owner/name"), &few, &mut |_| true).unwrap_err();
    assert!(matches!(error, Error::BrokenOff { done: 5000, size: 1_000_000, .. }), "{error}");
    hub.lock().unwrap().cuts.clear();
    let stopped = pull(&reference("owner/name"), &few, &mut |progress| progress.done < 500_000).unwrap_err();
    assert!(matches!(stopped, Error::Stopped { .. }), "{stopped}");
    hub.lock().unwrap().asked.clear();
    let path = pull(&reference("owner/name"), &few, &mut |_| true).unwrap();
    assert_eq!(fs::read(path).unwrap(), hub.lock().unwrap().files["m-Q4_0.gguf"]);
    let asked = hub.lock().unwrap().asked[1].clone();
    let from: u64 = asked.rsplit(' ').next().unwrap().parse().unwrap();
    assert!(from >= 500_000, "{asked}");
}

#[test]
fn a_hub_that_does_not_go_on_is_begun_again() {
    let folder = tempfile::tempdir().unwrap();
    let (endpoint, hub) =
        serve(Hub { cuts: vec![300], ignores_ranges: true, ..Hub::of(&[("m-Q4_0.gguf", 1000)]) });
    let path = pull(&reference("owner/name"), &options(&endpoint, folder.path()), &mut |_| true).unwrap();
    assert_eq!(fs::read(path).unwrap(), hub.lock().unwrap().files["m-Q4_0.gguf"]);
}

#[test]
fn what_is_not_what_the_hub_says_is_thrown_away() {
    let folder = tempfile::tempdir().unwrap();
    let (endpoint, hub) = serve(Hub { wrong_checksum: true, ..Hub::of(&[("m-Q4_0.gguf", 1000)]) });
    let options = options(&endpoint, folder.path());
    let error = pull(&reference("owner/name"), &options, &mut |_| true).unwrap_err();
    assert!(matches!(error, Error::Checksum { .. }), "{error}");
    let blobs = folder.path().join("models--owner--name/blobs");
    let left: Vec<_> = fs::read_dir(&blobs).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(left.iter().all(|path| path.extension().is_some_and(|end| end == "lock")), "{left:?}");
    assert!(minerva_models::discover::models(folder.path()).unwrap().is_empty());
    // What an earlier pull left is wrong, and what comes is right: begun again, once.
    hub.lock().unwrap().wrong_checksum = false;
    let sum: String = Sha256::digest(&hub.lock().unwrap().files["m-Q4_0.gguf"])
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    fs::write(blobs.join(format!("{sum}.incomplete")), [0; 100]).unwrap();
    let path = pull(&reference("owner/name"), &options, &mut |_| true).unwrap();
    assert_eq!(fs::read(path).unwrap(), hub.lock().unwrap().files["m-Q4_0.gguf"]);
}

#[test]
fn refusals_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let (endpoint, hub) =
        serve(Hub { token: Some("secret"), ..Hub::of(&[("m-Q4_0.gguf", 10), ("m-BF16.gguf", 10)]) });
    let plain = options(&endpoint, folder.path());
    let said = |reference: &str, options: &Options| {
        pull(&reference.parse().unwrap(), options, &mut |_| true).map_err(|error| error.to_string())
    };
    let error = said("owner/name", &plain).unwrap_err();
    assert!(error.contains("HF_TOKEN"), "{error}");
    let known = Options { token: Some("secret".into()), ..plain };
    let error = said("owner/nobody", &known).unwrap_err();
    assert!(error.contains("has no owner/nobody"), "{error}");
    let error = said("owner/name:Q9", &known).unwrap_err();
    assert!(error.contains("no Q9; it has m-BF16, m-Q4_0"), "{error}");
    // A hub in trouble is asked again.
    said("owner/name", &known).unwrap();
    hub.lock().unwrap().statuses = vec![500];
    let error = said("owner/name:BF16", &known).unwrap_err();
    assert!(error.contains("500"), "{error}");
    said("owner/name:BF16", &known).unwrap();
    assert!(!error.contains("secret"));
}

#[test]
fn a_disk_that_takes_nothing_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let (endpoint, _) = serve(Hub::of(&[("m-Q4_0.gguf", 10)]));
    let error = pull(&reference("owner/name"), &options(&endpoint, file.path()), &mut |_| true).unwrap_err();
    assert!(matches!(error, Error::Disk { .. }), "{error}");
    assert!(error.to_string().contains(&*file.path().to_string_lossy()), "{error}");
}

#[test]
fn a_model_in_several_files_comes_whole_and_two_pulls_share_one_download() {
    let folder = tempfile::tempdir().unwrap();
    let names = ["big/m-BF16-00001-of-00002.gguf", "big/m-BF16-00002-of-00002.gguf"];
    let (endpoint, hub) = serve(Hub::of(&[(names[0], 70_000), (names[1], 80_000)]));
    let options = options(&endpoint, folder.path());
    let pulls: Vec<_> = (0..3)
        .map(|_| {
            let options = options.clone();
            std::thread::spawn(move || pull(&reference("owner/name:BF16"), &options, &mut |_| true).unwrap())
        })
        .collect();
    for pull in pulls {
        assert!(pull.join().unwrap().ends_with(names[0]));
    }
    let downloads = hub.lock().unwrap().asked.iter().filter(|asked| asked.contains("/resolve/")).count();
    assert_eq!(downloads, 2);
    let found = minerva_models::discover::models(folder.path()).unwrap();
    assert_eq!((found.len(), found[0].bytes), (1, 150_000));
}
