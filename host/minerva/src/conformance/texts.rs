//! Answers as models write them, and ways to cut them.

use minerva_engine::plugin::Chunk;
use minerva_engine::step::Random;

/// What answers are made of. Markup of every sort, whole and broken off.
const FRAGMENTS: [&str; 34] = [
    "The owl hunts at night. ",
    "Hello",
    " world",
    "\n",
    "\n\n",
    "\r\n",
    " ",
    "",
    "ä ö ü ß ",
    "日本語",
    "🦉",
    "👩‍👩‍👧‍👦",
    "e\u{301}",
    "\u{200f}",
    "\0",
    "# Title\n",
    "**bold** ",
    "*it",
    "_under_score_",
    "`code` ",
    "```rust\nfn main() {}\n```\n",
    "- item\n",
    "1. one\n",
    "> quote\n",
    "[link](https://example.org/a_(b)) ",
    "<think>",
    "</think>",
    "<|im_end|>",
    "{\"a\": [1, 2,",
    "\"b\\\"\\u00e9\": tru",
    "}",
    "ann@example.org ",
    "+49 30 1234567 ",
    "END",
];

/// Whole answers, always tried.
const WHOLE: [&str; 8] = [
    "",
    "Hello.",
    "<think>\nLet me see.\n</think>\n\nAn owl.",
    "# Owls\n\n- **Eyes**: large\n- *Ears*: hidden\n\n```py\nprint(\"*no*\")\n```\nSee [this](http://x.y).",
    "{\"name\": \"Ada\", \"tags\": [\"x\", \"y\"], \"n\": 1.5e3",
    "Here is the JSON:\n```json\n{'a': True, \"b\": [1,2,],}\n```\n",
    "<think>no end",
    "🦉🦉🦉 e\u{301}e\u{301} 👩‍👩‍👧‍👦",
];

/// Answers to try: those above, and `count` random ones, in which `words` come up too, whole and broken off.
pub(super) fn texts(words: &[String], count: u32, random: &mut Random) -> Vec<String> {
    let mut texts: Vec<String> = WHOLE.iter().map(|&text| text.to_owned()).collect();
    texts.extend(words.iter().cloned());
    texts.truncate(40);
    for _ in 0..count {
        let mut text = String::new();
        for _ in 0..below(24, random) {
            if !words.is_empty() && below(3, random) == 0 {
                let word = &words[below(words.len(), random)];
                let length = if below(2, random) == 0 { word.chars().count() } else { below(8, random) };
                text.extend(word.chars().take(length));
            } else {
                text.push_str(FRAGMENTS[below(FRAGMENTS.len(), random)]);
            }
        }
        texts.push(text);
    }
    texts
}

/// Cuts a text between characters: into single ones, or at random, empty pieces included.
pub(super) fn cut(text: &str, random: &mut Random) -> Vec<Chunk> {
    let often = [1, 2, 5, 20][below(4, random)];
    let mut chunks = vec![String::new()];
    for c in text.chars() {
        if below(often, random) == 0 {
            chunks.push(String::new());
        }
        if let Some(last) = chunks.last_mut() {
            last.push(c);
        }
    }
    chunks.into_iter().map(|text| chunk(&text)).collect()
}

/// A chunk, its tokens its bytes.
pub(super) fn chunk(text: &str) -> Chunk {
    Chunk { text: text.to_owned(), tokens: text.bytes().map(u32::from).collect() }
}

/// A number below `end`.
pub(super) fn below(end: usize, random: &mut Random) -> usize {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "small numbers, and the draw is in [0, 1)"
    )]
    let drawn = (random.next_f32() * end as f32) as usize;
    drawn.min(end.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cutting_loses_nothing() {
        let mut random = Random::new(1);
        for text in texts(&["secret".to_owned()], 30, &mut random) {
            for _ in 0..4 {
                let joined: String = cut(&text, &mut random).into_iter().map(|chunk| chunk.text).collect();
                assert_eq!(joined, text);
            }
        }
    }
}
