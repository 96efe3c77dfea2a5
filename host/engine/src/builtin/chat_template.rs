//! How conversations become prompts where a request names no template: by the model's Jinja, or, where the server was
//! told to do without Jinja, by the template of llama.cpp's own that it is recognised as.

use std::sync::Arc;

use super::jinja::{self, JinjaTemplate, leave_open};
use crate::model::Vocabulary;
use crate::request::{Chat, Message};

/// What makes the prompts of conversations.
pub enum ChatTemplate {
    /// The model's Jinja.
    Jinja(Box<JinjaTemplate>),
    /// One of llama.cpp's own.
    BuiltIn(BuiltIn),
}

impl ChatTemplate {
    /// The template's text.
    #[must_use]
    pub fn source(&self) -> &str {
        match self {
            Self::Jinja(template) => template.source(),
            Self::BuiltIn(template) => &template.source,
        }
    }

    /// Makes the prompt of a conversation.
    ///
    /// # Errors
    ///
    /// When the template does not compile, or refuses the conversation.
    pub fn render(&self, chat: &Chat) -> Result<String, jinja::Error> {
        match self {
            Self::Jinja(template) => template.render(chat),
            Self::BuiltIn(template) => template.render(chat),
        }
    }
}

/// A template of llama.cpp's own. It knows roles and texts, and neither tools nor variables.
pub struct BuiltIn {
    source: String,
    vocabulary: Arc<dyn Vocabulary>,
}

impl BuiltIn {
    /// The one that a template is recognised as, or names; `ChatML` without one. `None` where it is none of them.
    #[must_use]
    pub fn recognised(source: Option<&str>, vocabulary: Arc<dyn Vocabulary>) -> Option<Self> {
        let source = source.unwrap_or("chatml").to_owned();
        vocabulary.render_built_in(&source, &[("user", "")], true)?;
        Some(Self { source, vocabulary })
    }

    fn render(&self, chat: &Chat) -> Result<String, jinja::Error> {
        let refused = |message: &str| jinja::Error { line: None, source_line: None, message: message.into() };
        if !chat.tools.is_empty() {
            return Err(refused("tools need Jinja, and the server does without it (--no-jinja)"));
        }
        let texts: Vec<String> = chat.messages.iter().map(Message::joined_text).collect();
        let messages: Vec<(&str, &str)> = chat
            .messages
            .iter()
            .zip(&texts)
            .map(|(message, text)| (message.role.as_str(), text.as_str()))
            .collect();
        let rendered = self.vocabulary.render_built_in(&self.source, &messages, chat.opens_answer());
        let mut rendered = rendered.ok_or_else(|| refused("a role or a text has a zero byte in it"))?;
        if chat.continue_last {
            leave_open(&mut rendered, chat);
        }
        Ok(rendered)
    }
}
