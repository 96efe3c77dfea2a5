//! The page of the API's operations and types: written from the document.

use std::fmt::Write as _;

use axum::http::StatusCode;
use minerva_server::{App, router};
use serde_json::Value;

use crate::fixture::{get, send};

const INTRODUCTION: &str = "\
# API reference

This page is written from the document at `/openapi.json`; a test keeps it current. [HTTP API](http-api.md) says how
things work together, and [errors](errors.md) what to do about each.

Null is as good as absent, and fields that are not here are accepted and ignored, except inside `minerva`. A field in
**bold** is required in a request, and always there in an answer.
";

#[tokio::test]
async fn the_reference_is_what_the_document_says() {
    let (status, _, document) = send(&router(App::default()), get("/openapi.json")).await;
    assert_eq!(status, StatusCode::OK);
    let page = page(&serde_json::from_str(&document).unwrap());
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/api.md");
    if std::env::var_os("MINERVA_UPDATE_DOCS").is_some() {
        std::fs::write(path, &page).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap();
    let differs = written.lines().zip(page.lines()).find(|(written, page)| written != page);
    assert!(
        written == page,
        "host/docs/api.md is not what the document says ({differs:?}); MINERVA_UPDATE_DOCS=1 on this test writes it"
    );
}

fn page(document: &Value) -> String {
    let mut page = INTRODUCTION.to_owned();
    let paths = document["paths"].as_object().unwrap();
    let operations = || {
        paths.iter().flat_map(|(path, methods)| {
            methods.as_object().unwrap().iter().map(move |(method, operation)| (path, method, operation))
        })
    };
    for tag in document["tags"].as_array().unwrap().iter().filter(|tag| tag["name"] != "other names") {
        let _ = write!(page, "\n## {}\n", text(&tag["description"]));
        for (path, method, operation) in operations().filter(|(.., it)| it["tags"][0] == tag["name"]) {
            let other_name = format!("Another name of `{path}`.");
            let others = operations().filter(|(.., other)| other["description"] == *other_name);
            let others: Vec<String> = others.map(|(path, ..)| format!("`{path}`")).collect();
            let _ = write!(page, "\n### {} {path}\n\n", method.to_uppercase());
            describe(operation, &others, &mut page);
        }
    }
    page.push_str("\n## Types\n");
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        let _ = write!(page, "\n### {name}\n\n");
        if let Some(description) = schema["description"].as_str() {
            let _ = write!(page, "{}\n\n", line(description));
        }
        shape(schema, &mut page);
    }
    page.push_str("\n## Errors\n\n| | Status | When | Form |\n|---|---|---|---|\n");
    for (name, response) in document["components"]["responses"].as_object().unwrap() {
        let form = kind(&response["content"]["application/json"]["schema"]);
        let status = name.trim_start_matches(char::is_alphabetic);
        let _ = writeln!(page, "| `{name}` | {status} | {} | {form} |", text(&response["description"]));
    }
    page
}

/// An operation, below its heading.
fn describe(operation: &Value, others: &[String], page: &mut String) {
    let _ = write!(page, "{}.", text(&operation["summary"]));
    if let Some(description) = operation["description"].as_str() {
        let _ = write!(page, " {description}");
    }
    if !others.is_empty() {
        let _ = write!(page, " Also {}.", others.join(", "));
    }
    page.push_str("\n\n");
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        let place = if parameter["in"] == "path" { "in the path" } else { "behind the path" };
        let required = if parameter["required"] == true { ", required" } else { "" };
        let (name, description) = (text(&parameter["name"]), text(&parameter["description"]));
        let _ = writeln!(page, "- `{name}` {place}{required}: {description}");
    }
    if let Some(content) = operation["requestBody"]["content"].as_object() {
        for (media, content) in content {
            let _ = writeln!(page, "- Takes {} (`{media}`).", kind(&content["schema"]));
        }
    }
    let mut failures = Vec::new();
    for (status, answer) in operation["responses"].as_object().unwrap() {
        if answer["$ref"].is_string() {
            failures.push(status.as_str());
            continue;
        }
        let content = answer["content"].as_object();
        let forms = content.into_iter().flatten().map(|(media, content)| match media.as_str() {
            "text/event-stream" => {
                format!("events of {} (`{media}`)", kind(events(content)))
            }
            _ => format!("{} (`{media}`)", kind(&content["schema"])),
        });
        let forms: Vec<String> = forms.collect();
        let forms =
            if forms.is_empty() { text(&answer["description"]).to_owned() } else { forms.join(", or ") };
        let _ = writeln!(page, "- {status}: {forms}.");
    }
    if !failures.is_empty() {
        let _ = writeln!(page, "- Errors: {}.", failures.join(", "));
    }
    if let Some(example) = operation.pointer("/requestBody/content/application~1json/example") {
        let _ = write!(page, "\n```json\n{example}\n```\n");
    }
}

/// What a type is made of.
fn shape(schema: &Value, page: &mut String) {
    let Some(fields) = schema["properties"].as_object() else {
        for variant in schema["oneOf"].as_array().into_iter().flatten() {
            if variant["properties"].is_object() {
                let name = variant["properties"]["type"]["const"].as_str();
                let _ = write!(page, "{}\n\n", name.map_or_else(String::new, |name| format!("`{name}`:")));
                shape(variant, page);
                page.push('\n');
            } else {
                let _ = writeln!(page, "- {}", kind(variant));
            }
        }
        if !schema["oneOf"].is_array() {
            let _ = writeln!(page, "{}.", kind(schema));
        }
        return;
    };
    page.push_str("| Field | | |\n|---|---|---|\n");
    let required: Vec<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (name, field) in fields {
        let bold = if required.contains(&name.as_str()) { "**" } else { "" };
        let description = line(field["description"].as_str().unwrap_or_default());
        let _ = writeln!(page, "| {bold}`{name}`{bold} | {} | {description} |", kind(field));
    }
}

/// A schema in a few words.
fn kind(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str().and_then(|reference| reference.rsplit('/').next()) {
        return format!("[{name}](#{})", name.to_lowercase());
    }
    let shown = |value: &Value| value.as_str().map_or_else(|| value.to_string(), |word| format!("`{word}`"));
    if let Some(words) = schema["enum"].as_array() {
        let words: Vec<String> = words.iter().filter(|word| !word.is_null()).map(shown).collect();
        return words.join(", ");
    }
    if !schema["const"].is_null() {
        return shown(&schema["const"]);
    }
    for any in ["anyOf", "oneOf"] {
        if let Some(all) = schema[any].as_array() {
            let all: Vec<String> = all.iter().filter(|it| it["type"] != "null").map(kind).collect();
            return all.join(" or ");
        }
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(all) => all.iter().filter_map(Value::as_str).filter(|it| *it != "null").collect(),
        _ => Vec::new(),
    };
    let name = match types.join(" or ").as_str() {
        "array" => match (&schema["items"], schema["prefixItems"].as_array()) {
            (_, Some(items)) => {
                format!("array of {}", items.iter().map(kind).collect::<Vec<_>>().join(" and "))
            }
            (Value::Null, None) => "array".to_owned(),
            (items, None) => format!("array of {}", kind(items)),
        },
        "object" if schema["additionalProperties"].is_object() => {
            format!("object of {}", kind(&schema["additionalProperties"]))
        }
        "" => "anything".to_owned(),
        other => other.to_owned(),
    };
    // What any number of 32 or 64 bits can be is not worth a word.
    let told = |bound: &str| schema[bound].as_f64().filter(|it| it.abs() < 1e9).map(|it| it.to_string());
    match (told("minimum"), told("maximum")) {
        (Some(from), Some(to)) => format!("{name}, {from} to {to}"),
        (Some(from), None) if from != "0" => format!("{name}, {from} or more"),
        (None, Some(to)) => format!("{name}, {to} or less"),
        _ => name,
    }
}

/// What the data of events is, beside OpenAI's mark of the end.
fn events(content: &Value) -> &Value {
    let data = &content["schema"]["properties"]["data"];
    data.pointer("/anyOf/1").unwrap_or(data).get("contentSchema").unwrap_or(&Value::Null)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A description in one line.
fn line(description: &str) -> String {
    description.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}
