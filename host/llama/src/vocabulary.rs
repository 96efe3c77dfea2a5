//! The vocabulary: all pieces in one buffer, read once at load, and llama.cpp's tokeniser.

use std::collections::HashSet;
use std::sync::Arc;

use llama_cpp_2::model::{LlamaChatMessage, LlamaChatTemplate};
use llama_cpp_2::token::LlamaToken;
use llama_cpp_2::token_type::LlamaTokenAttr;
use llama_cpp_2::vocab::{LlamaVocab, VocabType};
use minerva_engine::model::{Encode, Error, Special, Token};

use crate::weights::Weights;

/// Tokens that open and close thinking, in the order of preference; both must exist.
const THINKING: [(&str, &str); 3] =
    [("<think>", "</think>"), ("[THINK]", "[/THINK]"), ("<|START_THINKING|>", "<|END_THINKING|>")];

/// The vocabulary of a loaded model.
pub(crate) struct Vocabulary {
    weights: Arc<Weights>,
    /// Every piece after the other.
    pieces: Vec<u8>,
    /// Where each piece ends in `pieces`.
    ends: Vec<usize>,
    flags: Vec<Flags>,
    specials: Vec<(Special, Token)>,
    tokenises: bool,
}

#[derive(Clone, Copy)]
struct Flags {
    control: bool,
    end: bool,
}

impl Vocabulary {
    /// Reads all tokens. The error says what is wrong with them: llama.cpp aborts or throws on such a vocabulary,
    /// but only once a text needs what is missing.
    pub(crate) fn new(weights: &Arc<Weights>) -> Result<Self, String> {
        let vocab = weights.vocab();
        let kind = vocab.vocab_type();
        let tokenises = kind != VocabType::NONE;
        let size = usize::try_from(vocab.n_tokens()).unwrap_or(0);
        let (mut pieces, mut ends, mut flags) =
            (Vec::new(), Vec::with_capacity(size), Vec::with_capacity(size));
        if tokenises {
            check(&vocab, kind)?;
            for token in vocab.tokens() {
                // The crate grows a buffer by exactly what is missing: room is made in steps, against a copy each.
                if pieces.capacity() - pieces.len() < 1024 {
                    pieces.reserve(1 << 16);
                }
                vocab.token_to_piece_into(token, &mut pieces, true, None);
                ends.push(pieces.len());
                let unprinted = LlamaTokenAttr::Control | LlamaTokenAttr::Unknown;
                flags.push(Flags {
                    control: vocab.attr(token).intersects(unprinted),
                    end: vocab.is_eog(token),
                });
            }
        }
        pieces.shrink_to_fit();
        let mut vocabulary =
            Self { weights: weights.clone(), pieces, ends, flags, specials: Vec::new(), tokenises };
        vocabulary.specials = vocabulary.find_specials();
        Ok(vocabulary)
    }

    fn find_specials(&self) -> Vec<(Special, Token)> {
        if !self.tokenises {
            return Vec::new();
        }
        let vocab = self.weights.vocab();
        let declared = [
            (Special::Bos, vocab.bos()),
            (Special::Eos, vocab.eos()),
            (Special::Eot, vocab.eot()),
            (Special::Separator, vocab.sep()),
            (Special::FimPrefix, vocab.fim_pre()),
            (Special::FimSuffix, vocab.fim_suf()),
            (Special::FimMiddle, vocab.fim_mid()),
            (Special::FimRepository, vocab.fim_rep()),
            (Special::FimFile, vocab.fim_sep()),
        ];
        let mut specials: Vec<_> = declared
            .into_iter()
            .filter_map(|(role, token)| Some((role, u32::try_from(token.0).ok()?)))
            .collect();
        for (start, end) in THINKING {
            if let (Some(start), Some(end)) = (self.find(start), self.find(end)) {
                specials.extend([(Special::ThinkStart, start), (Special::ThinkEnd, end)]);
                break;
            }
        }
        specials
    }

    fn find(&self, piece: &str) -> Option<Token> {
        use minerva_engine::model::Vocabulary as _;
        (0..self.size()).find(|&token| self.piece(token) == piece.as_bytes())
    }
}

impl minerva_engine::model::Vocabulary for Vocabulary {
    fn size(&self) -> u32 {
        u32::try_from(self.weights.vocab().n_tokens()).unwrap_or(0)
    }

    fn encode(&self, text: &str, how: Encode) -> Result<Vec<Token>, Error> {
        if !self.tokenises {
            return Err(Error::Encode("the model has no tokeniser".to_owned()));
        }
        // llama.cpp counts in 32 bits, and may add a token in front and one behind.
        if text.len() > (i32::MAX - 16) as usize {
            return Err(Error::Encode(format!("it has {} bytes; 2 GiB is the limit", text.len())));
        }
        let tokens = self.weights.vocab().tokenize(text.as_bytes(), how.add_special, how.parse_special);
        Ok(tokens.into_iter().map(|token| token.0.cast_unsigned()).collect())
    }

    fn piece(&self, token: Token) -> &[u8] {
        let token = token as usize;
        let Some(&end) = self.ends.get(token) else { return &[] };
        let start = token.checked_sub(1).map_or(0, |previous| self.ends[previous]);
        &self.pieces[start..end]
    }

    fn is_control(&self, token: Token) -> bool {
        self.flags.get(token as usize).is_some_and(|flags| flags.control)
    }

    fn is_end(&self, token: Token) -> bool {
        self.flags.get(token as usize).is_some_and(|flags| flags.end)
    }

    fn special(&self, role: Special) -> Option<Token> {
        self.specials.iter().find(|(has, _)| *has == role).map(|&(_, token)| token)
    }

    fn adds(&self, role: Special) -> bool {
        let vocab = self.weights.vocab();
        match role {
            Special::Bos => vocab.should_add_bos(),
            Special::Eos => vocab.should_add_eos(),
            Special::Separator => vocab.should_add_sep(),
            _ => false,
        }
    }

    fn render_built_in(&self, template: &str, messages: &[(&str, &str)], open: bool) -> Option<String> {
        let template = LlamaChatTemplate::new(template).ok()?;
        let message =
            |&(role, text): &(&str, &str)| LlamaChatMessage::new(role.to_owned(), text.to_owned()).ok();
        let messages: Vec<LlamaChatMessage> = messages.iter().map(message).collect::<Option<_>>()?;
        self.weights.model().apply_chat_template(&template, &messages, open).ok()
    }
}

/// What llama.cpp takes for granted when it tokenises.
fn check(vocab: &LlamaVocab<'_>, kind: VocabType) -> Result<(), String> {
    let wanted = [
        ("BOS", vocab.should_add_bos(), vocab.bos()),
        ("EOS", vocab.should_add_eos(), vocab.eos()),
        ("SEP", vocab.should_add_sep(), vocab.sep()),
    ];
    for (name, added, LlamaToken(token)) in wanted {
        if added && token < 0 {
            return Err(format!("its tokeniser adds {name}, but names no such token"));
        }
    }
    if kind == VocabType::SPM {
        let texts: HashSet<_> = vocab.tokens().filter_map(|token| vocab.text(token)).collect();
        for byte in 0..=u8::MAX {
            let named = std::ffi::CString::new(format!("<0x{byte:02X}>")).expect("no NUL in it");
            let plain = std::ffi::CString::new([byte]).ok();
            if !texts.contains(named.as_c_str())
                && !plain.is_some_and(|plain| texts.contains(plain.as_c_str()))
            {
                return Err(format!("its vocabulary has no token for the byte 0x{byte:02X}"));
            }
        }
    }
    Ok(())
}
