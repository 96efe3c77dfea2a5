//! Embeddings and scores: what a model makes of a whole text.

use minerva_engine::model::{Batch, Error, Token};

use crate::log;
use crate::model::Llama;

impl Llama {
    /// The embedding of each of some texts, as the model pools it; for a reranker its scores.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] unless loaded for embeddings, and where a text is longer than a batch.
    pub fn embed(&mut self, texts: &[Vec<Token>]) -> Result<Vec<Vec<f32>>, Error> {
        if !self.embeddings {
            return Err(self.unsupported("make embeddings unless they are loaded for it"));
        }
        let limit = self.info.batch_tokens_max as usize;
        let mut embeddings = Vec::with_capacity(texts.len());
        let mut batch = Batch::default();
        let mut group = 0;
        for (index, text) in texts.iter().enumerate() {
            if text.is_empty() || text.len() > limit {
                let why = format!("a text of {} tokens; an embedding takes 1 to {limit}", text.len());
                return Err(Error::Decode(why));
            }
            for (position, &token) in (0..).zip(text) {
                batch.push(token, position, group, true);
            }
            group += 1;
            let full = texts.get(index + 1).is_none_or(|next| batch.len() + next.len() > limit);
            if full || group == self.info.slots {
                self.embed_batch(&batch, group, &mut embeddings)?;
                batch.clear();
                group = 0;
            }
        }
        Ok(embeddings)
    }

    fn embed_batch(&mut self, batch: &Batch, group: u32, into: &mut Vec<Vec<f32>>) -> Result<(), Error> {
        self.validate(batch)?;
        let (decoded, cause) = log::complaints(|| {
            if self.context.has_memory() { self.context.decode(batch) } else { self.context.encode(batch) }
        });
        self.judge(decoded, batch, &cause)?;
        for slot in 0..group {
            let row = self.context.embedding(slot);
            into.push(row.ok_or_else(|| self.unsupported("pool their embeddings"))?.to_vec());
        }
        (0..group).for_each(|slot| _ = self.context.remove(slot, 0));
        Ok(())
    }
}
