//! Answers with thinking and calls of tools in them: however they are cut into pieces, the same is read.
//!
//! The first byte chooses the family of models, and whether the prompt opens the thinking; the second seeds the cuts;
//! the rest is the answer.

use minerva_engine::dialect::Dialect;
use serde_json::{Value, json};

/// Reads an answer whole, cut here and there, and character by character.
///
/// # Panics
///
/// When not all of these are the same, or an argument that is complete is no JSON.
pub fn check(bytes: &[u8]) {
    let [choice, seed, answer @ ..] = bytes else { return };
    let answer = String::from_utf8_lossy(answer);
    let names: Vec<&str> = Dialect::names().collect();
    let choice = usize::from(choice.wrapping_sub(b'a'));
    let name = names[choice / 2 % names.len()];
    let dialect = Dialect::named(name, "<think></think>").expect("it is in the list");
    let prompt_end = if choice % 2 == 1 { "<think>" } else { "" };
    let tools = tools();
    let whole = dialect.transcript(prompt_end, &tools, [&*answer]);
    let cut = dialect.transcript(prompt_end, &tools, pieces(&answer, *seed));
    assert_eq!(cut, whole, "{name}: {answer:?}, cut by {seed}");
    let characters = answer.char_indices().map(|(at, character)| &answer[at..at + character.len_utf8()]);
    assert_eq!(dialect.transcript(prompt_end, &tools, characters), whole, "{name}: {answer:?}");
}

fn tools() -> Vec<Value> {
    let properties =
        json!({ "a": { "type": "integer" }, "s": { "type": "string" }, "f": { "type": "boolean" } });
    let add = json!({ "name": "add", "parameters": { "type": "object", "properties": properties } });
    let now = json!({ "name": "now", "parameters": { "type": "object" } });
    [add, now].map(|function| json!({ "type": "function", "function": function })).into()
}

/// Pieces of 1 to 8 bytes or a little more, because characters stay whole.
fn pieces(text: &str, seed: u8) -> Vec<&str> {
    let (mut rest, mut dice, mut pieces) = (text, u32::from(seed), Vec::new());
    while !rest.is_empty() {
        dice = dice.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let mut end = ((dice >> 24) as usize % 8 + 1).min(rest.len());
        while !rest.is_char_boundary(end) {
            end += 1;
        }
        let (piece, left) = rest.split_at(end);
        pieces.push(piece);
        rest = left;
    }
    pieces
}
