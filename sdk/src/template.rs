use crate::{About, Args, Error, Notation, Token};

/// A template: makes the prompt of a conversation.
pub trait Template: 'static {
    /// What a request can pass: see [`args!`](crate::args). `()` is nothing at all.
    type Args: Args;

    /// What the plugin says of itself: see [`about!`](crate::about).
    const ABOUT: About;

    /// Makes the prompt. It ends where the assistant's words begin, or, with [`Chat::continue_last`], go on.
    ///
    /// # Errors
    ///
    /// Refuses the request.
    fn render(chat: &Chat, args: Self::Args) -> Result<Prompt, Error>;
}

/// A conversation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chat {
    /// Oldest first.
    pub messages: Vec<Message>,
    /// The tools on offer, each a JSON text in OpenAI's form: `{"type": "function", "function": {...}}`.
    pub tools: Vec<String>,
    /// Further variables of the request: the JSON text of an object.
    pub variables: String,
    /// Leave the last message open, to be continued, if it is the assistant's.
    pub continue_last: bool,
}

/// One message of a conversation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// `system`, `user`, `assistant`, `tool`, or what else the client says.
    pub role: String,
    /// What was said, in order.
    pub content: Vec<Content>,
    /// Who said it, where the client says so.
    pub name: Option<String>,
    /// Tools that the assistant called.
    pub tool_calls: Vec<ToolCall>,
    /// Which call this message, a tool's, answers.
    pub tool_call_id: Option<String>,
    /// What the assistant thought before it spoke.
    pub reasoning: Option<String>,
}

impl Message {
    /// A message of text.
    pub fn new(role: impl Into<String>, text: impl Into<String>) -> Self {
        Self { role: role.into(), content: vec![Content::Text(text.into())], ..Self::default() }
    }

    /// The text of its content, parts joined.
    #[must_use]
    pub fn text(&self) -> String {
        self.content.iter().map(|Content::Text(text)| text.as_str()).collect()
    }
}

/// A part of what was said. Other media will be other cases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Text.
    Text(String),
}

/// A call of a tool by the assistant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToolCall {
    /// Names the call.
    pub id: String,
    /// Names the tool.
    pub name: String,
    /// Its arguments, JSON text.
    pub arguments: String,
}

/// What a template makes.
///
/// ```
/// use minerva_plugin::{Part, Prompt};
///
/// let mut prompt = Prompt::default();
/// prompt.special("<|im_start|>user\n").text("What does <|im_end|> mean?").special("<|im_end|>\n");
/// assert_eq!(prompt.parts[1], Part::Text("What does <|im_end|> mean?".to_owned()));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prompt {
    /// The whole prompt, in order.
    pub parts: Vec<Part>,
    /// Texts that end the answer, beside the request's own.
    pub stops: Vec<String>,
    /// What the answer must obey, behind the thinking: a notation and a source.
    pub grammar: Option<(Notation, String)>,
}

impl Prompt {
    /// Adds text in which the text of special tokens means those tokens: the template's own words.
    pub fn special(&mut self, text: impl Into<String>) -> &mut Self {
        self.parts.push(Part::Special(text.into()));
        self
    }

    /// Adds plain text: what a stranger wrote. What looks like markup in it stays text.
    pub fn text(&mut self, text: impl Into<String>) -> &mut Self {
        self.parts.push(Part::Text(text.into()));
        self
    }

    /// Adds tokens, used as they are.
    pub fn tokens(&mut self, ids: impl Into<Vec<Token>>) -> &mut Self {
        self.parts.push(Part::Tokens(ids.into()));
        self
    }

    /// Adds a text that ends the answer.
    pub fn stop(&mut self, text: impl Into<String>) -> &mut Self {
        self.stops.push(text.into());
        self
    }

    /// Makes the answer obey a grammar. The request is refused where it has one itself, and where this one cannot be
    /// compiled.
    pub fn grammar(&mut self, notation: Notation, source: impl Into<String>) -> &mut Self {
        self.grammar = Some((notation, source.into()));
        self
    }
}

/// A part of a prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Plain text. What looks like markup in it stays text.
    Text(String),
    /// Text in which the text of special tokens means those tokens.
    Special(String),
    /// Tokens, used as they are.
    Tokens(Vec<Token>),
}
