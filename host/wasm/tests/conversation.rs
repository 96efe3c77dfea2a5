//! What a template is told, and what it is not.

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
        ..Chat::default()
    };
    let prompt = template.render(&context(), &chat, &json!({"at": "render", "how": "echo"})).unwrap();
    let [Part::Text(text)] = &prompt.parts[..] else { panic!("{prompt:?}") };
    assert_eq!(
        text,
        r#"Chat { messages: [Message { role: "assistant", content: [Text("a"), Text("b")], name: Some("Ada"), tool_calls: [ToolCall { id: "1", name: "f", arguments: "{}" }], tool_call_id: Some("0"), reasoning: Some("hm") }], tools: ["{\"type\":\"function\"}"], variables: "{\"enable_thinking\":false}", continue_last: true }"#,
    );
}

#[test]
fn every_instance_sees_the_same_world() {
    let template = loaded("misbehaving").template.unwrap();
    let look = || {
        let args = json!({"at": "render", "how": "look at the clock"});
        template.render(&context(), &Chat::default(), &args).unwrap().parts
    };
    let first = look();
    let [Part::Text(text)] = &first[..] else { panic!("{first:?}") };
    assert!(text.starts_with("946684800 s, "), "{text}");
    std::thread::sleep(std::time::Duration::from_millis(5));
    assert_eq!(look(), first);
}
