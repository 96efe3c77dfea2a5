//! Documents in front of a conversation, numbered, to be cited.

use minerva_plugin::prelude::*;
use serde_json::Value;

args! {
    pub struct Args {
        /// What comes in front of the documents.
        instructions: String = INSTRUCTIONS.to_owned(), maxLength: 8192, examples: [""];
        /// Longer documents are cut here, in characters.
        chars_max: u32 = 4000, minimum: 1, maximum: 1_000_000, examples: [1];
        /// Those after so many are left out.
        documents_max: u32 = 20, minimum: 1, maximum: 1000, examples: [1];
    }
}

const INSTRUCTIONS: &str = "Answer from the documents below. Behind each statement name the documents that it is from, \
                            as in [1] or [2][3]. If they do not tell, say so.";

/// The template.
pub struct Documents;

impl Template for Documents {
    type Args = Args;
    const ABOUT: About = about!("Documents in front of the conversation, numbered, to be cited as [1].");

    fn render(chat: &Chat, args: Args) -> Result<Prompt, Error> {
        let (system, messages): (Vec<&Message>, Vec<&Message>) =
            chat.messages.iter().partition(|message| matches!(message.role.as_str(), "system" | "developer"));
        let Some(last) = messages.last() else {
            return Err("the conversation has no message to answer".into());
        };
        let mut parts: Vec<String> = system.into_iter().map(Message::text).collect();
        let documents = documents(&chat.variables)?;
        if !documents.is_empty() {
            parts.push(args.instructions.clone());
        }
        for (at, document) in documents.iter().take(args.documents_max as usize).enumerate() {
            parts.push(document.shown(at + 1, args.chars_max as usize));
        }
        parts.retain(|part| !part.is_empty());

        let mut prompt = Prompt::default();
        if !parts.is_empty() {
            turn(&mut prompt, "system", &parts.join("\n\n"));
        }
        let is_open = chat.continue_last && last.role == "assistant";
        let (whole, begun) = messages.split_at(messages.len() - usize::from(is_open));
        for message in whole {
            turn(&mut prompt, role(message)?, &message.text());
        }
        prompt.special("<|im_start|>assistant\n");
        for message in begun {
            prompt.text(message.text());
        }
        prompt.stop("<|im_end|>");
        Ok(prompt)
    }
}

struct Document {
    title: String,
    text: String,
}

impl Document {
    fn shown(&self, number: usize, chars_max: usize) -> String {
        let text = self.text.trim();
        let end = text.char_indices().nth(chars_max).map(|(at, _)| at);
        let text = end.map_or_else(|| text.to_owned(), |end| format!("{}[…]", &text[..end]));
        let title = self.title.split_whitespace().collect::<Vec<_>>().join(" ");
        format!("[{number}] {title}\n{text}")
    }
}

/// The documents of a request.
fn documents(variables: &str) -> Result<Vec<Document>, Error> {
    let variables: Value = minerva_plugin::from_json(variables)?;
    match &variables["documents"] {
        Value::Null => Ok(Vec::new()),
        Value::Array(all) => all.iter().enumerate().map(|(at, one)| document(at, one)).collect(),
        _ => Err("documents: not a list".into()),
    }
}

fn document(at: usize, one: &Value) -> Result<Document, Error> {
    let field = |names: &[&str]| names.iter().find_map(|name| one[*name].as_str()).map(str::to_owned);
    let text = one.as_str().map(str::to_owned).or_else(|| field(&["text", "content", "contents"]));
    let text = text.ok_or_else(|| format!("documents[{at}]: neither a text nor an object with `text`"))?;
    Ok(Document { title: field(&["title"]).unwrap_or_default(), text })
}

/// A whole turn. What people wrote is text: markup in it means nothing.
fn turn(prompt: &mut Prompt, role: &str, text: &str) {
    prompt.special(format!("<|im_start|>{role}\n")).text(text).special("<|im_end|>\n");
}

/// The role as markup. It comes from the client too, so only known ones pass.
fn role(message: &Message) -> Result<&'static str, Error> {
    match message.role.as_str() {
        "user" => Ok("user"),
        "assistant" => Ok("assistant"),
        "tool" | "function" => Ok("tool"),
        other => Err(format!("there is no role '{other}'; use system, user, assistant or tool").into()),
    }
}

export!(template: Documents);

#[cfg(test)]
mod tests {
    use super::*;
    use minerva_plugin::testing;

    fn system(variables: &str, args: &str) -> String {
        let messages = vec![Message::new("user", "Hi")];
        let chat = Chat { messages, variables: variables.to_owned(), ..Chat::default() };
        match testing::render::<Documents>(&chat, args) {
            Err(error) => format!("error: {error}"),
            Ok(prompt) => match &prompt.parts[..2] {
                [Part::Special(role), Part::Text(text)] if role.contains("system") => text.clone(),
                _ => String::new(),
            },
        }
    }

    #[test]
    fn documents_are_numbered() {
        let two = r#"{"documents": [{"title": "Owls\n", "text": " They hunt. "}, "Foxes sleep."]}"#;
        assert_eq!(
            system(two, r#"{"instructions": "Cite."}"#),
            "Cite.\n\n[1] Owls\nThey hunt.\n\n[2] \nFoxes sleep."
        );
        assert!(system(two, "{}").starts_with("Answer from the documents below."));
        assert_eq!(
            system(two, r#"{"instructions": "", "documents_max": 1, "chars_max": 4}"#),
            "[1] Owls\nThey[…]"
        );
    }

    #[test]
    fn none_and_wrong_ones() {
        assert_eq!(system("{}", "{}"), "");
        assert_eq!(system(r#"{"documents": []}"#, "{}"), "");
        assert_eq!(system(r#"{"documents": 7}"#, "{}"), "error: documents: not a list");
        assert!(
            system(r#"{"documents": [{"title": "x"}]}"#, "{}").starts_with("error: documents[0]: neither")
        );
    }
}
