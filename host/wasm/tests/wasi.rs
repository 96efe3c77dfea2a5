//! The WASI that plugins get is empty, and tells every instance the same.

use minerva_engine::plugin::Part;
use minerva_engine::request::{Chat, Content, Message, ToolCall};
use serde_json::json;

use crate::support::{context, loaded};

#[test]
fn a_conversation_arrives_whole() {
    let template = loaded("misbehaving").template.unwrap();
    let message = Message {
        role: "assistant".to_owned(),
        content: vec![Content::Text("a".to_owned()), Content::Text("b".to_owned())],
        name: Some("Ada".to_owned()),
        tool_calls: vec![ToolCall { id: "1".to_owned(), name: "f".to_owned(), arguments: "{}".to_owned() }],
        tool_call_id: Some("0".to_owned()),
        reasoning: Some("hm".to_owned()),
    };
    let chat = Chat {
        messages: vec![message],
        tools: vec![json!({"type": "function"})],
        template_variables: json!({"enable_thinking": false}),
        continue_last: true,
    };
    let prompt = template.render(&context(), &chat, &json!({"at": "render", "how": "echo"})).unwrap();
    let [Part::Text(text)] = &prompt.parts[..] else { panic!("{prompt:?}") };
    assert_eq!(
        text,
        r#"Chat { messages: [Message { role: "assistant", content: [Text("a"), Text("b")], name: Some("Ada"), tool_calls: [ToolCall { id: "1", name: "f", arguments: "{}" }], tool_call_id: Some("0"), reasoning: Some("hm") }], tools: ["{\"type\":\"function\"}"], variables: "{\"enable_thinking\":false}", continue_last: true }"#,
    );
}
