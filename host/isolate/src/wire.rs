//! Frames on a socket: a head of two lengths, a message in postcard's form, and bytes that belong to it.
//!
//! ```text
//! length of the message: u32 | length of the bytes: u64 | the message | the bytes
//! ```
//!
//! Numbers are little-endian. What a head announces is believed only up to a limit, and memory is taken as bytes come.

use std::io::{Error, ErrorKind, Read, Result, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The most of what may be announced.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) message_bytes: u32,
    pub(crate) payload_bytes: u64,
}

/// A message holds a batch, a chat template, the tokens of some texts; the bytes are the state of one sequence, or
/// rows of embeddings.
pub(crate) const LIMITS: Limits = Limits { message_bytes: 64 << 20, payload_bytes: 64 << 30 };

/// Of what is announced, the most that memory is taken for before it has come.
const AT_ONCE: usize = 1 << 20;

const HEAD: usize = 12;

/// Writes a message and bytes in one frame.
pub(crate) fn write(
    to: &mut impl Write,
    limits: Limits,
    message: &impl Serialize,
    payload: &[u8],
) -> Result<()> {
    // The head stands in front, so that a small frame is one write.
    let mut frame = postcard::to_extend(message, vec![0; HEAD]).map_err(Error::other)?;
    let length = u32::try_from(frame.len() - HEAD).ok().filter(|&length| length <= limits.message_bytes);
    let Some(length) = length else {
        return Err(too_long("a message", (frame.len() - HEAD) as u64, limits.message_bytes.into()));
    };
    if payload.len() as u64 > limits.payload_bytes {
        return Err(too_long("what belongs to a message", payload.len() as u64, limits.payload_bytes));
    }
    frame[..4].copy_from_slice(&length.to_le_bytes());
    frame[4..HEAD].copy_from_slice(&(payload.len() as u64).to_le_bytes());
    to.write_all(&frame)?;
    if payload.is_empty() { Ok(()) } else { to.write_all(payload) }
}

/// Reads one frame. The other side's end is `UnexpectedEof`.
pub(crate) fn read<T: DeserializeOwned>(from: &mut impl Read, limits: Limits) -> Result<(T, Vec<u8>)> {
    let mut head = [0; HEAD];
    from.read_exact(&mut head)?;
    let (length, payload) = head.split_at(4);
    let length = u32::from_le_bytes(length.try_into().expect("four bytes"));
    let payload = u64::from_le_bytes(payload.try_into().expect("eight bytes"));
    if length > limits.message_bytes {
        return Err(too_long("a message", length.into(), limits.message_bytes.into()));
    }
    if payload > limits.payload_bytes {
        return Err(too_long("what belongs to a message", payload, limits.payload_bytes));
    }
    let message = read_bytes(from, length.into())?;
    let (message, rest) = postcard::take_from_bytes(&message)
        .map_err(|error| Error::new(ErrorKind::InvalidData, format!("a message that is none: {error}")))?;
    if !rest.is_empty() {
        return Err(Error::new(ErrorKind::InvalidData, "a message with something behind it"));
    }
    Ok((message, read_bytes(from, payload)?))
}

fn read_bytes(from: &mut impl Read, length: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(AT_ONCE).min(AT_ONCE));
    from.take(length).read_to_end(&mut bytes)?;
    if bytes.len() as u64 == length { Ok(bytes) } else { Err(ErrorKind::UnexpectedEof.into()) }
}

fn too_long(what: &str, bytes: u64, most: u64) -> Error {
    Error::new(ErrorKind::InvalidData, format!("{what} of {bytes} bytes; the most is {most}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Limits = Limits { message_bytes: 8, payload_bytes: 4 };

    fn written(message: &str, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(&mut bytes, LIMITS, &message, payload).expect("within the limits");
        bytes
    }

    #[test]
    fn frames_come_back_one_after_the_other() {
        let bytes = [written("one", b"1234"), written("two", b"")].concat();
        let mut from = bytes.as_slice();
        assert_eq!(read::<String>(&mut from, SMALL).expect("a frame"), ("one".into(), b"1234".to_vec()));
        assert_eq!(read::<String>(&mut from, SMALL).expect("a frame"), ("two".into(), Vec::new()));
        assert_eq!(read::<String>(&mut from, SMALL).expect_err("the end").kind(), ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_frame_at_the_limit_is_taken_and_one_byte_more_is_not() {
        // One byte is the length of the text.
        assert!(read::<String>(&mut written("1234567", b"1234").as_slice(), SMALL).is_ok());
        for (message, payload, named) in
            [("12345678", &b"1234"[..], "message of 9"), ("1", b"12345", "of 5 bytes")]
        {
            let error =
                read::<String>(&mut written(message, payload).as_slice(), SMALL).expect_err("too long");
            assert!(error.to_string().contains(named), "{error}");
            let error = write(&mut Vec::new(), SMALL, &message, payload).expect_err("too long");
            assert!(error.to_string().contains(named), "{error}");
        }
    }

    #[test]
    fn what_is_cut_off_or_no_message_is_an_error_and_takes_no_memory() {
        let whole = written("one", b"1234");
        for length in 0..whole.len() {
            let error = read::<String>(&mut &whole[..length], LIMITS).expect_err("it is cut off");
            assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "at {length}");
        }
        // 64 GiB are announced, and do not come.
        let mut lie = whole.clone();
        lie[4..HEAD].copy_from_slice(&LIMITS.payload_bytes.to_le_bytes());
        assert_eq!(
            read::<String>(&mut lie.as_slice(), LIMITS).expect_err("a lie").kind(),
            ErrorKind::UnexpectedEof
        );
        assert!(read::<(String, u8)>(&mut whole.as_slice(), LIMITS).is_err(), "it is shorter than asked");
        assert!(read::<u8>(&mut whole.as_slice(), LIMITS).is_err(), "it has something behind it");
    }
}
