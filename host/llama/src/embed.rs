//! Embeddings and scores: what a model makes of a whole text.

use minerva_engine::model::{Batch, Embeds, Error, Pooling, Token};

use crate::log;
use crate::model::Llama;

impl Llama {
    /// The rows of each of some texts, as many together as a batch holds.
    pub(crate) fn embed_all(&mut self, texts: &[Vec<Token>]) -> Result<Vec<Vec<f32>>, Error> {
        let Some(Embeds { pooling, tokens_max, .. }) = self.info.embeds else {
            return Err(self.unsupported("make embeddings unless they are loaded for it"));
        };
        let (limit, slots) = (self.info.batch_tokens_max as usize, self.info.slots as usize);
        let mut rows = Vec::with_capacity(texts.len());
        let mut batch = Batch::default();
        let mut group: Vec<usize> = Vec::new();
        for (index, text) in texts.iter().enumerate() {
            if text.is_empty() || text.len() > tokens_max as usize {
                let why = format!("a text of {} tokens; an embedding takes 1 to {tokens_max}", text.len());
                return Err(Error::Decode(why));
            }
            let slot = u32::try_from(group.len()).unwrap_or(u32::MAX);
            for (position, &token) in (0..).zip(text) {
                batch.push(token, position, slot, true);
            }
            group.push(text.len());
            let full = texts.get(index + 1).is_none_or(|next| batch.len() + next.len() > limit);
            if full || group.len() == slots {
                let computed = self.embed_batch(&batch, &group, pooling, &mut rows);
                for slot in (0..).take(group.len()) {
                    self.context.remove(slot, 0);
                }
                computed?;
                batch.clear();
                group.clear();
            }
        }
        Ok(rows)
    }

    /// One batch; `group` has the length of each text in it.
    fn embed_batch(
        &mut self,
        batch: &Batch,
        group: &[usize],
        pooling: Pooling,
        rows: &mut Vec<Vec<f32>>,
    ) -> Result<(), Error> {
        self.validate(batch)?;
        let (decoded, cause) = log::complaints(|| {
            if self.context.has_memory() { self.context.decode(batch) } else { self.context.encode(batch) }
        });
        self.judge(decoded, batch, &cause)?;
        let missing = || self.unsupported("pool their embeddings");
        let mut tokens = 0..;
        for (slot, &length) in (0..).zip(group) {
            let row = if pooling == Pooling::None {
                let of_tokens =
                    tokens.by_ref().take(length).map(|token| self.context.embedding_of_token(token));
                of_tokens.collect::<Option<Vec<_>>>().ok_or_else(missing)?.concat()
            } else {
                self.context.embedding_of_slot(slot).ok_or_else(missing)?.to_vec()
            };
            rows.push(row);
        }
        Ok(())
    }
}
