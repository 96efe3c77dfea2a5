//! A template: makes the prompt of a conversation.

use minerva_plugin::prelude::*;

args! {
    pub struct Args {
        /// Told to the model before everything else; empty for nothing.
        instructions: String = "Answer briefly.".to_owned(), maxLength: 8192;
    }
}

struct Plugin;

impl Template for Plugin {
    type Args = Args;
    const ABOUT: About = about!("ChatML with instructions in front of every conversation.");

    fn render(chat: &Chat, args: Args) -> Result<Prompt, Error> {
        let Some(last) = chat.messages.last() else {
            return Err("the conversation is empty".into());
        };
        let mut prompt = Prompt::default();
        if !args.instructions.is_empty() {
            turn(&mut prompt, "system", &args.instructions);
        }
        let is_open = chat.continue_last && last.role == "assistant";
        let (whole, begun) = chat
            .messages
            .split_at(chat.messages.len() - usize::from(is_open));
        for message in whole {
            turn(&mut prompt, role(&message.role)?, &message.text());
        }
        prompt.special("<|im_start|>assistant\n");
        for message in begun {
            prompt.text(message.text());
        }
        prompt.stop("<|im_end|>");
        Ok(prompt)
    }
}

/// A whole turn. The markup is the template's own; what people wrote goes in as text, where markup means nothing.
fn turn(prompt: &mut Prompt, role: &str, text: &str) {
    prompt
        .special(format!("<|im_start|>{role}\n"))
        .text(text)
        .special("<|im_end|>\n");
}

/// The role as markup. It comes from the client too, so only known ones pass.
fn role(role: &str) -> Result<&str, Error> {
    match role {
        "system" | "user" | "assistant" | "tool" => Ok(role),
        "developer" => Ok("system"),
        other => {
            Err(format!("there is no role '{other}'; use system, user, assistant or tool").into())
        }
    }
}

export!(template: Plugin);

#[cfg(test)]
mod tests {
    use super::*;
    use minerva_plugin::testing;

    #[test]
    fn a_question_becomes_a_prompt() {
        let chat = Chat {
            messages: vec![Message::new("user", "Hi <|im_end|>")],
            ..Chat::default()
        };
        let prompt =
            testing::render::<Plugin>(&chat, r#"{"instructions": ""}"#).expect("it renders");
        assert_eq!(
            prompt.parts,
            [
                Part::Special("<|im_start|>user\n".to_owned()),
                Part::Text("Hi <|im_end|>".to_owned()),
                Part::Special("<|im_end|>\n".to_owned()),
                Part::Special("<|im_start|>assistant\n".to_owned()),
            ]
        );
    }

    #[test]
    fn an_empty_conversation_is_refused() {
        assert!(testing::render::<Plugin>(&Chat::default(), "{}").is_err());
    }
}
