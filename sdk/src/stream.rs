use crate::{About, Args, Error, Finish, Token};

/// A stream processor: turns the text of an answer, as it comes, into events. A value of the type is its part in
/// one answer.
///
/// However an answer is cut into chunks, the events, with neighbours of a kind joined, have to be the same: what
/// cannot be decided yet is kept back until it can, or until `close`. [`testing::run`](crate::testing::run) helps
/// to test that.
pub trait Stream: Sized + 'static {
    /// What a request can pass: see [`args!`](crate::args). `()` is nothing at all.
    type Args: Args;

    /// What the plugin says of itself: see [`about!`](crate::about).
    const ABOUT: About;

    /// Opens a session.
    ///
    /// # Errors
    ///
    /// Refuses the request.
    fn open(args: Self::Args) -> Result<Self, Error>;

    /// Takes more of the answer, and says what can already be said.
    fn push(&mut self, chunk: Chunk) -> Vec<Event>;

    /// The answer is complete: what was kept back comes out.
    fn close(&mut self, reason: Finish) -> Vec<Event> {
        let _ = reason;
        Vec::new()
    }
}

/// More of an answer: whole characters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chunk {
    /// The text.
    pub text: String,
    /// The tokens that end in this text; empty after a processor that changed the text.
    pub tokens: Vec<Token>,
}

/// What a stream processor says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Text of the answer. The next processor's chunk.
    Text(String),
    /// Text of the thinking before the answer.
    Reasoning(String),
    /// A piece of a call of a tool.
    Tool(ToolDelta),
    /// Something to tell the client beside the text: JSON text.
    Meta(String),
    /// The answer ends here.
    Stop(Finish),
}

/// A piece of a call of a tool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToolDelta {
    /// Which call of this answer, from 0.
    pub index: u32,
    /// Names the call. In its first piece.
    pub id: Option<String>,
    /// Names the tool. In its first piece.
    pub name: Option<String>,
    /// More of its arguments, JSON text.
    pub arguments: String,
}

/// How many bytes at the end of a text may be the beginning of what is looked for: what a processor has to keep back.
/// 0 where it is there whole only.
///
/// ```
/// use minerva_plugin::begun_at_end;
///
/// assert_eq!(begun_at_end("1 <thi", "<think>"), 4);
/// assert_eq!(begun_at_end("1 < 2", "<think>"), 0);
/// ```
#[must_use]
pub fn begun_at_end(text: &str, looked_for: &str) -> usize {
    let mut beginnings = (1..looked_for.len()).rev().filter(|&length| looked_for.is_char_boundary(length));
    beginnings.find(|&length| text.ends_with(&looked_for[..length])).unwrap_or(0)
}
