//! A host in miniature, for unit tests of plugins. Native only.
//!
//! The functions of [`model`](crate::model) and [`TokenSet`](crate::TokenSet) speak of a thread's own
//! [`Vocabulary`], and a [`Step`] records what is commanded:
//!
//! ```
//! use minerva_plugin::prelude::*;
//! use minerva_plugin::testing::{self, Vocabulary};
//!
//! struct NoRepeat;
//!
//! impl Sampler for NoRepeat {
//!     type Args = ();
//!     const ABOUT: About = about!("Never says a token twice in a row.");
//!     const NEEDS: Needs = Needs::plan();
//!
//!     fn open(_: (), _: &[Token]) -> Result<Self, Error> {
//!         Ok(Self)
//!     }
//!
//!     fn advance(&mut self, step: &mut Step, committed: &[Token]) {
//!         if let Some(&last) = committed.last() {
//!             step.bias(&[last], &[f32::NEG_INFINITY]);
//!         }
//!     }
//! }
//!
//! testing::set_vocabulary(Vocabulary::of(["a", "b", " c"]));
//! let mut sampler = testing::open::<NoRepeat>("{}", &[]).unwrap();
//! let mut step = Step::with_history([0, 1]);
//! sampler.advance(&mut step, &[1]);
//! assert_eq!(step.commands().bias, [(1, f32::NEG_INFINITY)]);
//! ```

use crate::backend::{StepData, VOCABULARY};
use crate::model::Special;
use crate::{Args as _, Chat, Chunk, Error, Event, Finish, Prompt, Sampler, Step, Stream, Template, Token};

/// What a sampler commanded.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Commands {
    /// The tokens that may be chosen, if any were named.
    pub allowed: Option<Vec<Token>>,
    /// What is added to logits.
    pub bias: Vec<(Token, f32)>,
    /// The temperature.
    pub temperature: Option<f32>,
    /// Whether the answer may end.
    pub allow_eog: Option<bool>,
    /// The tokens that come next.
    pub force: Vec<Token>,
    /// How many tokens are kept from the client.
    pub hold: u32,
    /// How many tokens are taken back.
    pub backtrack: u32,
    /// Why the answer ends.
    pub stop: Option<Finish>,
}

impl Step {
    /// A step after some tokens.
    pub fn with_history(history: impl Into<Vec<Token>>) -> Self {
        Self { data: StepData { history: history.into(), ..StepData::default() } }
    }

    /// The same step with a row of logits that can be read.
    #[must_use]
    pub fn with_row(mut self, row: impl Into<Vec<f32>>) -> Self {
        self.data.row = Some(row.into());
        self
    }

    /// The same step, where so many of the last tokens can be taken back.
    #[must_use]
    pub fn with_held(mut self, held: u32) -> Self {
        self.data.held = held;
        self
    }

    /// What was commanded.
    #[must_use]
    pub fn commands(&self) -> &Commands {
        &self.data.commands
    }
}

/// A vocabulary for tests. The default has a token for each of the 256 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vocabulary {
    pub(crate) pieces: Vec<Vec<u8>>,
    pub(crate) special: Vec<(Special, Token)>,
}

impl Default for Vocabulary {
    fn default() -> Self {
        Self { pieces: (0..=255).map(|byte| vec![byte]).collect(), special: Vec::new() }
    }
}

impl Vocabulary {
    /// A vocabulary of these tokens. Text becomes tokens by the longest that fits, again and again.
    pub fn of<'a>(pieces: impl IntoIterator<Item = &'a str>) -> Self {
        Self {
            pieces: pieces.into_iter().map(|piece| piece.as_bytes().to_vec()).collect(),
            special: Vec::new(),
        }
    }

    /// Adds a token of markup.
    #[must_use]
    pub fn and_special(mut self, role: Special, piece: &str) -> Self {
        let id = Token::try_from(self.pieces.len()).expect("a test's vocabulary is small");
        self.pieces.push(piece.as_bytes().to_vec());
        self.special.push((role, id));
        self
    }
}

/// Sets this thread's vocabulary.
pub fn set_vocabulary(vocabulary: Vocabulary) {
    VOCABULARY.set(vocabulary);
}

/// Opens a sampler with arguments as JSON text.
///
/// # Errors
///
/// When the sampler refuses.
pub fn open<S: Sampler>(args: &str, prompt: &[Token]) -> Result<S, Error> {
    S::open(S::Args::parse(args)?, prompt)
}

/// Renders a conversation with arguments as JSON text.
///
/// # Errors
///
/// When the template refuses.
pub fn render<T: Template>(chat: &Chat, args: &str) -> Result<Prompt, Error> {
    T::render(chat, T::Args::parse(args)?)
}

/// Runs chunks of text through a stream processor with arguments as JSON text, and closes it. Neighbouring texts
/// are joined, so that the result is the same for every way of cutting if the processor obeys the law.
///
/// # Errors
///
/// When the processor refuses.
pub fn run<'a, S: Stream>(
    args: &str,
    chunks: impl IntoIterator<Item = &'a str>,
) -> Result<Vec<Event>, Error> {
    let mut stream = S::open(S::Args::parse(args)?)?;
    let mut events = Vec::new();
    for text in chunks {
        events.extend(stream.push(Chunk { text: text.to_owned(), tokens: Vec::new() }));
    }
    events.extend(stream.close(Finish::Stop));
    let mut joined: Vec<Event> = Vec::new();
    for event in events {
        match (joined.last_mut(), event) {
            (Some(Event::Text(before)), Event::Text(text)) => before.push_str(&text),
            (Some(Event::Reasoning(before)), Event::Reasoning(text)) => before.push_str(&text),
            (_, event) => joined.push(event),
        }
    }
    Ok(joined)
}
