//! `minerva:plugin/model`.

use std::sync::Arc;

use minerva_engine::model::{Encode, Special, Token, Vocabulary};
use wasmtime::Result;

use crate::bindings::minerva::plugin::model::{self, Special as Role};
use crate::fault::Denied;
use crate::state::State;

/// The most text that `encode` takes. Tokenising it stays within the deadlines of `open` and `render`.
const ENCODE_BYTES_MAX: usize = 1 << 20;

impl State {
    pub(crate) fn vocabulary(&self) -> Result<Arc<dyn Vocabulary>> {
        Ok(Arc::clone(&self.context()?.vocabulary))
    }

    /// Refuses tokens that are not of the vocabulary.
    pub(crate) fn check_tokens(&self, ids: &[Token], call: &str) -> Result<()> {
        let size = self.context()?.vocabulary.size();
        match ids.iter().find(|&&id| id >= size) {
            None => Ok(()),
            Some(id) => {
                Err(Denied::invalid(format!("token {id} in {call}; the vocabulary has {size} tokens")))
            }
        }
    }
}

impl model::Host for State {
    fn vocab_size(&mut self) -> Result<u32> {
        Ok(self.context()?.vocabulary.size())
    }

    fn special_id(&mut self, role: Role) -> Result<Option<Token>> {
        let role = match role {
            Role::Bos => Special::Bos,
            Role::Eos => Special::Eos,
            Role::Eot => Special::Eot,
            Role::ThinkStart => Special::ThinkStart,
            Role::ThinkEnd => Special::ThinkEnd,
        };
        Ok(self.context()?.vocabulary.special(role))
    }

    fn is_eog(&mut self, id: Token) -> Result<bool> {
        let vocabulary = &self.context()?.vocabulary;
        Ok(id < vocabulary.size() && vocabulary.is_end(id))
    }

    fn encode(&mut self, text: String, parse_special: bool) -> Result<Result<Vec<Token>, String>> {
        let vocabulary = self.vocabulary()?;
        if text.len() > ENCODE_BYTES_MAX {
            let why = format!("{} bytes of text; encode takes at most {ENCODE_BYTES_MAX}", text.len());
            return Ok(Err(why));
        }
        // Tokenising is some fifty times as dear as copying.
        self.quota.work(text.len() * 50)?;
        Ok(vocabulary
            .encode(&text, Encode { add_special: false, parse_special })
            .map_err(|error| error.to_string()))
    }

    fn decode(&mut self, ids: Vec<Token>) -> Result<Vec<u8>> {
        let vocabulary = self.vocabulary()?;
        let size = vocabulary.size();
        let known: Vec<Token> = ids.into_iter().filter(|&id| id < size).collect();
        self.quota.work(known.len() * 8)?;
        let bytes = vocabulary.decode(&known);
        self.quota.work(bytes.len())?;
        Ok(bytes)
    }

    fn pieces(&mut self) -> Result<(Vec<u32>, Vec<u8>)> {
        let vocabulary = self.vocabulary()?;
        let (mut ends, mut bytes) = (Vec::with_capacity(vocabulary.size() as usize), Vec::new());
        for id in 0..vocabulary.size() {
            bytes.extend_from_slice(vocabulary.piece(id));
            ends.push(
                u32::try_from(bytes.len()).map_err(|_| Denied::invalid("a vocabulary of more than 4 GiB"))?,
            );
        }
        self.quota.work(ends.len() * 8 + bytes.len())?;
        Ok((ends, bytes))
    }
}
