use crate::{Args, Error, Step, Token};

/// What a plugin says of itself. [`about!`](crate::about) makes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct About {
    /// The plugin's own version.
    pub version: &'static str,
    /// What it does, in one sentence.
    pub summary: &'static str,
}

/// An [`About`] with the version of the crate that it is written in.
///
/// ```
/// use minerva_plugin::{About, about};
///
/// const ABOUT: About = about!("Says less.");
/// assert_eq!(ABOUT.summary, "Says less.");
/// ```
#[macro_export]
macro_rules! about {
    ($summary:expr) => {
        $crate::About { version: env!("CARGO_PKG_VERSION"), summary: $summary }
    };
}

/// A sampler: chooses tokens, or narrows and bends the choice. A value of the type is its part in one answer.
///
/// The host's own sampler (temperature, top-k, top-p and so on, as the request says) comes last and draws from
/// what the plugins leave.
pub trait Sampler: Sized + 'static {
    /// What a request can pass: see [`args!`](crate::args). `()` is nothing at all.
    type Args: Args;

    /// What the plugin says of itself: see [`about!`](crate::about).
    const ABOUT: About;

    /// What the sampler has to see, and what it can do.
    const NEEDS: Needs = Needs::cut(64);

    /// Opens a session, with the tokens of the prompt.
    ///
    /// # Errors
    ///
    /// Refuses the request.
    fn open(args: Self::Args, prompt: &[Token]) -> Result<Self, Error>;

    /// Tells of tokens that now are part of the answer, before the next is chosen: none before the first and after a
    /// [`Sampler::rollback`], then usually one, several after a [`Step::force`]. Also the place for commands that need no
    /// logits. The functions of [`Step`] that read the row trap here.
    fn advance(&mut self, step: &mut Step, committed: &[Token]) {
        let _ = (step, committed);
    }

    /// Chooses, or narrows the choice. `cut` is what the commands and the samplers before this one left, best
    /// first and never empty.
    fn pick(&mut self, step: &mut Step, cut: &Candidates) -> Choice {
        let _ = (step, cut);
        Choice::Host
    }

    /// A second session that goes on exactly as this one would. Declare it with [`Needs::with_fork`].
    ///
    /// # Errors
    ///
    /// When it cannot.
    fn fork(&self) -> Result<Self, Error> {
        Err("this sampler cannot be forked".into())
    }

    /// Takes back the last `count` committed tokens. Declare it with [`Needs::with_rollback`].
    ///
    /// # Errors
    ///
    /// When it cannot.
    fn rollback(&mut self, count: u32) -> Result<(), Error> {
        let _ = count;
        Err("this sampler cannot take tokens back".into())
    }

    /// The answer is complete. What is returned, JSON text, goes into the response's metadata.
    fn close(&mut self) -> Option<String> {
        None
    }
}

/// What a sampler has to see, and what it can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// How much of a step it sees.
    pub tier: Tier,
    /// How many candidates [`Sampler::pick`] gets, 1 to 4,096.
    pub cut: u32,
    /// It calls [`Step::summarize`], [`Step::top`] or [`Step::at`].
    pub reads_row: bool,
    /// [`Sampler::fork`] works.
    pub can_fork: bool,
    /// [`Sampler::rollback`] works.
    pub can_rollback: bool,
    /// How many tokens at a time [`Step::hold`] and [`Step::backtrack`] are for.
    pub backtrack_max: u32,
}

/// How much of a step a sampler sees. Less is cheaper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// Nothing: it commands, in [`Sampler::advance`], and [`Sampler::pick`] is never called.
    Plan,
    /// The best candidates.
    Cut,
    /// Every logit, by [`Step::full`]. The operator must grant this.
    FullRow,
}

impl Needs {
    /// Nothing but to be told of tokens, and to command.
    #[must_use]
    pub const fn plan() -> Self {
        Self { tier: Tier::Plan, ..Self::cut(0) }
    }

    /// The best so many candidates, 1 to 4,096.
    #[must_use]
    pub const fn cut(candidates: u32) -> Self {
        Self {
            tier: Tier::Cut,
            cut: candidates,
            reads_row: false,
            can_fork: false,
            can_rollback: false,
            backtrack_max: 0,
        }
    }

    /// Every logit, and the best so many candidates beside. The operator must grant this.
    #[must_use]
    pub const fn full_row(candidates: u32) -> Self {
        Self { tier: Tier::FullRow, reads_row: true, ..Self::cut(candidates) }
    }

    /// And [`Step::summarize`], [`Step::top`] and [`Step::at`].
    #[must_use]
    pub const fn with_row(mut self) -> Self {
        self.reads_row = true;
        self
    }

    /// It can be forked.
    #[must_use]
    pub const fn with_fork(mut self) -> Self {
        self.can_fork = true;
        self
    }

    /// It can take tokens back.
    #[must_use]
    pub const fn with_rollback(mut self) -> Self {
        self.can_rollback = true;
        self
    }

    /// It can take tokens back, and may do so by [`Step::hold`] and [`Step::backtrack`], at most so many at a time: 256,
    /// where the operator does not say otherwise.
    #[must_use]
    pub const fn with_backtracking(mut self, tokens_max: u32) -> Self {
        (self.can_rollback, self.backtrack_max) = (true, tokens_max);
        self
    }
}

/// Tokens that may be chosen, best first; ties go to the lower token. Both lists have the same length.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Candidates {
    /// The tokens.
    pub ids: Vec<Token>,
    /// Their logits, before temperature. None is NaN or infinite.
    pub logits: Vec<f32>,
}

impl Candidates {
    /// The number of candidates.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Tokens and logits, best first.
    pub fn iter(&self) -> impl Iterator<Item = (Token, f32)> + '_ {
        self.ids.iter().copied().zip(self.logits.iter().copied())
    }
}

/// What a sampler wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Whatever the next sampler, and in the end the host, chooses.
    Host,
    /// This token, whether it was a candidate or not.
    Token(Token),
    /// One of these candidates; at least one. Anything else ends the session.
    Only(Vec<Token>),
}
