use crate::{Error, Token, TokenSet, backend};

/// How a grammar is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Notation {
    /// A JSON schema, as JSON text.
    JsonSchema,
    /// A regular expression for the whole text, in the syntax of the crate `regex`.
    Regex,
    /// Lark, with the extensions of llguidance.
    Lark,
    /// llama.cpp's notation.
    Gbnf,
}

/// A grammar, kept by the host, and a place in one text of its language. A session may hold 16.
///
/// It knows the tokens that it is told of by [`Grammar::accept`] and no others, so it can begin with the answer or
/// anywhere in it. After an error it is of no more use.
///
/// ```
/// use minerva_plugin::prelude::*;
///
/// /// An answer of yes or no.
/// struct YesOrNo(Grammar);
///
/// impl Sampler for YesOrNo {
///     type Args = ();
///     const ABOUT: About = about!("Answers yes or no.");
///     const NEEDS: Needs = Needs::plan();
///
///     fn open(_: (), _: &[Token]) -> Result<Self, Error> {
///         Ok(Self(Grammar::compile(Notation::Regex, "yes|no")?))
///     }
///
///     fn advance(&mut self, step: &mut Step, committed: &[Token]) {
///         let fit = self.0.accept(committed).is_ok_and(|count| count == committed.len());
///         if !fit || self.0.is_complete() || step.obey(&self.0).is_err() {
///             step.stop(Finish::Plugin);
///         }
///     }
/// }
///
/// // Natively the vocabulary is the 256 bytes, unless a test sets another.
/// let mut sampler = minerva_plugin::testing::open::<YesOrNo>("{}", &[]).unwrap();
/// let mut step = Step::default();
/// sampler.advance(&mut step, &[b'n'.into()]);
/// assert_eq!(step.commands().allowed, Some(vec![b'o'.into()]));
/// ```
#[derive(Debug)]
pub struct Grammar {
    pub(crate) data: backend::GrammarData,
}

impl Grammar {
    /// Compiles a grammar, and stands at its beginning. Natively only regular expressions that are alternatives of plain
    /// text (`yes|no`) can be had, for want of a parser.
    ///
    /// # Errors
    ///
    /// Says what is wrong with the source, and where: fit for the client, if that is who wrote it.
    pub fn compile(notation: Notation, source: &str) -> Result<Self, Error> {
        Ok(Self { data: backend::grammar_compile(notation, source)? })
    }

    /// The tokens that fit next; [`Step::obey`](crate::Step::obey) is quicker where that is all.
    ///
    /// # Errors
    ///
    /// Where no token fits, or to find out would take too long.
    pub fn allowed(&mut self) -> Result<TokenSet, Error> {
        Ok(TokenSet { data: backend::grammar_allowed(&self.data)? })
    }

    /// Tokens that come next whatever is chosen; none where there is a choice.
    #[must_use]
    pub fn forced(&mut self) -> Vec<Token> {
        backend::grammar_forced(&self.data)
    }

    /// Goes over tokens up to the first that does not fit, and tells how many that were.
    ///
    /// # Errors
    ///
    /// Where that would take too long.
    pub fn accept(&mut self, tokens: &[Token]) -> Result<usize, Error> {
        Ok(backend::grammar_accept(&mut self.data, tokens)? as usize)
    }

    /// Whether the text may end here.
    ///
    /// # Errors
    ///
    /// After an error.
    pub fn may_end(&mut self) -> Result<bool, Error> {
        Ok(backend::grammar_may_end(&self.data)?)
    }

    /// Whether the text is complete: it may end here, and nothing can follow.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        backend::grammar_is_complete(&self.data)
    }

    /// Goes back by `count` accepted tokens.
    ///
    /// # Errors
    ///
    /// Where there were not so many.
    pub fn rollback(&mut self, count: u32) -> Result<(), Error> {
        Ok(backend::grammar_rollback(&mut self.data, count)?)
    }

    /// A second one at the same place, which goes on alone.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self { data: backend::grammar_fork(&self.data) }
    }
}
