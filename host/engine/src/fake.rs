//! A model that says what a test tells it to, in no time. Feature `test-util`.
//!
//! Its tokens are bytes, and a few special ones behind them, so that tests can be read.

use std::collections::{BTreeMap, VecDeque};
use std::ops::{Range, RangeInclusive};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::model::{
    Batch, Capabilities, Embeds, Encode, Error, Info, Layout, Model, Pooling, Position, Slot, Special, Token,
    Vocabulary,
};

/// A vocabulary of the 256 bytes, and `<s>`, `</s>`, `<|im_start|>`, `<|im_end|>` behind them.
pub struct ByteVocabulary {
    pieces: Vec<Vec<u8>>,
}

impl ByteVocabulary {
    /// The end of sequence.
    pub const EOS: Token = 257;
    const SPECIALS: [&'static str; 4] = ["<s>", "</s>", "<|im_start|>", "<|im_end|>"];

    /// The vocabulary.
    #[must_use]
    pub fn new() -> Self {
        let bytes = (0..=u8::MAX).map(|byte| vec![byte]);
        Self { pieces: bytes.chain(Self::SPECIALS.map(|text| text.into())).collect() }
    }
}

impl Default for ByteVocabulary {
    fn default() -> Self {
        Self::new()
    }
}

impl Vocabulary for ByteVocabulary {
    fn size(&self) -> u32 {
        260
    }

    fn encode(&self, text: &str, how: Encode) -> Result<Vec<Token>, Error> {
        let mut tokens = Vec::new();
        let mut rest = text;
        while let Some(&byte) = rest.as_bytes().first() {
            let special = Self::SPECIALS.iter().position(|text| how.parse_special && rest.starts_with(text));
            match special {
                Some(index) => {
                    tokens.push(256 + u32::try_from(index).unwrap_or(0));
                    rest = &rest[Self::SPECIALS[index].len()..];
                }
                None => {
                    let width = rest.chars().next().map_or(1, char::len_utf8);
                    tokens.push(Token::from(byte));
                    tokens.extend(rest.as_bytes()[1..width].iter().map(|&byte| Token::from(byte)));
                    rest = &rest[width..];
                }
            }
        }
        Ok(tokens)
    }

    fn piece(&self, token: Token) -> &[u8] {
        self.pieces.get(token as usize).map_or(&[], Vec::as_slice)
    }

    fn is_control(&self, token: Token) -> bool {
        token >= 256
    }

    fn is_end(&self, token: Token) -> bool {
        token == Self::EOS || token == 259
    }

    fn special(&self, role: Special) -> Option<Token> {
        match role {
            Special::Bos => Some(256),
            Special::Eos => Some(Self::EOS),
            Special::Eot => Some(259),
            _ => None,
        }
    }
}

/// What comes after a prompt: the first reply whose key ends the prompt (or stands in front of what was generated).
type Replies = Vec<(String, String)>;

/// A model that answers by a script.
pub struct ScriptedModel {
    info: Info,
    replies: Replies,
    delay: Duration,
    /// What each slot holds.
    slots: BTreeMap<Slot, Vec<Token>>,
    rows: Vec<Vec<f32>>,
    log: Log,
}

/// What a [`ScriptedModel`] was asked, for a test to look at while the engine owns the model.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Record>>);

/// What a [`ScriptedModel`] was asked.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// Every batch, in order.
    pub batches: Vec<Batch>,
    /// Slots that hold something now.
    pub slots_in_use: usize,
    /// Tokens that all slots hold now.
    pub tokens_held: usize,
    /// Batches that there was no room for.
    pub refusals: usize,
    /// Copies of a slot into another.
    pub copies: usize,
    /// Decodes that are to fail, counted down; then they work again.
    pub failures_left: usize,
    /// How the next decodes fail, each in its way, before those.
    pub faults: VecDeque<Fault>,
    /// A token with which every decode fails.
    pub poison: Option<Token>,
}

/// A way for a decode to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// An error, and what the slots of the batch hold is not known.
    Decode,
    /// The device is out of memory, or gone.
    Device,
    /// A panic.
    Panic,
}

impl Fault {
    fn strike(self) -> Result<(), Error> {
        match self {
            Self::Decode => Err(Error::Decode("the script says so".into())),
            Self::Device => Err(Error::Device("the script took it away".into())),
            Self::Panic => panic!("the script says so"),
        }
    }
}

impl Log {
    /// What has been asked so far.
    #[must_use]
    pub fn record(&self) -> Record {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes the next decodes fail.
    pub fn fail_next(&self, decodes: usize) {
        self.update(|record| record.failures_left = decodes);
    }

    /// Makes the next decodes fail in these ways, one each.
    pub fn inject(&self, faults: &[Fault]) {
        self.update(|record| record.faults.extend(faults));
    }

    /// Makes every decode fail that a token is part of.
    pub fn poison(&self, token: Token) {
        self.update(|record| record.poison = Some(token));
    }

    fn update<T>(&self, change: impl FnOnce(&mut Record) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ScriptedModel {
    /// A model of `slots` sequences that answers a prompt that ends in a key with the text beside it, and any
    /// other with nothing.
    #[must_use]
    pub fn new(slots: u32, replies: &[(&str, &str)]) -> Self {
        let info = Info {
            name: "scripted".into(),
            file: "scripted.gguf".into(),
            architecture: "script".into(),
            parameters: 0,
            weight_bytes: 0,
            device: "script".into(),
            vocabulary_size: 260,
            context: 512,
            context_trained: 512,
            slots,
            batch_tokens_max: 128,
            chunk_tokens: 32,
            chat_template: None,
            rerank_template: None,
            embeds: None,
            capabilities: Capabilities {
                layout: Layout::Streams,
                partial_removal: true,
                copy: true,
                shift: true,
                batch_invariant: true,
            },
        };
        let replies = replies.iter().map(|(key, reply)| ((*key).to_owned(), (*reply).to_owned())).collect();
        Self {
            info,
            replies,
            delay: Duration::ZERO,
            slots: BTreeMap::new(),
            rows: Vec::new(),
            log: Log::default(),
        }
    }

    /// A model that embeds: a row is the tokens of the text, the first and the last of them, and 1; without pooling
    /// that is so for each token by itself; a reranker's score is the last token.
    #[must_use]
    pub fn embedding(slots: u32, pooling: Pooling) -> Self {
        let mut model = Self::new(slots, &[]);
        let width = if pooling == Pooling::Rank { 1 } else { 4 };
        model.info.embeds = Some(Embeds { pooling, width, tokens_max: model.info.batch_tokens_max });
        model
    }

    /// Makes each decode take time.
    #[must_use]
    pub fn with_delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Notes what it is asked where another one did.
    #[must_use]
    pub fn with_log(mut self, log: Log) -> Self {
        self.log = log;
        self.note();
        self
    }

    /// What it is asked.
    #[must_use]
    pub fn log(&self) -> Log {
        self.log.clone()
    }

    /// What it says of itself, to be changed before it is served.
    pub fn info_mut(&mut self) -> &mut Info {
        &mut self.info
    }

    fn note(&self) {
        let (slots_in_use, tokens_held) = (self.slots.len(), self.slots.values().map(Vec::len).sum());
        self.log.update(|record| (record.slots_in_use, record.tokens_held) = (slots_in_use, tokens_held));
    }

    fn row(&self, history: &[Token]) -> Vec<f32> {
        let next = next_token(history, &self.replies);
        // The others get something below, different for each and after each history, so that there is something to
        // sample, and a sequence that holds anything but its own tokens gives itself away.
        let salt =
            history.iter().fold(1_u32, |salt, token| (salt ^ token).wrapping_mul(16_777_619).rotate_left(5));
        let mut row: Vec<f32> = (0..260_u32)
            .map(|token| {
                let mixed = (token.wrapping_mul(2_654_435_761) ^ salt).wrapping_mul(2_246_822_519);
                f32::from(u16::try_from(mixed >> 16).unwrap_or(0)) / 65_536.0
            })
            .collect();
        row[next as usize] = 10.0;
        row
    }
}

/// What the script says comes next.
fn next_token(history: &[Token], replies: &Replies) -> Token {
    let vocabulary = ByteVocabulary::new();
    let bytes: Vec<u8> = history.iter().flat_map(|&token| vocabulary.piece(token).to_vec()).collect();
    for (key, reply) in replies {
        // The latest place where the key stands in front of a beginning of the reply that ends the history.
        for said in (0..=reply.len()).rev() {
            if bytes.ends_with(&[key.as_bytes(), &reply.as_bytes()[..said]].concat()) {
                return reply.as_bytes().get(said).map_or(ByteVocabulary::EOS, |&byte| Token::from(byte));
            }
        }
    }
    ByteVocabulary::EOS
}

impl Model for ScriptedModel {
    fn info(&self) -> &Info {
        &self.info
    }

    fn vocabulary(&self) -> Arc<dyn Vocabulary> {
        Arc::new(ByteVocabulary::new())
    }

    fn decode(&mut self, batch: &Batch) -> Result<(), Error> {
        assert!(batch.len() <= self.info.batch_tokens_max as usize, "a batch of {}", batch.len());
        assert!(batch.slots.is_sorted(), "slots out of order: {:?}", batch.slots);
        std::thread::sleep(self.delay);
        let held: usize = self.slots.values().map(Vec::len).sum();
        if self.info.capabilities.layout == Layout::Unified && held + batch.len() > self.info.context as usize
        {
            self.log.update(|record| record.refusals += 1);
            return Err(Error::NoRoom { tokens: batch.len() });
        }
        let fault = self.log.update(|record| {
            record.batches.push(batch.clone());
            let fault = record.faults.pop_front();
            let fails = fault.is_none() && record.failures_left > 0;
            record.failures_left -= usize::from(fails);
            let poisoned = record.poison.is_some_and(|token| batch.tokens.contains(&token));
            fault.or((fails || poisoned).then_some(Fault::Decode))
        });
        if let Some(fault) = fault {
            // As with a real one: some of the batch is in the slots.
            for index in 0..batch.len() / 2 {
                self.slots.entry(batch.slots[index]).or_default().push(batch.tokens[index]);
            }
            self.note();
            fault.strike()?;
        }
        self.rows.clear();
        for index in 0..batch.len() {
            let held = self.slots.entry(batch.slots[index]).or_default();
            assert_eq!(held.len(), batch.positions[index] as usize, "positions must continue the slot");
            assert!(held.len() < self.info.context as usize, "the slot is full");
            held.push(batch.tokens[index]);
            if batch.wants_logits[index] {
                let history = held.clone();
                self.rows.push(self.row(&history));
            }
        }
        self.note();
        Ok(())
    }

    fn logits(&self, row: usize) -> &[f32] {
        &self.rows[row]
    }

    fn embed(&mut self, texts: &[Vec<Token>]) -> Result<Vec<Vec<f32>>, Error> {
        let Some(Embeds { pooling, .. }) = self.info.embeds else {
            let architecture = self.info.architecture.clone();
            return Err(Error::Unsupported { operation: "make embeddings".into(), architecture });
        };
        let tokens: usize = texts.iter().map(Vec::len).sum();
        assert!(tokens <= self.info.batch_tokens_max as usize, "a batch of {tokens}");
        assert!(texts.len() <= self.info.slots as usize, "{} texts", texts.len());
        std::thread::sleep(self.delay);
        let fault = self.log.update(|record| {
            let mut batch = Batch::default();
            for (slot, text) in (0..).zip(texts) {
                (0..).zip(text).for_each(|(position, &token)| batch.push(token, position, slot, true));
            }
            record.batches.push(batch);
            let fails = record.failures_left > 0;
            record.failures_left = record.failures_left.saturating_sub(1);
            record.faults.pop_front().or(fails.then_some(Fault::Decode))
        });
        fault.map_or(Ok(()), Fault::strike)?;
        #[expect(clippy::cast_precision_loss, reason = "tokens and texts are small")]
        let row = |text: &[Token]| {
            let (first, last) = (text[0] as f32, text[text.len() - 1] as f32);
            if pooling == Pooling::Rank { vec![last] } else { vec![text.len() as f32, first, last, 1.0] }
        };
        let rows = |text: &Vec<Token>| match pooling {
            Pooling::None => text.chunks(1).flat_map(row).collect(),
            _ => row(text),
        };
        Ok(texts.iter().map(rows).collect())
    }

    fn remove(&mut self, slot: Slot, from: Position) -> Result<(), Error> {
        if from == 0 {
            self.slots.remove(&slot);
        } else if !self.info.capabilities.partial_removal {
            let architecture = self.info.architecture.clone();
            return Err(Error::Unsupported {
                operation: "forget the tail of a sequence".into(),
                architecture,
            });
        } else if let Some(held) = self.slots.get_mut(&slot) {
            held.truncate(from as usize);
        }
        self.note();
        Ok(())
    }

    fn discard(&mut self, slot: Slot, range: Range<Position>) -> Result<(), Error> {
        if !self.info.capabilities.shift {
            let architecture = self.info.architecture.clone();
            return Err(Error::Unsupported {
                operation: "forget the middle of a sequence".into(),
                architecture,
            });
        }
        let held = self.slots.entry(slot).or_default();
        held.drain(range.start as usize..range.end as usize);
        self.note();
        Ok(())
    }

    fn copy(&mut self, from: Slot, to: Slot) -> Result<(), Error> {
        let held = self.slots.get(&from).cloned().unwrap_or_default();
        self.slots.insert(to, held);
        self.log.update(|record| record.copies += 1);
        self.note();
        Ok(())
    }

    fn save(&mut self, slot: Slot) -> Result<Vec<u8>, Error> {
        let held = self.slots.get(&slot).cloned().unwrap_or_default();
        Ok(held.iter().flat_map(|token| token.to_le_bytes()).collect())
    }

    fn restore(&mut self, slot: Slot, state: &[u8]) -> Result<(), Error> {
        let (tokens, rest) = state.as_chunks::<4>();
        if !rest.is_empty() {
            return Err(Error::State("its length is no number of tokens".into()));
        }
        self.slots.insert(slot, tokens.iter().map(|&bytes| Token::from_le_bytes(bytes)).collect());
        self.note();
        Ok(())
    }

    fn positions(&self, slot: Slot) -> Option<RangeInclusive<Position>> {
        let held = self.slots.get(&slot)?.len();
        (held > 0).then(|| 0..=u32::try_from(held).unwrap_or(u32::MAX) - 1)
    }
}
