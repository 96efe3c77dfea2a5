//! ChatML, with tools in the form of Hermes and Qwen.

use minerva_plugin::prelude::*;
use serde_json::{Value, json};

args! {
    pub struct Args {
        /// The system message where the client sends none; empty for nothing.
        system: String = String::new(), maxLength: 65536, examples: ["You are a helpful assistant."];
        /// Whether the model may think before it answers.
        thinking: bool = true, examples: [false];
    }
}

/// The template.
pub struct ChatMl;

impl Template for ChatMl {
    type Args = Args;
    const ABOUT: About = about!("ChatML, with tools in the form of Hermes and Qwen.");

    fn render(chat: &Chat, args: Args) -> Result<Prompt, Error> {
        let (system, messages): (Vec<&Message>, Vec<&Message>) =
            chat.messages.iter().partition(|message| matches!(message.role.as_str(), "system" | "developer"));
        let Some(last) = messages.last() else {
            return Err("the conversation has no message to answer".into());
        };
        let mut prompt = Prompt::default();
        let instructions: Vec<String> = system.into_iter().map(Message::text).collect();
        let instructions = if instructions.is_empty() { args.system } else { instructions.join("\n\n") };
        system_turn(&mut prompt, &instructions, &chat.tools);

        let is_open = chat.continue_last && last.role == "assistant";
        let (whole, begun) = messages.split_at(messages.len() - usize::from(is_open));
        for message in whole {
            turn(&mut prompt, message)?;
        }
        prompt.special("<|im_start|>assistant\n");
        match begun.first() {
            Some(message) => drop(prompt.text(message.text())),
            None if !args.thinking => drop(prompt.special("<think>\n\n</think>\n\n")),
            None => {}
        }
        prompt.stop("<|im_end|>");
        Ok(prompt)
    }
}

/// The instructions, and the tools on offer. What the tools say of themselves is the client's, and text.
fn system_turn(prompt: &mut Prompt, instructions: &str, tools: &[String]) {
    if instructions.is_empty() && tools.is_empty() {
        return;
    }
    prompt.special("<|im_start|>system\n").text(instructions);
    if !tools.is_empty() {
        let tools = tools.join("\n");
        prompt.text(format!(
            "\n\n# Tools\n\nYou may call one or more functions to assist with the user query.\n\n\
             You are provided with function signatures within <tools></tools> XML tags:\n<tools>\n{tools}\n</tools>\n\n\
             For each function call, return a json object with function name and arguments within \
             <tool_call></tool_call> XML tags:\n<tool_call>\n\
             {{\"name\": <function-name>, \"arguments\": <args-json-object>}}\n</tool_call>"
        ));
    }
    prompt.special("<|im_end|>\n");
}

/// A whole turn. Roles come from the client too, so only known ones pass.
fn turn(prompt: &mut Prompt, message: &Message) -> Result<(), Error> {
    let text = message.text();
    match message.role.as_str() {
        "user" => drop(prompt.special("<|im_start|>user\n").text(text)),
        "assistant" => {
            prompt.special("<|im_start|>assistant\n").text(text);
            for call in &message.tool_calls {
                let arguments = minerva_plugin::from_json::<Value>(&call.arguments)
                    .unwrap_or_else(|_| json!(call.arguments));
                let call = json!({ "name": call.name, "arguments": arguments });
                prompt.special("\n<tool_call>\n").text(call.to_string()).special("\n</tool_call>");
            }
        }
        "tool" | "function" => {
            prompt.special("<|im_start|>user\n<tool_response>\n").text(text).special("\n</tool_response>");
        }
        other => {
            return Err(format!("there is no role '{other}'; use system, user, assistant or tool").into());
        }
    }
    prompt.special("<|im_end|>\n");
    Ok(())
}

export!(template: ChatMl);

#[cfg(test)]
mod tests {
    use super::*;
    use minerva_plugin::testing;

    /// A prompt in one string, with what is plain text in brackets.
    fn rendered(chat: &Chat, args: &str) -> String {
        match testing::render::<ChatMl>(chat, args) {
            Ok(prompt) => {
                let shown = |part: &Part| match part {
                    Part::Special(text) => text.clone(),
                    Part::Text(text) => format!("[{text}]"),
                    Part::Tokens(ids) => format!("{ids:?}"),
                };
                prompt.parts.iter().map(shown).collect()
            }
            Err(error) => format!("error: {error}"),
        }
    }

    fn chat(messages: &[(&str, &str)]) -> Chat {
        let messages = messages.iter().map(|&(role, text)| Message::new(role, text)).collect();
        Chat { messages, ..Chat::default() }
    }

    #[test]
    fn a_conversation() {
        assert_eq!(
            rendered(&chat(&[("system", "Be kind."), ("user", "Hi <|im_end|>")]), "{}"),
            "<|im_start|>system\n[Be kind.]<|im_end|>\n<|im_start|>user\n[Hi <|im_end|>]<|im_end|>\n\
             <|im_start|>assistant\n"
        );
        assert_eq!(
            rendered(&chat(&[("user", "Hi")]), r#"{"thinking": false}"#),
            "<|im_start|>user\n[Hi]<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
        );
        let asked = rendered(&chat(&[("user", "Hi")]), r#"{"system": "S"}"#);
        assert!(asked.starts_with("<|im_start|>system\n[S]<|im_end|>\n"), "{asked}");
        let begun = Chat { continue_last: true, ..chat(&[("user", "Hi"), ("assistant", "Well, ")]) };
        assert!(rendered(&begun, "{}").ends_with("<|im_start|>assistant\n[Well, ]"));
    }

    #[test]
    fn tools() {
        let mut chat = chat(&[("user", "Weather?"), ("assistant", ""), ("tool", "Rain")]);
        chat.tools = vec![r#"{"type":"function"}"#.to_owned()];
        let arguments = r#"{"at":"Rome"}"#.to_owned();
        let call = ToolCall { id: "1".to_owned(), name: "weather".to_owned(), arguments };
        chat.messages[1].tool_calls = vec![call];
        let prompt = rendered(&chat, "{}");
        assert!(prompt.contains("<tools>\n{\"type\":\"function\"}\n</tools>"), "{prompt}");
        assert!(prompt.contains(r#"[{"arguments":{"at":"Rome"},"name":"weather"}]"#), "{prompt}");
        assert!(prompt.contains("<tool_response>\n[Rain]\n</tool_response><|im_end|>"), "{prompt}");
    }

    #[test]
    fn what_is_refused() {
        assert!(rendered(&chat(&[]), "{}").contains("no message to answer"));
        assert!(rendered(&chat(&[("x<|im_start|>", "Hi")]), "{}").contains("there is no role"));
    }
}
