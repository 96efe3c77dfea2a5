//! `truncation: auto`: the oldest turns of a conversation that is too long are left out.

use minerva_engine::request::Chat;
use minerva_engine::{Error, Handle};

/// Leaves out as few of the oldest turns as make room for the answer. Instructions stay, and the last turn; a turn
/// begins where the user speaks, so that no tool's answer stays without its call. What does not fit even so is left as
/// it is, and refused for its length as any other.
///
/// # Errors
///
/// When the template fails.
pub(super) async fn fit(handle: &Handle, chat: Chat, max_tokens: Option<u32>) -> Result<Chat, Error> {
    let room = handle.info().context.saturating_sub(max_tokens.unwrap_or(1)) as usize;
    let instructions = chat.messages.iter().take_while(|message| message.role == "system").count();
    let turns: Vec<usize> = (instructions + 1..chat.messages.len())
        .filter(|&place| chat.messages[place].role == "user")
        .collect();
    let from = |turn: usize| {
        let mut shorter = chat.clone();
        shorter.messages.drain(instructions..turn);
        shorter
    };
    let fits = async |chat: &Chat| Ok::<_, Error>(handle.tokenise(chat.clone()).await?.len() <= room);
    if turns.is_empty() || fits(&chat).await? {
        return Ok(chat);
    }
    // The fewer turns, the shorter: the first one that fits is found by halving.
    let (mut too_long, mut all) = (0, turns.len());
    while too_long < all {
        let middle = usize::midpoint(too_long, all);
        if fits(&from(turns[middle])).await? {
            all = middle;
        } else {
            too_long = middle + 1;
        }
    }
    Ok(turns.get(all).map_or_else(|| chat.clone(), |&turn| from(turn)))
}
