//! What slots hold, saved to files and restored.

use axum::body::Body;
use axum::http::Request;
use minerva_server::router;
use serde_json::{Value, json};

use crate::fixture::{Fixture, fixture, send};

async fn post(fixture: &Fixture, path: &str, body: Value) -> (u16, Value) {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let request = Request::post(path).body(Body::from(body)).unwrap();
    let (status, _, body) = send(&router(fixture.app.clone()), request).await;
    (status.as_u16(), serde_json::from_str(&body).unwrap())
}

/// Asks something of which the model holds 90 tokens afterwards, and says how many of them it had before.
async fn cached(fixture: &Fixture) -> u64 {
    let prompt = json!({"prompt": "a".repeat(90), "n_predict": 1});
    let (status, answer) = post(fixture, "/completion", prompt).await;
    assert_eq!(status, 200, "{answer}");
    answer["timings"]["cache_n"].as_u64().expect("a number")
}

/// The slot that holds something, once it is idle.
async fn full(fixture: &Fixture) -> usize {
    let models = fixture.app.models.registry();
    let served = models.get(Some("scripted")).await.expect("the model");
    loop {
        let slots = served.handle.slots();
        let full = slots.iter().position(|slot| slot.tokens_held >= 90 && slot.request.is_none());
        match full {
            Some(slot) => return slot,
            None => tokio::task::yield_now().await,
        }
    }
}

#[tokio::test]
async fn a_slot_goes_to_a_file_and_comes_back_in_another_server() {
    let folder = tempfile::tempdir().unwrap();
    let with_folder = || {
        let mut fixture = fixture();
        fixture.app.options.slot_save_path = Some(folder.path().into());
        fixture
    };
    let first = with_folder();
    assert_eq!(cached(&first).await, 0);
    let slot = full(&first).await;
    let path = |action: &str| format!("/slots/{slot}?action={action}");
    let file = json!({"filename": "a.bin"});
    let (status, saved) = post(&first, &path("save"), file.clone()).await;
    assert_eq!((status, &saved["id_slot"], &saved["n_saved"]), (200, &json!(slot), &json!(90)), "{saved}");
    let written = std::fs::metadata(folder.path().join("a.bin")).unwrap().len();
    assert_eq!(saved["n_written"], written);
    assert_eq!(post(&first, &path("erase"), Value::Null).await.1, json!({"id_slot": slot, "n_erased": 90}));
    assert_eq!(cached(&first).await, 0);

    let second = with_folder();
    let (status, restored) = post(&second, "/slots/2?action=restore&model=scripted", file).await;
    assert_eq!((status, &restored["n_restored"], &restored["n_read"]), (200, &json!(90), &json!(written)));
    assert_eq!(cached(&second).await, 89);
}

#[tokio::test]
async fn what_is_no_slot_or_no_file_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut fixture = fixture();
    let (status, off) = post(&fixture, "/slots/0?action=erase", Value::Null).await;
    assert_eq!(status, 501, "{off}");
    fixture.app.options.slot_save_path = Some(folder.path().into());
    std::fs::write(folder.path().join("text"), "something else").unwrap();
    for (path, body, param) in [
        ("/slots/0?action=save", json!({"filename": "a"}), "id_slot"),
        ("/slots/9?action=erase", Value::Null, "id_slot"),
        ("/slots/x?action=erase", Value::Null, "id_slot"),
        ("/slots/0", json!({"filename": "a"}), "action"),
        ("/slots/0?action=burn", json!({"filename": "a"}), "action"),
        ("/slots/0?action=restore", json!({"filename": "a"}), "filename"),
        ("/slots/0?action=restore", json!({"filename": "text"}), "filename"),
        ("/slots/0?action=restore", json!({"filename": 7}), "filename"),
        ("/slots/0?action=save", json!({"filename": "../a"}), "filename"),
        ("/slots/0?action=save", json!({"filename": "/etc/passwd"}), "filename"),
        ("/slots/0?action=save", json!({"filename": ""}), "filename"),
        ("/slots/0?action=save", json!({"filename": ".hidden"}), "filename"),
        ("/slots/0?action=save", json!({"filename": "a".repeat(200)}), "filename"),
    ] {
        let (status, failure) = post(&fixture, path, body.clone()).await;
        assert_eq!((status, &failure["error"]["param"]), (400, &json!(param)), "{path} {body}: {failure}");
    }
    // Nothing but what was there.
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);

    cached(&fixture).await;
    let slot = full(&fixture).await;
    for file in 1..1024 {
        std::fs::write(folder.path().join(file.to_string()), "").unwrap();
    }
    let path = format!("/slots/{slot}?action=save");
    let (status, failure) = post(&fixture, &path, json!({"filename": "new"})).await;
    assert_eq!((status, failure["error"]["param"].as_str()), (400, Some("filename")), "{failure}");
    assert_eq!(post(&fixture, &path, json!({"filename": "text"})).await.0, 200);
    fixture.app.options.slot_file_bytes_max = 100;
    let (status, failure) = post(&fixture, "/slots/0?action=restore", json!({"filename": "text"})).await;
    let message = failure["error"]["message"].as_str().unwrap();
    assert!(status == 400 && message.contains("the limit is 100"), "{failure}");
}
