//! Structured output on the built-in model: whatever is sampled, the answer obeys.

use serde_json::{Value, json};

use crate::harness::{Server, asking, run, shown};

/// Forty answers at a temperature at which the model alone says nothing that makes sense.
#[tokio::test(flavor = "multi_thread")]
async fn hot_answers_obey_their_schemas() {
    let server = Server::start(&["-np", "4"]);
    let schemas = [
        json!({"type": "object", "properties": {"name": {"type": "string", "maxLength": 20}, "age": {"type": "integer", "minimum": 0, "maximum": 120}},
               "required": ["name", "age"], "additionalProperties": false}),
        json!({"type": "array", "items": {"enum": ["red", "green", "blue", null]}, "minItems": 2, "maxItems": 5}),
        json!({"type": "object", "properties": {"city": {"$ref": "#/$defs/city"}, "dates": {"type": "array", "items": {"type": "string", "format": "date"}, "maxItems": 2}},
               "required": ["city"], "additionalProperties": false, "$defs": {"city": {"type": "string", "pattern": "^[A-Z][a-z]{2,9}$"}}}),
        json!({"anyOf": [{"type": "object", "properties": {"kind": {"const": "a"}, "x": {"type": "number", "minimum": -1, "maximum": 1}}, "required": ["kind", "x"], "additionalProperties": false},
                         {"type": "boolean"}]}),
    ];
    let ask = |number: usize| {
        let schema = &schemas[number % schemas.len()];
        let mut question = asking("Tell me about Anna, who is 7 and lives in Rome.");
        question["response_format"] = json!({"type": "json_schema", "json_schema": {"name": "answer", "strict": true, "schema": schema}});
        for (key, value) in [
            ("seed", json!(number)),
            ("temperature", json!(3)),
            ("top_k", json!(0)),
            ("top_p", json!(1)),
            ("min_p", json!(0)),
            ("max_tokens", json!(400)),
        ] {
            question[key] = value;
        }
        let server = &server;
        async move { (schema, server.post("/v1/chat/completions", &question).await) }
    };
    for (schema, (status, answer)) in futures::future::join_all((0..40).map(ask)).await {
        assert_eq!(status, 200, "{answer}");
        assert_eq!(answer["choices"][0]["finish_reason"], "stop", "{answer}");
        let text = answer["choices"][0]["message"]["content"].as_str().expect("text");
        let value: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert!(jsonschema::is_valid(schema, &value), "{schema}: {text}");
    }
}

/// A model that was asked to think does, and its answer obeys behind the thought.
#[tokio::test]
async fn a_schema_holds_behind_the_thinking() {
    let server = Server::start(&[]);
    let schema = json!({"type": "object", "properties": {"sum": {"type": "integer"}}, "required": ["sum"], "additionalProperties": false});
    let mut question = asking("What is 3 plus 4?");
    question["chat_template_kwargs"] = json!({"enable_thinking": true});
    question["json_schema"] = schema.clone();
    question["temperature"] = json!(0);
    let (status, answer) = server.post("/v1/chat/completions", &question).await;
    assert_eq!(status, 200, "{answer}");
    let message = &answer["choices"][0]["message"];
    let content = message["content"].as_str().expect("text");
    let thought = message["reasoning_content"].is_string() || content.contains("</think>");
    assert!(thought, "the model thinks when it is asked to: {answer}");
    let said = content.rsplit("</think>").next().unwrap_or_default();
    let value: Value = serde_json::from_str(said).unwrap_or_else(|error| panic!("{said}: {error}"));
    assert!(jsonschema::is_valid(&schema, &value), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn required_calls_have_arguments_that_parse() {
    let server = Server::start(&["-np", "4"]);
    let parameters = json!({"type": "object", "properties": {"city": {"type": "string", "maxLength": 12}, "days": {"type": "integer", "minimum": 1, "maximum": 9}},
                            "required": ["city", "days"], "additionalProperties": false});
    let ask = |seed: usize| {
        let mut question = asking("What will the weather be in Oslo in the next three days?");
        question["tools"] =
            json!([{"type": "function", "function": {"name": "get_weather", "parameters": parameters}}]);
        question["tool_choice"] = json!("required");
        question["parallel_tool_calls"] = json!(false);
        question["temperature"] = json!(2);
        question["seed"] = json!(seed);
        let server = &server;
        async move { server.post("/v1/chat/completions", &question).await }
    };
    for (status, answer) in futures::future::join_all((0..8).map(ask)).await {
        assert_eq!(status, 200, "{answer}");
        let message = &answer["choices"][0]["message"];
        let arguments: Value = match message["tool_calls"][0]["function"]["arguments"].as_str() {
            Some(arguments) => serde_json::from_str(arguments).expect("JSON"),
            None => {
                let content = message["content"].as_str().expect("text");
                let call = content.trim_start_matches("<tool_call>").trim_end_matches("</tool_call>");
                let call: Value =
                    serde_json::from_str(call).unwrap_or_else(|error| panic!("{content}: {error}"));
                assert_eq!(call["name"], "get_weather", "{content}");
                call["arguments"].clone()
            }
        };
        assert!(jsonschema::is_valid(&parameters, &arguments), "{answer}");
    }
}

#[test]
fn run_obeys_a_schema_and_a_grammar() {
    let schema =
        r#"{"type": "array", "items": {"type": "integer", "maximum": 9, "minimum": 0}, "maxItems": 3}"#;
    let output = run(&["run", "--temp", "2", "--seed", "1", "-j", schema, "Numbers, please."]);
    assert!(output.status.success(), "{}", shown(&output));
    let value: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(value.as_array().is_some_and(|numbers| numbers.len() <= 3), "{}", shown(&output));

    let output = run(&["run", "--temp", "2", "--grammar", "root ::= \"ja\" | \"nein\"", "Ja?"]);
    assert!(["ja", "nein"].contains(&String::from_utf8_lossy(&output.stdout).trim()), "{}", shown(&output));

    let output =
        crate::harness::minerva(&["run", "--grammar", "root = x", "Ja?"]).output().expect("it starts");
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("line 1, column 6"), "{}", shown(&output));
}
