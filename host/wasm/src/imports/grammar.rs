//! The resource `grammar` of `minerva:plugin/constraints`.
//!
//! Every call here is bounded by the fuel of the engine's grammars to some tens of milliseconds, what one call of the
//! guest may do of it by the work that the host does for a guest, and a guest that is late does not get to do more.

use std::sync::Arc;

use minerva_engine::grammar::{Error, Kind, Matcher, with_stack};
use minerva_engine::model::Token;
use minerva_engine::step;
use wasmtime::component::Resource;
use wasmtime::{Result, Trap};

use crate::bindings::minerva::plugin::constraints::HostGrammar;
use crate::bindings::minerva::plugin::types::Notation;
use crate::deadline::Deadline;
use crate::fault::Denied;
use crate::imports::constraints::TokenSet;
use crate::state::{Phase, State};

/// What a guest's handle of a `grammar` stands for.
#[expect(unreachable_pub, reason = "the generated bindings export it, and are private themselves")]
pub struct Grammar(Matcher);

/// The most states of one grammar's lexer, of 1 to 2 KB each: a tenth of what a request's own may have, for there may
/// be some of them in a session.
const LEXER_STATES_MAX: usize = 5_000;

/// What compiling is of [`WORK_BYTES_MAX`](crate::state::WORK_BYTES_MAX): 16 times in a call of the guest.
const COMPILE_WORK: usize = 4 << 20;

/// What finding the next tokens is: 64 times.
const MASK_WORK: usize = 1 << 20;

/// What taking a token is: 8,192 times.
const TOKEN_WORK: usize = 8 << 10;

impl From<Notation> for Kind {
    fn from(notation: Notation) -> Self {
        match notation {
            Notation::JsonSchema => Self::JsonSchema,
            Notation::Regex => Self::Regex,
            Notation::Lark => Self::Lark,
            Notation::Gbnf => Self::Gbnf,
        }
    }
}

impl State {
    fn new_grammar(&mut self, matcher: Matcher) -> Result<Resource<Grammar>> {
        if self.grammars == self.limits.grammars {
            return Err(Denied::limit("grammars", self.limits.grammars, "handles"));
        }
        let grammar = self.push(Grammar(matcher))?;
        self.grammars += 1;
        Ok(grammar)
    }

    /// Works on a grammar. What goes wrong with it is the guest's to hear.
    fn with_grammar<T: Send>(
        &mut self,
        grammar: &Resource<Grammar>,
        cost: usize,
        work: impl FnOnce(&mut Matcher) -> Result<T, Error> + Send,
    ) -> Result<Result<T, String>> {
        self.charge(cost)?;
        let phase = self.phase;
        let matcher = &mut self.resources.get_mut(grammar)?.0;
        // Samplers are called on threads with room for a grammar, all others on threads of any kind.
        let result = match phase {
            Phase::Outside => with_stack(|| work(matcher)).flatten(),
            Phase::Advance | Phase::Pick => work(matcher),
        };
        Ok(result.map_err(|error| error.to_string()))
    }

    /// Ends a call that is late, or had enough done for it.
    fn charge(&mut self, cost: usize) -> Result<()> {
        self.quota.work(cost)?;
        match self.deadline.as_mut().map(Deadline::left) {
            Some(None) => Err(Trap::Interrupt.into()),
            _ => Ok(()),
        }
    }

    /// The tokens that fit next.
    pub(crate) fn fitting(&mut self, grammar: &Resource<Grammar>) -> Result<Result<step::TokenSet, String>> {
        self.with_grammar(grammar, MASK_WORK, Matcher::allowed)
    }
}

impl HostGrammar for State {
    fn compile(&mut self, notation: Notation, source: String) -> Result<Result<Resource<Grammar>, String>> {
        self.charge(COMPILE_WORK)?;
        let compiler = Arc::clone(&self.context()?.grammars);
        match compiler.compile_within(notation.into(), &source, LEXER_STATES_MAX) {
            Ok(grammar) => self.new_grammar(grammar.matcher()).map(Ok),
            Err(error) => Ok(Err(error.to_string())),
        }
    }

    fn allowed(&mut self, grammar: Resource<Grammar>) -> Result<Result<Resource<TokenSet>, String>> {
        match self.fitting(&grammar)? {
            Ok(set) => self.push(TokenSet(Arc::new(set))).map(Ok),
            Err(why) => Ok(Err(why)),
        }
    }

    fn forced(&mut self, grammar: Resource<Grammar>) -> Result<Vec<Token>> {
        Ok(self.with_grammar(&grammar, MASK_WORK, |matcher| Ok(matcher.forced()))?.unwrap_or_default())
    }

    fn accept(&mut self, grammar: Resource<Grammar>, ids: Vec<Token>) -> Result<Result<u32, String>> {
        /// After so many the time is looked at.
        const AT_ONCE: usize = 16;
        let mut accepted = 0;
        for ids in ids.chunks(AT_ONCE) {
            match self.with_grammar(&grammar, ids.len() * TOKEN_WORK, |matcher| matcher.accept(ids))? {
                Ok(count) => {
                    accepted += u32::try_from(count).unwrap_or(u32::MAX);
                    if count < ids.len() {
                        break;
                    }
                }
                Err(why) => return Ok(Err(why)),
            }
        }
        Ok(Ok(accepted))
    }

    fn may_end(&mut self, grammar: Resource<Grammar>) -> Result<Result<bool, String>> {
        self.with_grammar(&grammar, TOKEN_WORK, Matcher::may_end)
    }

    fn is_complete(&mut self, grammar: Resource<Grammar>) -> Result<bool> {
        Ok(self.resources.get(&grammar)?.0.is_complete())
    }

    fn rollback(&mut self, grammar: Resource<Grammar>, count: u32) -> Result<Result<(), String>> {
        self.with_grammar(&grammar, TOKEN_WORK, |matcher| matcher.rollback(count as usize))
    }

    fn fork(&mut self, grammar: Resource<Grammar>) -> Result<Resource<Grammar>> {
        self.charge(MASK_WORK)?;
        let second = self.resources.get(&grammar)?.0.fork();
        self.new_grammar(second)
    }

    fn drop(&mut self, grammar: Resource<Grammar>) -> Result<()> {
        self.resources.delete(grammar)?;
        self.grammars -= 1;
        Ok(())
    }
}
