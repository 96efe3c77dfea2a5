//! Prompts to fill in the middle: code before and behind a gap, in the marks that the model was trained with.
//!
//! The order is llama.cpp's (`[REP]project [SEP]file … [PRE]before[SUF]behind[MID]`), after Hui et al. 2024,
//! <https://arxiv.org/abs/2409.12186>, section 3.2.

use crate::Error;
use crate::model::{self, Encode, Special, Token, Vocabulary};

/// What stands around a gap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Infill {
    /// What stands before it.
    pub prefix: String,
    /// What stands behind it.
    pub suffix: String,
    /// The beginning of what is to fill it.
    pub prompt: Vec<Token>,
    /// Other files, or parts of them, the most helpful last.
    pub extra: Vec<Extra>,
}

/// A part of another file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extra {
    /// The file's name.
    pub filename: String,
    /// The part.
    pub text: String,
}

/// Stands between parts of other files where the model has no mark for it.
const SNIPPET: &str = "\n\n--- snippet ---\n\n";

impl Infill {
    /// The prompt. What stands around the gap is in it whole; of the other files, as much of the end as `room`
    /// tokens leave.
    ///
    /// # Errors
    ///
    /// [`model::Error::Unsupported`] where the model has no marks for it.
    pub fn tokens(
        &self,
        vocabulary: &dyn Vocabulary,
        architecture: &str,
        room: usize,
    ) -> Result<Vec<Token>, Error> {
        let mark = |role| {
            vocabulary.special(role).ok_or_else(|| model::Error::Unsupported {
                operation: "fill in the middle: this one has no tokens for it".into(),
                architecture: architecture.to_owned(),
            })
        };
        let plain = |text: &str| vocabulary.encode(text, Encode { add_special: false, parse_special: false });
        let mut around = Vec::new();
        around.extend(vocabulary.special(Special::Bos).filter(|_| vocabulary.adds(Special::Bos)));
        around.push(mark(Special::FimPrefix)?);
        around.extend(plain(&self.prefix)?);
        around.extend(&self.prompt);
        around.push(mark(Special::FimSuffix)?);
        around.extend(plain(&self.suffix)?);
        around.push(mark(Special::FimMiddle)?);

        let mut others = Vec::new();
        if let Some(repository) = vocabulary.special(Special::FimRepository) {
            others.push(repository);
            others.extend(plain("myproject\n")?);
        }
        let file = vocabulary.special(Special::FimFile);
        for Extra { filename, text } in &self.extra {
            match file {
                Some(file) => {
                    others.push(file);
                    others.extend(plain(&format!("{filename}\n"))?);
                }
                None => others.extend(plain(SNIPPET)?),
            }
            others.extend(plain(text)?);
        }
        if let Some(file) = file {
            others.push(file);
            others.extend(plain("filename\n")?);
        }
        let left = room.saturating_sub(around.len());
        let mut tokens = others.split_off(others.len().saturating_sub(left));
        tokens.extend(around);
        Ok(tokens)
    }
}
